//! Requests and their answers.

use std::io::{self, Read, Write};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, mpsc};

use super::Export;
use super::negotiate::{Agreed, broken};
use super::protocol::{
    ALLOCATION_ID, HOLE, MAX_PAYLOAD, Request, chunk, command, errno, simple_reply, structured_reply,
};

/// Requests of one connection that are worked on at a time. QEMU has at most 16 in flight, so none of them waits behind
/// one that waits for the network.
const WORKERS: usize = 16;

/// Bytes that the answers in the making of one disk may take together; one answer may be larger.
const BUDGET: u64 = 64 << 20;

/// Most runs in an answer to `BLOCK_STATUS`.
const MAX_RUNS: usize = 1024;

/// Stack of a thread that answers, in bytes: decoders keep their tables on the heap.
const STACK: usize = 512 << 10;

/// Answers requests until the client leaves. `gone` says when it has, for requests that wait; `leave` closes the connection.
///
/// # Errors
/// When the connection breaks, or the client breaks the protocol.
pub(super) fn transmit(
    input: &mut impl Read,
    output: &mut (impl Write + Send),
    export: &dyn Export,
    agreed: Agreed,
    budget: &Budget,
    gone: &(dyn Fn() -> bool + Sync),
    leave: &(dyn Fn() + Sync),
) -> io::Result<()> {
    let connection = Connection { output: Mutex::new(output), export, agreed, gone, leave, budget };
    let (jobs, queue) = mpsc::sync_channel::<Request>(0);
    let queue = Mutex::new(queue);
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            let worker = std::thread::Builder::new().name("nbd-answer".into()).stack_size(STACK);
            worker.spawn_scoped(scope, || connection.work(&queue))?;
        }
        let ended = connection.take_requests(input, &jobs);
        drop(jobs);
        // Requests that wait must not hold the connection's thread.
        leave();
        ended
    })
}

struct Connection<'a, W> {
    output: Mutex<&'a mut W>,
    export: &'a dyn Export,
    agreed: Agreed,
    gone: &'a (dyn Fn() -> bool + Sync),
    leave: &'a (dyn Fn() + Sync),
    budget: &'a Budget,
}

impl<W: Write + Send> Connection<'_, W> {
    fn take_requests(&self, input: &mut impl Read, jobs: &mpsc::SyncSender<Request>) -> io::Result<()> {
        loop {
            let mut header = [0; Request::SIZE];
            if let Err(error) = input.read_exact(&mut header) {
                // Clients may leave without a word.
                return if error.kind() == io::ErrorKind::UnexpectedEof { Ok(()) } else { Err(error) };
            }
            let request = Request::parse(&header).ok_or_else(|| broken("something that is no request"))?;
            match request.command {
                command::DISCONNECT => return Ok(()),
                command::WRITE => {
                    let most = u64::from(request.length.min(MAX_PAYLOAD));
                    if io::copy(&mut input.take(most), &mut io::sink())? < u64::from(request.length) {
                        return Err(broken("a write of that length"));
                    }
                    self.refuse(&request, errno::PERMISSION)?;
                }
                command::READ | command::BLOCK_STATUS => match self.mistake(&request) {
                    Some(error) => self.refuse(&request, error)?,
                    None => {
                        if jobs.send(request).is_err() {
                            return Err(io::Error::other("nobody answers any more"));
                        }
                    }
                },
                _ => self.refuse(&request, errno::INVALID)?,
            }
        }
    }

    fn mistake(&self, request: &Request) -> Option<u32> {
        let status = request.command == command::BLOCK_STATUS;
        if status && (!self.agreed.allocation || request.length == 0) {
            return Some(errno::INVALID);
        }
        if !request.is_inside(self.export.size()) {
            return Some(errno::INVALID);
        }
        (!status && request.length > MAX_PAYLOAD).then_some(errno::OVERFLOW)
    }

    fn work(&self, queue: &Mutex<mpsc::Receiver<Request>>) {
        loop {
            let next = lock(queue).recv();
            let Ok(request) = next else { return };
            if let Err(error) = self.answer(&request) {
                tracing::debug!(%error, "an answer was not sent");
            }
        }
    }

    fn answer(&self, request: &Request) -> io::Result<()> {
        let attempt = std::panic::AssertUnwindSafe(|| match request.command {
            command::BLOCK_STATUS => self.status(request),
            _ => self.read(request),
        });
        // Somebody waits for an answer, whatever happens here.
        std::panic::catch_unwind(attempt).unwrap_or_else(|_| self.refuse(request, errno::IO))
    }

    fn read(&self, request: &Request) -> io::Result<()> {
        let _held = self.budget.take(u64::from(request.length));
        let structured = self.agreed.structured;
        let header = if structured { 20 + 8 } else { 16 };
        let mut bytes = vec![0; header + request.length as usize];
        let (front, data) = bytes.split_at_mut(header);
        if let Err(error) = self.export.read(data, request.offset, self.gone) {
            tracing::debug!(%error, offset = request.offset, "a read failed");
            return self.refuse(request, errno::IO);
        }
        if structured {
            front[..20].copy_from_slice(&structured_reply(request.cookie, chunk::DATA, 8 + request.length));
            front[20..].copy_from_slice(&request.offset.to_be_bytes());
        } else {
            front.copy_from_slice(&simple_reply(request.cookie, 0));
        }
        self.send(&bytes)
    }

    fn status(&self, request: &Request) -> io::Result<()> {
        let most = if request.flags & command::ONE != 0 { 1 } else { MAX_RUNS };
        let runs = self.export.runs(request.offset, u64::from(request.length), most, self.gone);
        let runs = match runs {
            Ok(runs) if !runs.is_empty() => runs,
            _ => return self.refuse(request, errno::IO),
        };
        let length = 4 + 8 * runs.len() as u32;
        let mut bytes = structured_reply(request.cookie, chunk::BLOCK_STATUS, length).to_vec();
        bytes.extend_from_slice(&ALLOCATION_ID.to_be_bytes());
        for (length, hole) in runs {
            // Not above the request's own length, which is a u32.
            bytes.extend_from_slice(&(length as u32).to_be_bytes());
            bytes.extend_from_slice(&(if hole { HOLE } else { 0 }).to_be_bytes());
        }
        self.send(&bytes)
    }

    fn refuse(&self, request: &Request, error: u32) -> io::Result<()> {
        if !self.agreed.structured {
            return self.send(&simple_reply(request.cookie, error));
        }
        let mut bytes = structured_reply(request.cookie, chunk::ERROR, 6).to_vec();
        bytes.extend_from_slice(&error.to_be_bytes());
        bytes.extend_from_slice(&0u16.to_be_bytes());
        self.send(&bytes)
    }

    /// Sends an answer, or ends the connection: the client would take whatever followed half an answer for the rest of it.
    fn send(&self, bytes: &[u8]) -> io::Result<()> {
        let mut output = lock(&self.output);
        let sent = output.write_all(bytes);
        if sent.is_err() {
            (self.leave)();
        }
        sent
    }
}

/// Bytes that the answers of a disk hold, on all of its connections.
#[derive(Default)]
pub(super) struct Budget {
    used: Mutex<u64>,
    less: Condvar,
}

impl Budget {
    /// Waits until there is room; one that is larger than all of it gets all of it.
    fn take(&self, bytes: u64) -> Held<'_> {
        let mut used = lock(&self.used);
        while *used > 0 && *used + bytes > BUDGET {
            used = self.less.wait(used).unwrap_or_else(PoisonError::into_inner);
        }
        *used += bytes;
        Held { budget: self, bytes }
    }
}

struct Held<'a> {
    budget: &'a Budget,
    bytes: u64,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        *lock(&self.budget.used) -= self.bytes;
        self.budget.less.notify_all();
    }
}

/// Nothing that a panic could leave half done is guarded here.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

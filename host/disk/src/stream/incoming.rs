//! The bytes of a source, read and hashed by a thread of their own.

use std::collections::VecDeque;
use std::io::{self, BufRead, Read};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::blocks::{Blocks, Passing};
use super::hash::{Hashed, Hashers, SavedHashers};
use crate::digests::Checksum;
use crate::error::{Error, ErrorKind, Result};
use crate::progress::{Part, Progress};

/// Bytes in one handover.
const BUFFER: usize = 256 << 10;

/// Handovers that may wait: 4 MiB.
const WAITING: usize = 16;

/// How often a waiting thread looks whether it should stop.
pub(crate) const LOOK: Duration = Duration::from_millis(100);

/// How often the state of the hash functions is kept for whoever has to go on later, in bytes.
const CHECKPOINT: u64 = 4 << 20;

/// Checkpoints that are kept when nobody asks for them.
const MAX_CHECKPOINTS: usize = 4096;

/// What is known of a source once it ended, shared with the thread that reads it.
#[derive(Debug, Default)]
pub(crate) struct Arrival {
    hashed: Mutex<Option<Hashed>>,
    saved: Mutex<VecDeque<SavedHashers>>,
    stop: AtomicBool,
}

/// The reading end. Where it says that the source ended, all of it was read and hashed.
pub(crate) struct Incoming {
    receiver: Receiver<Message>,
    arrival: Arc<Arrival>,
    progress: Progress,
    current: Vec<u8>,
    at: usize,
    ended: bool,
}

enum Message {
    Bytes(Vec<u8>),
    End,
    Failed(Error),
}

/// What to read, and where in it to begin.
pub(crate) struct Beginning<'a> {
    /// Names the source in messages.
    pub(crate) label: &'a str,
    /// The bytes from `hashers`' position on.
    pub(crate) reader: Box<dyn Read + Send>,
    /// What the whole source has to be long.
    pub(crate) length: Option<u64>,
    /// What has seen the bytes before.
    pub(crate) hashers: Hashers,
    /// Where to note the digests of its blocks, for whoever has to fetch some of them again.
    pub(crate) blocks: Option<Arc<Blocks>>,
    /// Counts what arrives.
    pub(crate) part: Arc<Part>,
}

impl Incoming {
    /// Starts the thread.
    pub(crate) fn start(beginning: Beginning<'_>, progress: &Progress) -> Result<(Self, Arc<Arrival>)> {
        let (sender, receiver) = sync_channel(WAITING);
        let arrival = Arc::new(Arrival::default());
        let Beginning { label, reader, length, hashers, blocks, part } = beginning;
        let pump = Pump {
            label: label.to_owned(),
            reader,
            left: length.map(|length| length.saturating_sub(hashers.bytes())),
            passing: blocks.map(|blocks| Passing::new(blocks, hashers.bytes())),
            hashers,
            part,
            sender,
            arrival: Arc::clone(&arrival),
        };
        let thread = std::thread::Builder::new().name("source".into()).stack_size(512 << 10);
        thread.spawn(move || pump.run()).map_err(|error| Error::io("start a thread", error))?;
        let incoming = Self {
            receiver,
            arrival: Arc::clone(&arrival),
            progress: progress.aside(),
            current: Vec::new(),
            at: 0,
            ended: false,
        };
        Ok((incoming, arrival))
    }

    fn next(&mut self) -> Result<()> {
        loop {
            self.progress.check()?;
            match self.receiver.recv_timeout(LOOK) {
                Ok(Message::Bytes(bytes)) => (self.current, self.at) = (bytes, 0),
                Ok(Message::End) => (self.current, self.at, self.ended) = (Vec::new(), 0, true),
                Ok(Message::Failed(error)) => return Err(error),
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Error::new(ErrorKind::Io, "the thread that reads the source ended early"));
                }
            }
            return Ok(());
        }
    }
}

impl Read for Incoming {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let count = available.len().min(buffer.len());
        buffer[..count].copy_from_slice(&available[..count]);
        self.consume(count);
        Ok(count)
    }
}

impl BufRead for Incoming {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at == self.current.len() && !self.ended {
            self.next()?;
        }
        Ok(&self.current[self.at..])
    }

    fn consume(&mut self, count: usize) {
        self.at += count;
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        self.arrival.stop.store(true, Ordering::Relaxed);
    }
}

impl Arrival {
    /// What all bytes hash to; `None` before the end was reached.
    pub(crate) fn hashed(&self) -> Option<Hashed> {
        self.hashed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Compares with what was expected.
    ///
    /// # Errors
    /// `Corrupt`.
    pub(crate) fn verify(&self, label: &str, expected: &[Checksum]) -> Result<Hashed> {
        let unread = || Error::new(ErrorKind::Io, format!("{label} was not read to its end"));
        let hashed = self.hashed().ok_or_else(unread)?;
        hashed.verify(label, expected)?;
        Ok(hashed)
    }

    /// The last state of the hash functions that saw no more than `position` bytes, once.
    pub(crate) fn checkpoint(&self, position: u64) -> Option<SavedHashers> {
        let mut saved = self.saved.lock().unwrap_or_else(PoisonError::into_inner);
        let mut last = None;
        while saved.front().is_some_and(|first| first.bytes <= position) {
            last = saved.pop_front();
        }
        last
    }
}

struct Pump {
    label: String,
    reader: Box<dyn Read + Send>,
    left: Option<u64>,
    hashers: Hashers,
    passing: Option<Passing>,
    part: Arc<Part>,
    sender: SyncSender<Message>,
    arrival: Arc<Arrival>,
}

impl Pump {
    fn run(mut self) {
        let last = match self.pass_on() {
            Ok(()) => {
                let hashed = self.hashers.clone().finish();
                *self.arrival.hashed.lock().unwrap_or_else(PoisonError::into_inner) = Some(hashed);
                Message::End
            }
            Err(error) => Message::Failed(error),
        };
        // Nobody may listen any more.
        let _ = self.sender.send(last);
    }

    fn pass_on(&mut self) -> Result<()> {
        loop {
            let bytes = self.fill()?;
            if self.arrival.stop.load(Ordering::Relaxed) {
                return Err(Error::new(ErrorKind::Cancelled, "nobody wants the rest of the source"));
            }
            if bytes.is_empty() {
                return self.end();
            }
            if let Some(left) = &mut self.left {
                *left = left.checked_sub(bytes.len() as u64).ok_or_else(|| {
                    let message = format!("{} goes on after the length that was stated", self.label);
                    Error::new(ErrorKind::Corrupt, message)
                })?;
            }
            self.hashers.update(&bytes);
            if let Some(passing) = &mut self.passing {
                passing.update(&bytes, &self.label)?;
            }
            self.part.advance(bytes.len() as u64);
            self.keep();
            // Should nobody listen any more, that is seen above.
            let _ = self.sender.send(Message::Bytes(bytes));
        }
    }

    fn end(&mut self) -> Result<()> {
        if let Some(passing) = &mut self.passing {
            passing.end(&self.label)?;
        }
        match self.left {
            Some(left) if left > 0 => {
                let message = format!("{} ends {left} bytes before the length that was stated", self.label);
                Err(Error::new(ErrorKind::Corrupt, message))
            }
            _ => Ok(()),
        }
    }

    /// A whole buffer, shorter at the end only.
    fn fill(&mut self) -> Result<Vec<u8>> {
        let mut bytes = vec![0; BUFFER];
        let mut filled = 0;
        while filled < BUFFER && !self.arrival.stop.load(Ordering::Relaxed) {
            match self.reader.read(&mut bytes[filled..]) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(failure(error, || format!("read {}", self.label))),
            }
        }
        bytes.truncate(filled);
        Ok(bytes)
    }

    fn keep(&self) {
        if !self.hashers.bytes().is_multiple_of(CHECKPOINT) {
            return;
        }
        let state = self.hashers.save();
        let mut saved = self.arrival.saved.lock().unwrap_or_else(PoisonError::into_inner);
        if saved.len() < MAX_CHECKPOINTS {
            saved.push_back(state);
        }
    }
}

/// The error of this crate that a reader of this crate wrapped, or the operating system's.
pub(crate) fn failure(error: io::Error, doing: impl FnOnce() -> String) -> Error {
    match error.downcast::<Error>() {
        Ok(error) => error,
        Err(error) => Error::io(doing(), error),
    }
}

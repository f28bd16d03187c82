//! Random access to an image that arrives as a stream.
//!
//! A thread writes what arrives into a sparse file; readers wait for it. It runs ahead of them by a window only, and what
//! the movers have consumed is punched out again, so that an image whose data lie in the order of the guest never takes more
//! of the disk than the window. Where the server honours ranges, what a plugin wants from far ahead (a table or a footer at
//! the end) is asked for on its own, and compared with the stream when that gets there. What is gone by the time that it is
//! wanted (a cluster that is used twice, or what an earlier attempt has seen) is fetched again, and compared with the digests
//! that were noted when it passed by.

mod read;

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use rustix::fs::FallocateFlags;
use witvirt_core::source::ByteSource;

use super::blocks::Blocks;
use super::holes::Stream;
use super::incoming::{LOOK, failure};
use super::intervals::Intervals;
use crate::blob::Blob;
use crate::copy::write_nonzero;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::ENCODED_SLACK;
use crate::progress::Progress;
use crate::source::{Identity, Source, fresh_identity};
use crate::space::Room;

/// How far the stream runs ahead of its readers, in bytes.
const AHEAD: u64 = 16 << 20;

/// What a plugin wants from further ahead than this is fetched on its own, in bytes.
const FAR: u64 = 4 << 20;

/// Least that is punched out at once, in bytes.
const PUNCH: u64 = 1 << 20;

/// What was consumed is kept until the movers are this far ahead, in bytes: runs that begin or end in one sector are not
/// told apart exactly, and writers that work in parallel mix neighbours up.
const LAG: u64 = 8 << 20;

/// What filesystems free, in bytes.
const BLOCK: u64 = 4096;

/// Bytes that are passed on at once.
const PIECE: usize = 256 << 10;

/// How many more bytes than have arrived the movers may use, in bytes: what is less than [`PUNCH`] is not let go of, and so
/// one cluster that a million tables name would not be noticed.
const SLACK: u64 = 64 << 20;

/// Most ranges fetched ahead, each of which is compared with the stream when it gets there.
const MAX_AHEAD_READS: usize = 1024;

/// How many of the last bytes are kept, which may speak for a format.
const TAIL: usize = 4 << 10;

/// The size that is told of a stream nobody knows the length of: no file is that long, and sums with it do not overflow.
const UNKNOWN: u64 = 1 << 50;

/// The same bytes at random: a remote object, and where in it the stream began.
#[derive(Debug, Clone)]
pub(crate) struct Remote {
    /// The object.
    pub(crate) blob: Arc<dyn Blob>,
    /// Where its byte 0 of the image lies.
    pub(crate) base: u64,
    /// What its blocks were when they passed by.
    pub(crate) blocks: Arc<Blocks>,
}

/// What was fetched before the stream was there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ahead {
    /// In bytes of the image.
    pub(crate) offset: u64,
    /// In bytes.
    pub(crate) length: usize,
    /// SHA-256 of what the server gave.
    pub(crate) digest: [u8; 32],
}

impl Ahead {
    /// Just past it.
    pub(crate) fn end(&self) -> u64 {
        self.offset.saturating_add(self.length as u64)
    }
}

/// What to spool.
pub(crate) struct Spooling {
    /// Names the image in messages.
    pub(crate) label: String,
    /// Its bytes from `start` on.
    pub(crate) reader: Box<dyn Stream>,
    /// The first byte that `reader` gives; not 0 only with `remote`.
    pub(crate) start: u64,
    /// Length of the image, where it is known.
    pub(crate) size: Option<u64>,
    /// Where else to find its bytes.
    pub(crate) remote: Option<Remote>,
    /// What an earlier attempt fetched ahead: its map is built on that.
    pub(crate) ahead: Vec<Ahead>,
    /// An empty file for what has arrived.
    pub(crate) file: File,
    /// Most bytes that may arrive.
    pub(crate) max: u64,
    /// Whether what was consumed is freed; otherwise it may be read again.
    pub(crate) frees: bool,
}

/// An image that arrives; a [`Source`] whose readers wait.
#[derive(Debug)]
pub(crate) struct Spool {
    label: String,
    identity: Identity,
    start: u64,
    remote: Option<Remote>,
    file: File,
    max: u64,
    frees: bool,
    progress: Progress,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Known from the beginning, or once the end was seen.
    size: Option<u64>,
    /// Just past what has arrived.
    arrived: u64,
    /// Just past what somebody wanted.
    wanted: u64,
    /// What the movers are done with.
    consumed: Intervals,
    /// Just past everything that they were done with.
    reached: u64,
    /// How many bytes that was, each as often as it was used.
    used: u64,
    /// What is no longer in the file, or never was: an earlier attempt has seen it.
    punched: Intervals,
    /// Fetched ahead, and not compared yet.
    ahead: Vec<Ahead>,
    /// Those that nobody was told of.
    untold: Vec<Ahead>,
    /// Blocks of the source that are being fetched again.
    fetching: BTreeSet<u64>,
    /// The last bytes.
    tail: Vec<u8>,
    ended: bool,
    failed: Option<(ErrorKind, String)>,
    /// Whether bytes were wanted that are gone.
    twice: bool,
    /// Whether the rest is only passed on to be hashed.
    draining: bool,
    stop: bool,
}

/// Stops the thread when it is dropped.
#[derive(Debug)]
pub(crate) struct Feeding(Arc<Spool>);

impl Drop for Feeding {
    fn drop(&mut self) {
        self.0.lock().stop = true;
        self.0.changed.notify_all();
    }
}

impl Spool {
    /// Starts the thread that takes what arrives.
    pub(crate) fn start(spooling: Spooling, progress: &Progress) -> Result<(Arc<Self>, Feeding)> {
        let Spooling { label, reader, start, size, remote, ahead, file, max, frees } = spooling;
        let mut state = State { size, arrived: start, wanted: start, reached: start, ..State::default() };
        state.punched.add(0, start, 0);
        // What ends before was compared before the state was kept that this attempt goes on from.
        state.ahead = ahead.into_iter().filter(|ahead| ahead.end() > start).collect();
        let spool = Arc::new(Self {
            label,
            identity: fresh_identity(),
            start,
            remote,
            file,
            max,
            frees,
            progress: progress.aside(),
            state: Mutex::new(state),
            changed: Condvar::new(),
        });
        let feeder = Arc::clone(&spool);
        let thread = std::thread::Builder::new().name("spool".into());
        thread.spawn(move || feeder.feed(reader)).map_err(|error| Error::io("start a thread", error))?;
        Ok((Arc::clone(&spool), Feeding(spool)))
    }

    /// Whether somebody wanted bytes that had been let go.
    pub(crate) fn was_read_twice(&self) -> bool {
        self.lock().twice
    }

    /// Whether its bytes can be had at random.
    pub(crate) fn is_remote(&self) -> bool {
        self.remote.is_some()
    }

    /// Whether the length is known by now.
    pub(crate) fn size_known(&self) -> bool {
        self.lock().size.is_some()
    }

    /// Why the stream ended before its end, if it did: readers may have told it in other words.
    pub(crate) fn failure(&self) -> Option<Error> {
        self.lock().failed.clone().map(|(kind, message)| Error::new(kind, message))
    }

    /// Waits until everything has arrived and is kept.
    ///
    /// # Errors
    /// What the stream ended with; `Cancelled`.
    pub(crate) fn wait_for_all(&self) -> Result<()> {
        let mut state = self.lock();
        state.wanted = u64::MAX;
        self.changed.notify_all();
        while !state.ended {
            state = self.wait(state)?;
        }
        Ok(())
    }

    /// Lets the rest pass by, unkept, and waits for its end. Returns the last 4 KiB of the image, and its length.
    ///
    /// # Errors
    /// What the stream ended with; `Cancelled`.
    pub(crate) fn drain(&self) -> Result<(Vec<u8>, u64)> {
        let mut state = self.lock();
        state.draining = true;
        self.changed.notify_all();
        while !state.ended {
            state = self.wait(state)?;
        }
        Ok((state.tail.clone(), state.arrived))
    }

    /// How far the movers have come: what the hash functions have seen up to there need not be fetched again.
    pub(crate) fn consumed_to(&self) -> u64 {
        self.lock().reached
    }

    /// Just past what has arrived.
    pub(crate) fn arrived(&self) -> u64 {
        self.lock().arrived
    }

    /// What was fetched ahead since this was asked last: whatever is made of the image from now on depends on it.
    pub(crate) fn fetched_ahead(&self) -> Vec<Ahead> {
        std::mem::take(&mut self.lock().untold)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a change, but not for ever.
    fn wait<'a>(&'a self, state: MutexGuard<'a, State>) -> Result<MutexGuard<'a, State>> {
        if let Some((kind, message)) = &state.failed {
            return Err(Error::new(*kind, message.clone()));
        }
        self.progress.check()?;
        let (state, _) = self.changed.wait_timeout(state, LOOK).unwrap_or_else(PoisonError::into_inner);
        Ok(state)
    }

    fn feed(&self, reader: Box<dyn Stream>) {
        let outcome = self.pass_on(reader);
        let mut state = self.lock();
        match outcome {
            Ok(()) => {}
            Err(error) => state.failed = Some((error.kind(), error.to_string())),
        }
        drop(state);
        self.changed.notify_all();
    }

    fn pass_on(&self, mut reader: Box<dyn Stream>) -> Result<()> {
        let mut buffer = vec![0; PIECE];
        let mut room = Room::default();
        loop {
            let hole = reader.hole(u64::MAX >> 1).map_err(|error| self.unread(error))?;
            if hole > 0 {
                let Some((at, _)) = self.turn(hole)? else { return Ok(()) };
                self.arrive(at, at + hole, &[0; TAIL])?;
                continue;
            }
            let read = self.fill(&mut reader, &mut buffer)?;
            if read == 0 {
                return self.end();
            }
            let bytes = &buffer[..read];
            let Some((at, keep)) = self.turn(read as u64)? else { return Ok(()) };
            let lost = !keep && self.lock().punched.add(at, at + read as u64, 0).is_some();
            if !lost {
                let keeping = |error: Error| error.during(format!("keep what arrives of {}", self.label));
                write_nonzero(&self.file, at, bytes).map_err(keeping)?;
                room.take(&self.file, read as u64).map_err(keeping)?;
            }
            self.arrive(at, at + read as u64, bytes)?;
        }
    }

    fn unread(&self, error: io::Error) -> Error {
        failure(error, || format!("read {}", self.label))
    }

    /// `at .. end` is there, with these bytes at its end: compares what was fetched ahead of it with the stream, which is what
    /// checksums are computed of. Only then does anybody else see that it is there.
    fn arrive(&self, at: u64, end: u64, bytes: &[u8]) -> Result<()> {
        loop {
            let mut state = self.lock();
            let Some(due) = state.ahead.iter().find(|ahead| ahead.end() <= end).copied() else {
                state.arrived = end;
                keep_tail(&mut state.tail, &bytes[..bytes.len().min((end - at) as usize)]);
                break;
            };
            drop(state);
            self.compare(&due)?;
            self.lock().ahead.retain(|ahead| *ahead != due);
        }
        self.changed.notify_all();
        Ok(())
    }

    fn fill(&self, reader: &mut Box<dyn Stream>, buffer: &mut [u8]) -> Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match reader.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.unread(error)),
            }
        }
        Ok(filled)
    }

    /// Waits until `read` more bytes are wanted. Returns where they belong and whether they are kept; `None` to stop.
    fn turn(&self, read: u64) -> Result<Option<(u64, bool)>> {
        let mut state = self.lock();
        let at = state.arrived;
        let end = at.saturating_add(read);
        if end > self.max.max(self.start) {
            let message =
                format!("{} unpacks to more than the {} bytes that are allowed", self.label, self.max);
            return Err(Error::new(ErrorKind::Limit, message));
        }
        if state.size.is_some_and(|size| end > size) {
            let message = format!("{} goes on after the length that was stated", self.label);
            return Err(Error::new(ErrorKind::Corrupt, message));
        }
        loop {
            if state.stop {
                return Ok(None);
            }
            if state.draining {
                return Ok(Some((at, !state.ahead.is_empty())));
            }
            if at <= state.wanted.max(state.reached).saturating_add(AHEAD) {
                return Ok(Some((at, true)));
            }
            state = self.wait(state)?;
        }
    }

    fn end(&self) -> Result<()> {
        let mut state = self.lock();
        match state.size {
            Some(size) if size != state.arrived => {
                let message =
                    format!("{} ends at byte {}, {size} bytes were promised", self.label, state.arrived);
                return Err(Error::new(ErrorKind::Corrupt, message));
            }
            _ => state.size = Some(state.arrived),
        }
        if let Some(ahead) = state.ahead.first() {
            return Err(self.other_bytes(ahead.offset));
        }
        state.ended = true;
        Ok(())
    }

    /// Frees `start .. end`, which was consumed, as far as it has arrived and was compared.
    fn punch(&self, start: u64, end: u64) {
        let mut state = self.lock();
        let settled = state.reached.saturating_sub(LAG).min(state.arrived);
        let reach = state.ahead.iter().map(|ahead| ahead.offset).fold(settled, u64::min);
        let (start, end) = (start.next_multiple_of(BLOCK), end.min(reach) / BLOCK * BLOCK);
        for (start, end) in state.punched.gaps(start, end) {
            if end - start < PUNCH || state.punched.add(start, end, 0).is_none() {
                continue;
            }
            // Nobody reads these bytes any more, so a filesystem that cannot do it only costs space.
            let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            let _ = rustix::fs::fallocate(&self.file, flags, start, end - start);
        }
    }
}

fn keep_tail(tail: &mut Vec<u8>, bytes: &[u8]) {
    let bytes = &bytes[bytes.len().saturating_sub(TAIL)..];
    let keep = tail.len().min(TAIL - bytes.len());
    tail.drain(..tail.len() - keep);
    tail.extend_from_slice(bytes);
}

impl ByteSource for Spool {
    fn size(&self) -> u64 {
        self.lock().size.unwrap_or(UNKNOWN)
    }

    /// For plugins: what lies far ahead is fetched on its own. A plugin that was told no right size reads nothing where it
    /// takes the end to be, and is asked again once the size is known.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        Ok(self.read(buffer, offset, true)?)
    }
}

impl Source for Spool {
    fn label(&self) -> &str {
        &self.label
    }

    fn identity(&self) -> Identity {
        self.identity
    }

    fn verify_unchanged(&self) -> Result<()> {
        Ok(())
    }

    fn consumed(&self, offset: u64, length: u64) {
        if !self.frees {
            return;
        }
        let mut state = self.lock();
        let added = state.consumed.add(offset, offset.saturating_add(length), ENCODED_SLACK);
        state.reached = state.reached.max(offset.saturating_add(length));
        state.used = state.used.saturating_add(length);
        drop(state);
        if let Some((start, end)) = added.filter(|(start, end)| end - start >= PUNCH) {
            self.punch(start, end);
        }
        self.changed.notify_all();
    }

    fn read_encoded_at(&self, buffer: &mut [u8], offset: u64) -> Result<()> {
        // The end of a run may be another's, and gone with it.
        let slack = buffer.len().min(ENCODED_SLACK as usize - 1);
        let (sure, rest) = buffer.split_at_mut(buffer.len() - slack);
        self.read_exact_at(sure, offset)?;
        let read =
            self.read(rest, offset + sure.len() as u64, false).or_else(|error| match error.kind() {
                ErrorKind::Unsupported => Ok(0),
                _ => Err(error),
            })?;
        rest[read..].fill(0);
        Ok(())
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> Result<()> {
        let read = self.read(buffer, offset, false)?;
        if read == buffer.len() {
            return Ok(());
        }
        let end = offset.saturating_add(buffer.len() as u64);
        let message =
            format!("{} ends at byte {}, data up to byte {end} is missing", self.label, self.size());
        Err(Error::new(ErrorKind::Corrupt, message))
    }
}

#[cfg(test)]
mod tests;

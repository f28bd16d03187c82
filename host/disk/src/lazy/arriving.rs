//! A file that arrives piece by piece from a server, in whatever order it is read.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::journal::{Journal, checksum};
use super::remote::{Remote, Waiting, lock, pause};
use crate::error::{Doing, Error, ErrorKind, Result};

/// What is fetched and remembered as one, in bytes.
pub(crate) const CHUNK: u64 = 1 << 20;

/// Most chunks of one request.
const MOST: u64 = 4;

/// How often somebody who waits looks whether it is still wanted.
pub(super) const LOOK: Duration = Duration::from_millis(200);

/// Whether nobody wants an answer any more.
pub(crate) type Gone<'a> = &'a dyn Fn() -> bool;

/// Who reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum For {
    /// A guest, which waits.
    Guest,
    /// Nobody yet.
    Later,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Chunk {
    Absent,
    /// An earlier process has noted it; its checksum was not compared yet.
    Noted(u32),
    /// Somebody is at it.
    Claimed,
    Present,
}

#[derive(Debug)]
struct Chunks {
    states: Vec<Chunk>,
    /// How many are not present.
    left: u64,
    /// Present, but not in the journal yet.
    unnoted: Vec<(u64, u32)>,
    /// Where the next chunk would continue what was missed last.
    sequel: u64,
    /// Guests' reads that wait.
    guests: usize,
    /// When a guest last missed something.
    missed: Option<Instant>,
}

/// A sparse file, the journal of what it holds, and the server that has the rest.
#[derive(Debug)]
pub(crate) struct Arriving {
    remote: Remote,
    file: File,
    journal: Journal,
    size: u64,
    chunks: Mutex<Chunks>,
    changed: Condvar,
    closing: AtomicBool,
    fetched: AtomicU64,
    opened: Instant,
}

impl Arriving {
    /// `noted` has an entry for each chunk, as [`Journal::open`] yields them; empty for a new file.
    pub(crate) fn new(
        remote: Remote,
        file: File,
        journal: Journal,
        size: u64,
        noted: &[Option<u32>],
    ) -> Self {
        let count = size.div_ceil(CHUNK);
        let state = |index: u64| match noted.get(index as usize) {
            Some(Some(checksum)) => Chunk::Noted(*checksum),
            _ => Chunk::Absent,
        };
        let chunks = Chunks {
            states: (0..count).map(state).collect(),
            left: count,
            unnoted: Vec::new(),
            sequel: u64::MAX,
            guests: 0,
            missed: None,
        };
        Self {
            remote,
            file,
            journal,
            size,
            chunks: Mutex::new(chunks),
            changed: Condvar::new(),
            closing: AtomicBool::new(false),
            fetched: AtomicU64::new(0),
            opened: Instant::now(),
        }
    }

    pub(super) fn label(&self) -> &str {
        self.remote.label()
    }

    /// Length in bytes.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Bytes that are here, noted ones included.
    pub(super) fn present(&self) -> u64 {
        let chunks = self.lock();
        let here = |state: &&Chunk| matches!(state, Chunk::Present | Chunk::Noted(_));
        (chunks.states.iter().filter(here).count() as u64 * CHUNK).min(self.size)
    }

    /// Bytes that this process has fetched.
    pub(super) fn fetched(&self) -> u64 {
        self.fetched.load(Ordering::Relaxed)
    }

    /// Why nothing arrives, where that is so.
    pub(crate) fn waiting(&self) -> Option<Waiting> {
        self.remote.waiting()
    }

    /// Whether all of it is here, and fits its checksums.
    pub(super) fn is_whole(&self) -> bool {
        self.lock().left == 0
    }

    /// Ends every wait, for good.
    pub(super) fn close(&self) {
        self.closing.store(true, Ordering::SeqCst);
        // Under the lock, so that nobody misses it between a look and a wait.
        drop(self.lock());
        self.changed.notify_all();
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::SeqCst)
    }

    /// Fills `buffer` from `offset`, once all of it is here.
    ///
    /// # Errors
    /// `Cancelled` when nobody wants it any more; whatever reading the file reports. A server that does not answer is no
    /// error.
    pub(super) fn read(&self, buffer: &mut [u8], offset: u64, gone: Gone<'_>) -> Result<()> {
        self.want(offset, buffer.len() as u64, For::Guest, gone)?;
        self.copy(buffer, offset)
    }

    /// Fills `buffer` with what is here already; false where something is missing.
    pub(super) fn try_read(&self, buffer: &mut [u8], offset: u64) -> Result<bool> {
        let Some((first, last)) = self.range(offset, buffer.len() as u64)? else { return Ok(true) };
        for index in first..=last {
            if !self.is_present(index) {
                return Ok(false);
            }
        }
        self.copy(buffer, offset).map(|()| true)
    }

    /// Waits until a range is here, and fetches what nobody else does.
    pub(super) fn want(&self, offset: u64, length: u64, who: For, gone: Gone<'_>) -> Result<()> {
        let Some((first, last)) = self.range(offset, length)? else { return Ok(()) };
        let mut chunks = self.lock();
        // What was found present stays so.
        let mut from = first;
        loop {
            while from <= last && chunks.states[from as usize] == Chunk::Present {
                from += 1;
            }
            if from > last {
                return Ok(());
            }
            self.check(gone)?;
            let waits = (who == For::Guest).then(|| Guest::new(self, &mut chunks));
            match chunks.states[from as usize] {
                Chunk::Claimed => {
                    chunks =
                        self.changed.wait_timeout(chunks, LOOK).unwrap_or_else(PoisonError::into_inner).0;
                    drop(chunks);
                }
                Chunk::Noted(checksum) => {
                    let claim = self.claim(&mut chunks, from, 1);
                    drop(chunks);
                    claim.compare(checksum)?;
                }
                _ => {
                    let count = self.stretch(&mut chunks, from, last, who);
                    let claim = self.claim(&mut chunks, from, count);
                    drop(chunks);
                    claim.fetch(gone)?;
                }
            }
            drop(waits);
            chunks = self.lock();
        }
    }

    /// Fetches or compares the first chunk that is not here at or behind `cursor`; returns where to go on. `None`: whatever
    /// is missing is being fetched by others.
    pub(super) fn advance(&self, cursor: u64, gone: Gone<'_>) -> Result<Option<u64>> {
        let count = self.size.div_ceil(CHUNK);
        let next = {
            let chunks = self.lock();
            let wanted =
                |index: &u64| matches!(chunks.states[*index as usize], Chunk::Absent | Chunk::Noted(_));
            (cursor.min(count)..count).chain(0..cursor.min(count)).find(wanted)
        };
        let Some(next) = next else { return Ok(None) };
        self.want(next * CHUNK, 1, For::Later, gone)?;
        Ok(Some(next + 1))
    }

    /// Whether the line is free: no guest waits, and none has missed anything for `quiet`. Before a guest has missed
    /// anything at all, only `latest` after the file was opened.
    pub(super) fn is_calm(&self, quiet: Duration, latest: Duration) -> bool {
        let chunks = self.lock();
        if chunks.guests > 0 {
            return false;
        }
        self.opened.elapsed() >= latest || chunks.missed.is_some_and(|missed| missed.elapsed() >= quiet)
    }

    /// Waits, less long only when the file is closed.
    pub(super) fn rest(&self, pause: Duration) {
        let chunks = self.lock();
        drop(self.changed.wait_timeout_while(chunks, pause, |_| !self.is_closing()));
    }

    /// Makes what has arrived known to the next process.
    ///
    /// # Errors
    /// When the disk fails; the chunks are tried again with the next call.
    pub(crate) fn note(&self) -> Result<()> {
        let arrived = std::mem::take(&mut self.lock().unnoted);
        if arrived.is_empty() {
            return Ok(());
        }
        let flushed = self.file.sync_data().doing(|| format!("flush what has arrived of {}", self.label()));
        let noted = flushed.and_then(|()| self.journal.note(&arrived));
        if noted.is_err() {
            self.lock().unnoted.extend(arrived);
        }
        noted
    }

    fn lock(&self) -> MutexGuard<'_, Chunks> {
        lock(&self.chunks)
    }

    fn check(&self, gone: Gone<'_>) -> Result<()> {
        if self.is_closing() || gone() {
            return Err(Error::new(ErrorKind::Cancelled, "nobody waits for it any more"));
        }
        Ok(())
    }

    /// The first and last chunk of a range; `None` for an empty one.
    fn range(&self, offset: u64, length: u64) -> Result<Option<(u64, u64)>> {
        let end = offset.checked_add(length).filter(|end| *end <= self.size);
        let Some(end) = end else {
            let message = format!(
                "{} ends at byte {}, {length} bytes at {offset} are missing",
                self.label(),
                self.size
            );
            return Err(Error::new(ErrorKind::Corrupt, message));
        };
        Ok((length > 0).then(|| (offset / CHUNK, (end - 1) / CHUNK)))
    }

    fn copy(&self, buffer: &mut [u8], offset: u64) -> Result<()> {
        let read = self.file.read_exact_at(buffer, offset);
        read.doing(|| format!("read what has arrived of {} at byte {offset}", self.label()))
    }

    /// Compares a chunk that an earlier process has noted on the way.
    fn is_present(&self, index: u64) -> bool {
        let mut chunks = self.lock();
        match chunks.states[index as usize] {
            Chunk::Present => true,
            Chunk::Noted(checksum) => {
                let claim = self.claim(&mut chunks, index, 1);
                drop(chunks);
                claim.compare(checksum).unwrap_or(false)
            }
            Chunk::Absent | Chunk::Claimed => false,
        }
    }

    /// How many chunks to fetch at once: what is asked for, and more where guests read on and on.
    fn stretch(&self, chunks: &mut Chunks, first: u64, last: u64, who: For) -> u64 {
        let reads_on = who == For::Guest && chunks.sequel == first;
        let end = (if reads_on { first + MOST } else { last + 1 }).min(first + MOST);
        let absent = |index: &u64| chunks.states.get(*index as usize) == Some(&Chunk::Absent);
        let count = (first..end).take_while(absent).count() as u64;
        if who == For::Guest {
            chunks.sequel = first + count;
        }
        count
    }

    fn claim(&self, chunks: &mut Chunks, first: u64, count: u64) -> Claim<'_> {
        for index in first..first + count {
            chunks.states[index as usize] = Chunk::Claimed;
        }
        Claim { arriving: self, next: first, end: first + count }
    }
}

/// A guest's read that waits.
struct Guest<'a>(&'a Arriving);

impl<'a> Guest<'a> {
    fn new(arriving: &'a Arriving, chunks: &mut Chunks) -> Self {
        chunks.guests += 1;
        chunks.missed = Some(Instant::now());
        Self(arriving)
    }
}

impl Drop for Guest<'_> {
    fn drop(&mut self) {
        let mut chunks = self.0.lock();
        chunks.guests -= 1;
        chunks.missed = Some(Instant::now());
    }
}

/// Chunks `next .. end`, which nobody else touches meanwhile. Dropped, those that have not arrived are free again.
struct Claim<'a> {
    arriving: &'a Arriving,
    next: u64,
    end: u64,
}

impl Claim<'_> {
    /// Fetches them, however long that takes.
    fn fetch(mut self, gone: Gone<'_>) -> Result<()> {
        let arriving = self.arriving;
        let start = self.next * CHUNK;
        let length = (self.end * CHUNK).min(arriving.size) - start;
        let mut buffer = vec![0; length as usize];
        let mut attempt = 0;
        loop {
            let fetched = arriving.remote.read(&mut buffer, start);
            if fetched.is_ok() {
                break;
            }
            self.retreat(attempt, gone)?;
            attempt += 1;
        }
        arriving.fetched.fetch_add(length, Ordering::Relaxed);
        let mut attempt = 0;
        while let Err(error) = self.keep(start, &buffer) {
            // A full disk, most likely, and nothing is lost by waiting.
            arriving.remote.lose(&error);
            self.retreat(attempt, gone)?;
            attempt += 1;
        }
        Ok(())
    }

    /// Waits between two attempts.
    fn retreat(&self, attempt: u32, gone: Gone<'_>) -> Result<()> {
        let until = Instant::now() + pause(attempt);
        loop {
            self.arriving.check(gone)?;
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            std::thread::sleep(left.min(LOOK));
        }
    }

    /// Writes what has arrived and tells everybody.
    fn keep(&mut self, start: u64, bytes: &[u8]) -> Result<()> {
        let arriving = self.arriving;
        let written = arriving.file.write_all_at(bytes, start);
        written.doing(|| format!("keep what has arrived of {}", arriving.label()))?;
        let checksums: Vec<u32> = bytes.chunks(CHUNK as usize).map(checksum).collect();
        let mut chunks = arriving.lock();
        for checksum in checksums {
            chunks.unnoted.push((self.next, checksum));
            self.arrived(&mut chunks);
        }
        drop(chunks);
        arriving.changed.notify_all();
        Ok(())
    }

    /// Compares a chunk with the checksum that was noted of it; false, and free to be fetched again, when it differs.
    fn compare(mut self, noted: u32) -> Result<bool> {
        let arriving = self.arriving;
        let start = self.next * CHUNK;
        let mut buffer = vec![0; ((start + CHUNK).min(arriving.size) - start) as usize];
        // What cannot be read is fetched again.
        let fits = arriving.copy(&mut buffer, start).is_ok() && checksum(&buffer) == noted;
        if fits {
            self.arrived(&mut arriving.lock());
        } else {
            tracing::warn!(
                of = arriving.label(),
                at = start,
                "what was kept is damaged: it is fetched again"
            );
        }
        arriving.changed.notify_all();
        Ok(fits)
    }

    fn arrived(&mut self, chunks: &mut Chunks) {
        chunks.states[self.next as usize] = Chunk::Present;
        chunks.left -= 1;
        self.next += 1;
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        if self.next == self.end {
            return;
        }
        let mut chunks = self.arriving.lock();
        for index in self.next..self.end {
            chunks.states[index as usize] = Chunk::Absent;
        }
        drop(chunks);
        self.arriving.changed.notify_all();
    }
}

//! A file that arrives part by part, in whatever order it is read.
//!
//! What is stored as it is, is fetched by whoever wants it, a few megabytes at a time. Pieces that decode independently take
//! long: threads of the image fetch them ([`Arriving::serve`], [`Arriving::advance`]), and readers wait.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::claim::Claim;
use super::journal::Journal;
use super::remote::{Remote, Waiting, lock};
use super::units::Units;
use crate::error::{Doing, Error, ErrorKind, Result};

/// Most chunks of one request.
const MOST: u64 = 4;

/// How often somebody who waits looks whether it is still wanted.
pub(super) const LOOK: Duration = Duration::from_millis(200);

/// Whether nobody wants an answer any more.
pub(crate) type Gone<'a> = &'a dyn Fn() -> bool;

/// Who fetches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum For {
    /// A guest, which waits.
    Guest,
    /// Nobody yet.
    Later,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Chunk {
    Absent,
    /// An earlier process has noted it; its checksum was not compared yet.
    Noted(u32),
    /// Somebody is at it.
    Claimed,
    Present,
}

#[derive(Debug)]
pub(super) struct Chunks {
    pub(super) states: Vec<Chunk>,
    /// How many are not present.
    pub(super) left: u64,
    /// Present, but not in the journal yet.
    pub(super) unnoted: Vec<(u64, u32)>,
    /// Where the next chunk would continue what was missed last.
    sequel: u64,
    /// What guests' reads wait for, and how many of them.
    guests: BTreeMap<u64, usize>,
    /// When a guest last missed something.
    missed: Option<Instant>,
}

/// A sparse file, the journal of what it holds, and the server that has the rest.
#[derive(Debug)]
pub(crate) struct Arriving {
    pub(super) remote: Remote,
    file: File,
    journal: Journal,
    units: Units,
    chunks: Mutex<Chunks>,
    changed: Condvar,
    closing: AtomicBool,
    pub(super) fetched: AtomicU64,
    opened: Instant,
    /// Why it can never be whole.
    spoilt: OnceLock<String>,
}

impl Arriving {
    /// `noted` has an entry for each unit, as [`Journal::open`] yields them; empty for a new file.
    pub(crate) fn new(
        remote: Remote,
        file: File,
        journal: Journal,
        units: Units,
        noted: &[Option<u32>],
    ) -> Self {
        let count = units.count();
        let state = |index: u64| match noted.get(index as usize) {
            Some(Some(checksum)) => Chunk::Noted(*checksum),
            _ => Chunk::Absent,
        };
        let chunks = Chunks {
            states: (0..count).map(state).collect(),
            left: count,
            unnoted: Vec::new(),
            sequel: u64::MAX,
            guests: BTreeMap::new(),
            missed: None,
        };
        Self {
            remote,
            file,
            journal,
            units,
            chunks: Mutex::new(chunks),
            changed: Condvar::new(),
            closing: AtomicBool::new(false),
            fetched: AtomicU64::new(0),
            opened: Instant::now(),
            spoilt: OnceLock::new(),
        }
    }

    pub(super) fn label(&self) -> &str {
        self.remote.label()
    }

    /// Length in bytes.
    pub(super) fn size(&self) -> u64 {
        self.units.size()
    }

    pub(super) fn units(&self) -> &Units {
        &self.units
    }

    /// Where it is kept.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Bytes that are here, noted ones included.
    pub(super) fn present(&self) -> u64 {
        let chunks = self.lock();
        let here = |(_, state): &(u64, &Chunk)| matches!(state, Chunk::Present | Chunk::Noted(_));
        (0..).zip(&chunks.states).filter(here).map(|(index, _)| self.units.range(index).1).sum()
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
    pub(crate) fn close(&self) {
        self.closing.store(true, Ordering::SeqCst);
        // Under the lock, so that nobody misses it between a look and a wait.
        drop(self.lock());
        self.changed.notify_all();
    }

    /// Notes that what is here will never be whole; reads of what is missing fail from now on.
    pub(super) fn spoil(&self, reason: String) {
        let _first = self.spoilt.set(reason);
        drop(self.lock());
        self.changed.notify_all();
    }

    /// Why it will never be whole.
    pub(super) fn spoilt(&self) -> Option<&str> {
        self.spoilt.get().map(String::as_str)
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::SeqCst)
    }

    /// Fills `buffer` from `offset`, once all of it is here.
    ///
    /// # Errors
    /// `Cancelled` when nobody wants it any more; `Corrupt` when it can never be had; whatever reading the file reports. A
    /// server that does not answer is no error.
    pub(super) fn read(&self, buffer: &mut [u8], offset: u64, gone: Gone<'_>) -> Result<()> {
        self.want(offset, buffer.len() as u64, gone)?;
        self.copy(buffer, offset)
    }

    /// Fills `buffer` with what is here already; false where something is missing.
    pub(super) fn try_read(&self, buffer: &mut [u8], offset: u64) -> Result<bool> {
        let (first, last) = self.range(offset, buffer.len() as u64)?;
        for index in first..last {
            if !self.is_present(index) {
                return Ok(false);
            }
        }
        self.copy(buffer, offset).map(|()| true)
    }

    /// Waits until a range is here, and fetches what nobody else does.
    pub(super) fn want(&self, offset: u64, length: u64, gone: Gone<'_>) -> Result<()> {
        self.want_for(offset, length, For::Guest, gone)
    }

    fn want_for(&self, offset: u64, length: u64, who: For, gone: Gone<'_>) -> Result<()> {
        let (mut from, last) = self.range(offset, length)?;
        let mut chunks = self.lock();
        loop {
            // What was found present stays so.
            while from < last && chunks.states[from as usize] == Chunk::Present {
                from += 1;
            }
            if from >= last {
                return Ok(());
            }
            self.check_wanted(gone)?;
            let waits = (who == For::Guest).then(|| Guest::new(self, &mut chunks, from));
            match chunks.states[from as usize] {
                Chunk::Noted(checksum) => {
                    let claim = self.claim(&mut chunks, from, 1);
                    drop(chunks);
                    claim.compare(checksum)?;
                }
                Chunk::Absent if !self.units.are_pieces() => {
                    let count = self.stretch(&mut chunks, from, last, who);
                    let claim = self.claim(&mut chunks, from, count);
                    drop(chunks);
                    claim.fetch(gone)?;
                }
                _ => {
                    let spoilt = self.check(gone);
                    // Others are at it, or will be as soon as they see that somebody waits.
                    self.changed.notify_all();
                    drop(if spoilt.is_ok() { self.wait(chunks, LOOK) } else { chunks });
                    spoilt?;
                }
            }
            drop(waits);
            chunks = self.lock();
        }
    }

    /// Fetches or compares the first unit that is not here at or behind `cursor`; returns where to go on. `None`: whatever
    /// is missing is being fetched by others.
    pub(super) fn advance(self: &Arc<Self>, cursor: u64, gone: Gone<'_>) -> Result<Option<u64>> {
        let count = self.units.count();
        let mut chunks = self.lock();
        let wanted = |index: &u64| matches!(chunks.states[*index as usize], Chunk::Absent | Chunk::Noted(_));
        let next = (cursor.min(count)..count).chain(0..cursor.min(count)).find(wanted);
        let Some(next) = next else { return Ok(None) };
        if self.units.are_pieces() && chunks.states[next as usize] == Chunk::Absent {
            let claim = self.claim(&mut chunks, next, 1);
            drop(chunks);
            claim.fetch_piece(self, For::Later)?;
        } else {
            drop(chunks);
            self.want_for(self.units.range(next).0, 1, For::Later, gone)?;
        }
        Ok(Some(next + 1))
    }

    fn serve_guests(self: &Arc<Self>) {
        loop {
            let mut chunks = self.lock();
            if chunks.left == 0 || self.is_closing() || self.spoilt().is_some() {
                return;
            }
            let absent = |index: &&u64| chunks.states[**index as usize] == Chunk::Absent;
            let Some(next) = chunks.guests.keys().find(absent).copied() else {
                drop(self.wait(chunks, LOOK));
                continue;
            };
            let claim = self.claim(&mut chunks, next, 1);
            drop(chunks);
            if let Err(error) = claim.fetch_piece(self, For::Guest) {
                tracing::debug!(of = self.label(), %error, "a piece was not fetched");
            }
        }
    }

    /// Has pieces fetched for whoever waits for them, until all is here or the file is closed. Of an object nothing has to be.
    pub(crate) fn serve(self: &Arc<Self>) -> Result<()> {
        if !self.units.are_pieces() {
            return Ok(());
        }
        let arriving = Arc::clone(self);
        let thread = std::thread::Builder::new().name("lazy-fetch".into());
        let serving = thread.spawn(move || arriving.serve_guests());
        serving.map(drop).doing(|| "start a thread that fetches for guests".into())
    }

    /// Waits as long as the line belongs to somebody else: guests wait, and none of them for `index`.
    pub(super) fn give_way(&self, index: u64) {
        let chunks = self.lock();
        let others = |chunks: &mut Chunks| {
            !self.is_closing() && !chunks.guests.is_empty() && !chunks.guests.contains_key(&index)
        };
        drop(self.changed.wait_timeout_while(chunks, LOOK, others));
    }

    /// Whether the line is free: no guest waits, and none has missed anything for `quiet`. Before a guest has missed
    /// anything at all, only `latest` after the file was opened.
    pub(super) fn is_calm(&self, quiet: Duration, latest: Duration) -> bool {
        let chunks = self.lock();
        if !chunks.guests.is_empty() {
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

    pub(super) fn lock(&self) -> MutexGuard<'_, Chunks> {
        lock(&self.chunks)
    }

    fn wait<'a>(&self, chunks: MutexGuard<'a, Chunks>, most: Duration) -> MutexGuard<'a, Chunks> {
        self.changed.wait_timeout(chunks, most).unwrap_or_else(PoisonError::into_inner).0
    }

    /// Wakes everybody who waits.
    pub(super) fn tell(&self) {
        self.changed.notify_all();
    }

    /// # Errors
    /// `Cancelled` when nobody wants it any more.
    pub(super) fn check_wanted(&self, gone: Gone<'_>) -> Result<()> {
        if self.is_closing() || gone() {
            return Err(Error::new(ErrorKind::Cancelled, "nobody waits for it any more"));
        }
        Ok(())
    }

    /// # Errors
    /// `Cancelled` when nobody wants it any more; `Corrupt` when it can never be had.
    pub(super) fn check(&self, gone: Gone<'_>) -> Result<()> {
        self.check_wanted(gone)?;
        self.spoilt().map_or(Ok(()), |reason| Err(Error::new(ErrorKind::Corrupt, reason)))
    }

    /// The first unit of a range, and the one behind its last.
    fn range(&self, offset: u64, length: u64) -> Result<(u64, u64)> {
        let end = offset.checked_add(length).filter(|end| *end <= self.size());
        let Some(end) = end else {
            let message = format!(
                "{} ends at byte {}, {length} bytes at {offset} are missing",
                self.label(),
                self.size()
            );
            return Err(Error::new(ErrorKind::Corrupt, message));
        };
        Ok(self.units.touching(offset, end))
    }

    pub(super) fn copy(&self, buffer: &mut [u8], offset: u64) -> Result<()> {
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

    /// How many chunks to fetch at once: what is asked for (up to `last`, exclusive), and more where guests read on and on.
    fn stretch(&self, chunks: &mut Chunks, first: u64, last: u64, who: For) -> u64 {
        let reads_on = who == For::Guest && chunks.sequel == first;
        let end = (if reads_on { first + MOST } else { last }).min(first + MOST);
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
        Claim::new(self, first, first + count)
    }
}

/// A guest's read that waits for a unit.
struct Guest<'a>(&'a Arriving, u64);

impl<'a> Guest<'a> {
    fn new(arriving: &'a Arriving, chunks: &mut Chunks, index: u64) -> Self {
        *chunks.guests.entry(index).or_default() += 1;
        chunks.missed = Some(Instant::now());
        Self(arriving, index)
    }
}

impl Drop for Guest<'_> {
    fn drop(&mut self) {
        let mut chunks = self.0.lock();
        if let Some(count) = chunks.guests.get_mut(&self.1) {
            *count -= 1;
            if *count == 0 {
                chunks.guests.remove(&self.1);
            }
        }
        chunks.missed = Some(Instant::now());
    }
}

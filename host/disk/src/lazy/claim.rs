//! Units that somebody is at.

use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::arriving::{Arriving, Chunk, Chunks, For, Gone, LOOK};
use super::journal::checksum;
use super::piece;
use super::remote::{chain, pause};
use super::units::CHUNK;
use crate::error::{Doing, Error, ErrorKind, Result};

/// Units `next .. end`, which nobody else touches meanwhile. Dropped, those that have not arrived are free again.
pub(super) struct Claim<'a> {
    arriving: &'a Arriving,
    next: u64,
    end: u64,
}

impl<'a> Claim<'a> {
    /// The caller has marked them as claimed.
    pub(super) fn new(arriving: &'a Arriving, next: u64, end: u64) -> Self {
        Self { arriving, next, end }
    }

    /// Fetches chunks of an object, however long that takes.
    pub(super) fn fetch(mut self, gone: Gone<'_>) -> Result<()> {
        let arriving = self.arriving;
        let start = self.next * CHUNK;
        let length = (self.end * CHUNK).min(arriving.size()) - start;
        let mut buffer = vec![0; length as usize];
        let mut attempt = 0;
        while arriving.remote.read(&mut buffer, start).is_err() {
            retreat(arriving, attempt, gone)?;
            attempt += 1;
        }
        arriving.fetched.fetch_add(length, Ordering::Relaxed);
        let mut attempt = 0;
        while let Err(error) = self.keep(start, &buffer) {
            // A full disk, most likely, and nothing is lost by waiting.
            arriving.remote.lose(&error);
            retreat(arriving, attempt, gone)?;
            attempt += 1;
        }
        Ok(())
    }

    /// Fetches one piece, however long that takes; `shared` is the same file.
    ///
    /// # Errors
    /// `Cancelled`; `Corrupt` when the piece cannot be decoded although it is what its digest says: then the image is spoilt.
    pub(super) fn fetch_piece(mut self, shared: &Arc<Arriving>, who: For) -> Result<()> {
        let mut attempt = 0;
        loop {
            match piece::fetch(shared, self.next, who) {
                Ok(checksum) => {
                    let mut chunks = shared.lock();
                    chunks.unnoted.push((self.next, checksum));
                    self.arrived(&mut chunks);
                    drop(chunks);
                    shared.tell();
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::Cancelled => return Err(error),
                Err(error) if piece::is_final(&error) => {
                    shared.spoil(format!("{}: {}", shared.label(), chain(&error)));
                    return Err(error);
                }
                Err(error) => shared.remote.lose(&error),
            }
            // A full disk, or a server that sends something else: all of the piece is fetched again, so this takes longer
            // than asking once more for a connection does.
            for _ in 0..=attempt.min(11) {
                retreat(shared, attempt, &|| false)?;
            }
            attempt += 1;
        }
    }

    /// Writes what has arrived and tells everybody.
    fn keep(&mut self, start: u64, bytes: &[u8]) -> Result<()> {
        let arriving = self.arriving;
        let written = arriving.file().write_all_at(bytes, start);
        written.doing(|| format!("keep what has arrived of {}", arriving.label()))?;
        let checksums: Vec<u32> = bytes.chunks(CHUNK as usize).map(checksum).collect();
        let mut chunks = arriving.lock();
        for checksum in checksums {
            chunks.unnoted.push((self.next, checksum));
            self.arrived(&mut chunks);
        }
        drop(chunks);
        arriving.tell();
        Ok(())
    }

    /// Compares a unit with the checksum that was noted of it; false, and free to be fetched again, when it differs.
    pub(super) fn compare(mut self, noted: u32) -> Result<bool> {
        let arriving = self.arriving;
        let (start, length) = arriving.units().range(self.next);
        // What cannot be read is fetched again.
        let fits = checksum_of(arriving, start, length).is_ok_and(|found| found == noted);
        if fits {
            self.arrived(&mut arriving.lock());
        } else if arriving.is_closing() {
            return Err(Error::new(ErrorKind::Cancelled, "nobody waits for it any more"));
        } else {
            tracing::warn!(
                of = arriving.label(),
                at = start,
                "what was kept is damaged: it is fetched again"
            );
        }
        arriving.tell();
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
        self.arriving.tell();
    }
}

/// Waits between two attempts.
pub(super) fn retreat(arriving: &Arriving, attempt: u32, gone: Gone<'_>) -> Result<()> {
    let until = Instant::now() + pause(attempt);
    loop {
        arriving.check(gone)?;
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        std::thread::sleep(left.min(LOOK));
    }
}

/// The checksum of what is kept of a range.
fn checksum_of(arriving: &Arriving, start: u64, length: u64) -> Result<u32> {
    let mut sum = libdeflater::Crc::new();
    let mut buffer = vec![0; length.min(CHUNK) as usize];
    let mut at = 0;
    while at < length {
        arriving.check_wanted(&|| false)?;
        let part = &mut buffer[..(length - at).min(CHUNK) as usize];
        arriving.copy(part, start + at)?;
        sum.update(part);
        at += part.len() as u64;
    }
    Ok(sum.sum())
}

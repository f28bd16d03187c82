//! The log: what a crash left to be written, found and applied in memory.

mod entry;
mod patches;
mod sequence;

use witvirt_sdk::disk::{MAX_READ, ReadAt, hex, read_exact};

use crate::guid::Guid;
use crate::header::Header;
use crate::{Error, ErrorKind, corrupt};

pub(crate) use patches::Piece;
use patches::{Patch, Patches};

/// Unit of the log, and of what it writes, in bytes.
pub(crate) const PAGE: u64 = 4096;
/// The longest log that is replayed.
const MAX_LENGTH: u64 = 64 << 20;
/// No file is longer: a disk of 64 TiB, its bitmaps and tables, and as much again.
const MAX_FILE: u64 = 128 << 40;

/// The log of a file: a ring of pages.
struct Ring<'a, R> {
    source: &'a R,
    offset: u64,
    length: u64,
    id: Guid,
}

impl<R: ReadAt> Ring<'_, R> {
    /// Bytes from a position of the ring, perhaps around its end. `length` is at most that of the ring.
    fn read(&self, position: u64, length: u64) -> Result<Vec<u8>, Error> {
        let first = length.min(self.length - position);
        let mut bytes = read_exact(self.source, self.offset + position, first as usize, "the log")?;
        if first < length {
            bytes.extend(read_exact(self.source, self.offset, (length - first) as usize, "the log")?);
        }
        Ok(bytes)
    }

    fn after(&self, position: u64, length: u64) -> u64 {
        (position + length) % self.length
    }
}

/// A file as it is once its log is replayed.
#[derive(Debug)]
pub(crate) struct Replayed<R> {
    source: R,
    /// With what the log says was appended.
    size: u64,
    patches: Patches,
    /// How many entries were replayed.
    pub entries: usize,
}

impl<R: ReadAt> Replayed<R> {
    /// Replays the log that the header names, if it names one.
    ///
    /// # Errors
    /// `corrupt` when there is no valid sequence of entries, or one that does not fit the file; `limit` when there is too
    /// much of it.
    pub fn new(source: R, header: &Header) -> Result<Self, Error> {
        let size = source.size();
        let mut replayed = Self { source, size, patches: Patches::default(), entries: 0 };
        if header.has_log() {
            replayed.replay(header)?;
        }
        Ok(replayed)
    }

    fn replay(&mut self, header: &Header) -> Result<(), Error> {
        if header.log_length > MAX_LENGTH {
            return Err(Error::new(ErrorKind::Limit, "the log is too long to be replayed")
                .with("length", header.log_length)
                .with("limit", MAX_LENGTH));
        }
        let ring = Ring {
            source: &self.source,
            offset: header.log_offset,
            length: header.log_length,
            id: header.log_id,
        };
        let Some(entries) = sequence::active(&ring)? else {
            return Err(corrupt("the log that the header names has no valid entries")
                .with("offset", hex(header.log_offset))
                .with("log", header.log_id));
        };
        if let Some(head) = entries.last() {
            if head.flushed > self.size {
                return Err(corrupt("the file is shorter than its log says; it may be cut short")
                    .with("file-size", hex(self.size))
                    .with("flushed", hex(head.flushed)));
            }
            if head.last > MAX_FILE {
                return Err(corrupt("the log makes the file longer than any vhdx can be")
                    .with("last-file-offset", hex(head.last)));
            }
            self.size = self.size.max(head.last);
        }
        for entry in &entries {
            entry::apply(&ring, entry, self.size, &mut self.patches)?;
        }
        self.entries = entries.len();
        Ok(())
    }

    /// Bytes of the file that are there, without what the log appends.
    pub fn stored_size(&self) -> u64 {
        self.source.size()
    }

    /// What the bytes from `offset` up to `end` at most are, and how many are alike.
    pub fn piece(&self, offset: u64, end: u64) -> (u64, Piece) {
        let (until, patch) = self.patches.at(offset, end);
        match patch {
            Some(Patch::Zero) => (until, Piece::Zero),
            Some(Patch::Page { .. }) => (until, Piece::Patched),
            None if offset >= self.stored_size() => (until, Piece::Zero),
            None => (until.min(self.stored_size()), Piece::Stored),
        }
    }

    fn page(&self, log_offset: u64, leading: [u8; 8], trailing: [u8; 4]) -> Result<Vec<u8>, Error> {
        let sector = read_exact(&self.source, log_offset, PAGE as usize, "the log")?;
        let middle = sector.get(8..PAGE as usize - 4).unwrap_or_default();
        Ok([&leading[..], middle, &trailing].concat())
    }
}

impl<R: ReadAt> ReadAt for Replayed<R> {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, len: u32) -> Result<Vec<u8>, Error> {
        let end = offset.saturating_add(len.min(MAX_READ).into()).min(self.size);
        let length = end.saturating_sub(offset) as usize;
        let stored = end.min(self.stored_size()).saturating_sub(offset) as usize;
        let mut bytes = if stored > 0 { self.source.read_at(offset, stored as u32)? } else { Vec::new() };
        if bytes.len() < stored {
            // The source ends before it said it would: so does this.
            return Ok(bytes);
        }
        bytes.resize(length, 0);
        let mut at = offset;
        while at < end {
            let (until, patch) = self.patches.at(at, end);
            let target = bytes.get_mut((at - offset) as usize..(until - offset) as usize).unwrap_or_default();
            match patch {
                None => {}
                Some(Patch::Zero) => target.fill(0),
                Some(Patch::Page { log_offset, leading, trailing }) => {
                    let page = self.page(log_offset, leading, trailing)?;
                    let skip = (at % PAGE) as usize;
                    target.copy_from_slice(page.get(skip..skip + target.len()).unwrap_or_default());
                }
            }
            at = until;
        }
        Ok(bytes)
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;

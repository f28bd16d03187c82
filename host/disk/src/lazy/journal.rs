//! What of a file has arrived: a file beside it, with a checksum for each chunk.
//!
//! ```text
//! 0   8   "wvlazy1\n"
//! 8   8   length of the file in bytes, little endian
//! 16  8   bytes in a chunk, little endian; 0: chunks are the pieces of an artifact
//! 64  8   for each chunk, little endian: 0, or its CRC-32 with a tag of its place above
//! ```
//!
//! A chunk is flushed before its entry is written, so that an entry never tells of bytes that a power cut took. Entries are
//! independent: a write that was torn between them leaves fewer, never wrong ones. The checksum is looked at once by the
//! next process: a chunk that does not fit it has to be fetched again.

use std::fs::File;
use std::os::unix::fs::FileExt;

use super::units::{CHUNK, Units};
use crate::error::{Doing, Error, ErrorKind, Result};

const MAGIC: &[u8; 8] = b"wvlazy1\n";
const HEADER: u64 = 64;
const ENTRY: u64 = 8;
const TAG: u32 = 0x9a5e_71f3;

/// Longest file, in bytes: its journal has 128 MiB.
pub(super) const MAX_FILE: u64 = 16 << 40;

/// The open journal.
#[derive(Debug)]
pub(crate) struct Journal {
    file: File,
    chunks: u64,
}

impl Journal {
    /// Writes the journal of a file of which nothing has arrived.
    pub(crate) fn create(file: File, units: &Units) -> Result<Self> {
        let (chunks, size, chunk) = (units.count(), units.size(), chunk_of(units));
        let mut header = [0; HEADER as usize];
        header[..8].copy_from_slice(MAGIC);
        header[8..16].copy_from_slice(&size.to_le_bytes());
        header[16..24].copy_from_slice(&chunk.to_le_bytes());
        let written = file.set_len(HEADER + ENTRY * chunks).and_then(|()| file.write_all_at(&header, 0));
        written.and_then(|()| file.sync_all()).doing(|| "write the journal of a lazy image".into())?;
        Ok(Self { file, chunks })
    }

    /// Reads a journal; returns the checksums of what has arrived, chunk by chunk.
    ///
    /// # Errors
    /// `Corrupt` when it is none, or one of another file.
    pub(crate) fn open(file: File, units: &Units) -> Result<(Self, Vec<Option<u32>>)> {
        let bad = |what: &str| Error::new(ErrorKind::Corrupt, format!("the journal of a lazy image {what}"));
        let (chunks, size, chunk) = (units.count(), units.size(), chunk_of(units));
        let length = file.metadata().doing(|| "stat the journal of a lazy image".into())?.len();
        if chunks > MAX_FILE / CHUNK || length != HEADER + ENTRY * chunks {
            return Err(bad("has not the length that it should have"));
        }
        let mut bytes = vec![0; length as usize];
        file.read_exact_at(&mut bytes, 0).doing(|| "read the journal of a lazy image".into())?;
        let (header, entries) = bytes.split_at(HEADER as usize);
        if &header[..8] != MAGIC
            || header[8..16] != size.to_le_bytes()
            || header[16..24] != chunk.to_le_bytes()
        {
            return Err(bad("is of another file"));
        }
        let checksums = entries
            .chunks_exact(ENTRY as usize)
            .enumerate()
            .map(|(index, entry)| {
                let word =
                    |at: usize| u32::from_le_bytes([entry[at], entry[at + 1], entry[at + 2], entry[at + 3]]);
                (word(4) == tag(index as u64)).then(|| word(0))
            })
            .collect();
        Ok((Self { file, chunks }, checksums))
    }

    /// Notes chunks (by number) with their checksums. Their bytes have been flushed before.
    pub(crate) fn note(&self, arrived: &[(u64, u32)]) -> Result<()> {
        for (index, checksum) in arrived.iter().filter(|(index, _)| *index < self.chunks) {
            let mut entry = [0; ENTRY as usize];
            entry[..4].copy_from_slice(&checksum.to_le_bytes());
            entry[4..].copy_from_slice(&tag(*index).to_le_bytes());
            let at = HEADER + ENTRY * index;
            self.file.write_all_at(&entry, at).doing(|| "write the journal of a lazy image".into())?;
        }
        self.file.sync_data().doing(|| "flush the journal of a lazy image".into())
    }
}

fn chunk_of(units: &Units) -> u64 {
    if units.are_pieces() { 0 } else { CHUNK }
}

/// Another one for each place, so that entries in the wrong place count for nothing.
fn tag(index: u64) -> u32 {
    TAG ^ (index as u32) ^ ((index >> 32) as u32)
}

/// The checksum of a chunk.
pub(super) fn checksum(bytes: &[u8]) -> u32 {
    libdeflater::crc32(bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use proptest::prelude::*;

    use super::{Journal, checksum};
    use crate::error::ErrorKind;
    use crate::lazy::units::{CHUNK, Units};

    #[test]
    fn remembers_what_was_noted_and_nothing_else() {
        let file = tempfile::tempfile().unwrap();
        let size = 5 * CHUNK + 1;
        let units = Units::Even { size };
        let journal = Journal::create(file.try_clone().unwrap(), &units).unwrap();
        let first = checksum(b"first");
        // A checksum of 0 is one, too; a chunk that is not there is not noted.
        journal.note(&[(0, first), (5, 0), (6, 1)]).unwrap();
        let (_, read) = Journal::open(file.try_clone().unwrap(), &units).unwrap();
        assert_eq!(read, [Some(first), None, None, None, None, Some(0)]);
        let pieces = Units::Pieces { size, ranges: (0..6).map(|n| (n, 1)).collect() };
        let even = [size + 1, size + CHUNK, u64::MAX].map(|size| Units::Even { size });
        for other in even.into_iter().chain([pieces]) {
            let error = Journal::open(file.try_clone().unwrap(), &other).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{other:?}");
        }
        // An entry in another's place is none.
        let mut entry = [0; 8];
        file.read_exact_at(&mut entry, 64).unwrap();
        file.write_all_at(&entry, 64 + 16).unwrap();
        let (_, read) = Journal::open(file, &units).unwrap();
        assert_eq!(read.iter().flatten().count(), 2);
    }

    proptest! {
        /// Whatever became of the file, reading it back never yields a chunk that was not noted with that checksum, short
        /// of 32 bits of luck.
        #[test]
        fn damage_only_takes_away(
            noted in proptest::collection::btree_map(0..64u64, any::<u32>(), 0..20),
            damage in proptest::collection::vec((64..64 + 64 * 8u64, any::<u8>()), 0..8),
        ) {
            let file = tempfile::tempfile().unwrap();
            let units = Units::Even { size: 64 * CHUNK };
            let journal = Journal::create(file.try_clone().unwrap(), &units).unwrap();
            let entries: Vec<_> = noted.iter().map(|(index, checksum)| (*index, *checksum)).collect();
            journal.note(&entries).unwrap();
            let mut touched = std::collections::HashSet::new();
            for (at, byte) in &damage {
                // Only the upper half: the lower one is the checksum, which the data is held against.
                if at % 8 >= 4 {
                    file.write_all_at(&[*byte], *at).unwrap();
                    touched.insert((at - 64) / 8);
                }
            }
            let (_, read) = Journal::open(file, &units).unwrap();
            for (index, checksum) in read.iter().enumerate() {
                let index = index as u64;
                match checksum {
                    Some(checksum) => prop_assert_eq!(noted.get(&index), Some(checksum)),
                    None => prop_assert!(!noted.contains_key(&index) || touched.contains(&index)),
                }
            }
        }
    }
}

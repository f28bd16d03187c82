//! The tables in a binary resource fork, as disk images had them before property lists.
//!
//! Facts from "Inside Macintosh: More Macintosh Toolbox", chapter 1. A header of four numbers: where the data and the map
//! lie and how long they are. The map names types; each type has a list of references into the data, where a length (u32)
//! precedes each resource. Numbers are big endian.

use std::ops::Range;

use witvirt_sdk::disk::{be16, be32};

use crate::plist::MAX_TABLES;
use crate::{Error, ErrorKind};

const TYPE: &[u8] = b"blkx";
/// Where the map says how far into it the list of types is.
const TYPE_LIST: usize = 24;
const TYPE_ENTRY: usize = 8;
const REFERENCE: usize = 12;

/// Where the tables lie in the bytes of a resource fork.
///
/// # Errors
/// `corrupt` when the fork points outside of itself, `limit` for too many tables.
pub fn tables(fork: &[u8]) -> Result<Vec<Range<usize>>, Error> {
    let bad = || Error::new(ErrorKind::Corrupt, "the resource fork points outside of itself");
    let data = inside(fork, 0).ok_or_else(bad)?;
    let references = references(fork).ok_or_else(bad)?;
    if references.len() > MAX_TABLES {
        return Err(Error::new(
            ErrorKind::Limit,
            format!("the resource fork has more than {MAX_TABLES} tables"),
        ));
    }
    references.into_iter().map(|offset| resource(fork, data + offset).ok_or_else(bad)).collect()
}

/// The offset at `at`, which has to lie in the fork.
fn inside(fork: &[u8], at: usize) -> Option<usize> {
    let offset = be32(fork, at)? as usize;
    (offset <= fork.len()).then_some(offset)
}

/// Offsets into the data of all resources of the type.
fn references(fork: &[u8]) -> Option<Vec<usize>> {
    let map = inside(fork, 4)?;
    let types = map + usize::from(be16(fork, map + TYPE_LIST)?);
    // Counts are one less; no entry at all is all ones.
    let count = usize::from(be16(fork, types)?.wrapping_add(1));
    let mut offsets = Vec::new();
    for index in 0..count {
        let entry = types + 2 + index * TYPE_ENTRY;
        if fork.get(entry..entry + 4)? != TYPE {
            continue;
        }
        let references = usize::from(be16(fork, entry + 4)?) + 1;
        let list = types + usize::from(be16(fork, entry + 6)?);
        for reference in 0..references {
            // A byte of attributes, then 24 bits.
            let word = be32(fork, list + reference * REFERENCE + 4)?;
            offsets.push((word & 0x00ff_ffff) as usize);
        }
        if offsets.len() > MAX_TABLES {
            break;
        }
    }
    Some(offsets)
}

fn resource(fork: &[u8], at: usize) -> Option<Range<usize>> {
    let start = at.checked_add(4)?;
    let range = start..start.checked_add(be32(fork, at)? as usize)?;
    fork.get(range.clone())?;
    Some(range)
}

#[cfg(test)]
mod tests {
    use super::tables;

    fn fork() -> Vec<u8> {
        let mut fork = vec![0; 16];
        let data =
            [&3u32.to_be_bytes()[..], b"one", &5u32.to_be_bytes(), b"three", &1u32.to_be_bytes(), b"x"]
                .concat();
        let map = 16 + data.len();
        fork[..4].copy_from_slice(&16u32.to_be_bytes());
        fork[4..8].copy_from_slice(&(map as u32).to_be_bytes());
        fork.extend(data);
        fork.extend([0; 24]);
        fork.extend([0, 28, 0, 0]);
        fork.extend([0, 1]);
        fork.extend(b"plst\0\0\0\x12");
        fork.extend(b"blkx\0\x01\0\x1e");
        for offset in [16u32, 0, 7] {
            fork.extend([0, 0, 0xff, 0xff]);
            fork.extend((offset | 0x5000_0000).to_be_bytes());
            fork.extend([0; 4]);
        }
        fork
    }

    #[test]
    fn finds_the_tables() {
        let fork = fork();
        let found: Vec<_> = tables(&fork).unwrap().into_iter().map(|range| &fork[range]).collect();
        assert_eq!(found, [&b"one"[..], b"three"]);
    }

    #[test]
    fn survives_every_byte() {
        let good = fork();
        for cut in 0..good.len() {
            assert!(tables(&good[..cut]).is_err() || cut >= 16, "{cut}");
        }
        for at in 0..good.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut fork = good.clone();
                fork[at] = value;
                let _ = tables(&fork);
            }
        }
    }
}

use witvirt_sdk::disk::{ReadAt, read_exact};

use super::{Piece, Replayed};
use crate::crc32c::of_structure;
use crate::guid::Guid;
use crate::header::Header;
use crate::{Error, ErrorKind};

const MIB: u64 = 1 << 20;
const SIZE: u64 = 4 * MIB;
const ID: Guid = Guid([9; 16]);

fn header(log_length: u64) -> Header {
    Header {
        sequence: 1,
        file_write_id: Guid([1; 16]),
        data_write_id: Guid([2; 16]),
        log_id: ID,
        log_length,
        log_offset: MIB,
    }
}

/// What an entry does: fill a page with a byte, or zero a range.
#[derive(Clone, Copy)]
enum Does {
    Fill(u64, u8),
    Zero(u64, u64),
}

struct Made {
    bytes: Vec<u8>,
}

fn entry(sequence: u64, tail: u64, does: &[Does]) -> Made {
    entry_of(sequence, tail, does, SIZE, SIZE)
}

fn entry_of(sequence: u64, tail: u64, does: &[Does], flushed: u64, last: u64) -> Made {
    let mut bytes = vec![0; 64];
    bytes[..4].copy_from_slice(b"loge");
    bytes[12..16].copy_from_slice(&(tail as u32).to_le_bytes());
    bytes[16..24].copy_from_slice(&sequence.to_le_bytes());
    bytes[24..28].copy_from_slice(&(does.len() as u32).to_le_bytes());
    bytes[32..48].copy_from_slice(&ID.0);
    bytes[48..56].copy_from_slice(&flushed.to_le_bytes());
    bytes[56..64].copy_from_slice(&last.to_le_bytes());
    let mut sectors = Vec::new();
    for action in does {
        match *action {
            Does::Zero(offset, length) => {
                bytes.extend(b"zero\0\0\0\0");
                bytes.extend(length.to_le_bytes());
                bytes.extend(offset.to_le_bytes());
            }
            Does::Fill(offset, byte) => {
                bytes.extend(b"desc");
                bytes.extend([byte; 12]);
                bytes.extend(offset.to_le_bytes());
                sectors.extend(b"data");
                sectors.extend(((sequence >> 32) as u32).to_le_bytes());
                sectors.extend([byte; 4084]);
                sectors.extend((sequence as u32).to_le_bytes());
            }
        }
        bytes.extend(sequence.to_le_bytes());
    }
    bytes.resize(bytes.len().next_multiple_of(4096), 0);
    bytes.extend(sectors);
    let length = bytes.len() as u32;
    bytes[8..12].copy_from_slice(&length.to_le_bytes());
    seal(&mut bytes);
    Made { bytes }
}

fn seal(bytes: &mut [u8]) {
    let crc = of_structure(bytes);
    bytes[4..8].copy_from_slice(&crc.to_le_bytes());
}

/// A file of 4 MiB of 0xee, whose second MiB is the log.
fn file(entries: &[(u64, &Made)]) -> Vec<u8> {
    let mut file = vec![0xee; SIZE as usize];
    file[MIB as usize..2 * MIB as usize].fill(0);
    for (position, made) in entries {
        for (index, byte) in made.bytes.iter().enumerate() {
            file[(MIB + (position + index as u64) % MIB) as usize] = *byte;
        }
    }
    file
}

fn replayed(entries: &[(u64, &Made)]) -> Result<Replayed<Vec<u8>>, Error> {
    Replayed::new(file(entries), &header(MIB))
}

fn byte(replayed: &Replayed<Vec<u8>>, offset: u64) -> u8 {
    read_exact(replayed, offset, 1, "a byte").unwrap()[0]
}

const A: u64 = 3 * MIB;
const B: u64 = 3 * MIB + 8192;

#[test]
fn one_entry() {
    let made = entry(5, 0, &[Does::Fill(A, 1), Does::Zero(B, 8192)]);
    let replayed = replayed(&[(0, &made)]).unwrap();
    assert_eq!((replayed.entries, replayed.size()), (1, SIZE));
    let around = read_exact(&replayed, A - 10, 4096 + 20, "bytes").unwrap();
    assert!(around[..10].iter().all(|byte| *byte == 0xee));
    assert!(around[10..4106].iter().all(|byte| *byte == 1), "first and last bytes come from the descriptor");
    assert!(around[4106..].iter().all(|byte| *byte == 0xee));
    assert_eq!([B - 1, B, B + 8191, B + 8192].map(|at| byte(&replayed, at)), [0xee, 0, 0, 0xee]);
    assert_eq!(replayed.piece(A - 5, SIZE), (A, Piece::Stored));
    assert_eq!(replayed.piece(A + 5, SIZE), (A + 4096, Piece::Patched));
    assert_eq!(replayed.piece(B, B + 9), (B + 9, Piece::Zero));
}

#[test]
fn entries_from_the_tail_of_the_head_on_in_their_order() {
    let first = entry(5, 0, &[Does::Fill(A, 1)]);
    let second = entry(6, 0, &[Does::Fill(A, 2), Does::Fill(B, 2)]);
    let third = entry(7, 8192, &[Does::Fill(B, 3)]);
    let replayed = replayed(&[(0, &first), (8192, &second), (8192 + 3 * 4096, &third)]).unwrap();
    assert_eq!((replayed.entries, byte(&replayed, A), byte(&replayed, B)), (2, 2, 3));
}

#[test]
fn around_the_end_of_the_ring() {
    let at = MIB - 4096;
    let first = entry(5, at, &[Does::Fill(A, 1)]);
    let second = entry(6, at, &[Does::Fill(B, 2)]);
    // The last of these is one by itself, and its tail is not in it.
    let replayed = replayed(&[(at, &first), (4096, &second)]).unwrap();
    assert_eq!((replayed.entries, byte(&replayed, A), byte(&replayed, B)), (2, 1, 2));
}

#[test]
fn the_newest_sequence_counts() {
    let old = entry(5, 0, &[Does::Fill(A, 1)]);
    let new = entry(90, 65536, &[Does::Fill(A, 9)]);
    let other = entry(40, 131_072, &[Does::Fill(A, 4)]);
    let replayed = replayed(&[(0, &old), (65536, &new), (131_072, &other)]).unwrap();
    assert_eq!((replayed.entries, byte(&replayed, A)), (1, 9));
}

#[test]
fn torn_entries_are_ignored() {
    let whole = entry(5, 0, &[Does::Fill(A, 1)]);
    let mut torn = entry(6, 0, &[Does::Fill(A, 2)]);
    torn.bytes[5000] ^= 1;
    let replayed = replayed(&[(0, &whole), (8192, &torn)]).unwrap();
    assert_eq!((replayed.entries, byte(&replayed, A)), (1, 1));
    // Alone, it is no sequence.
    let error = self::replayed(&[(0, &torn)]).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Corrupt);
    assert!(error.message.contains("no valid entries"), "{error:?}");
}

#[test]
fn entries_of_another_log_are_ignored() {
    let mut other = entry(6, 8192, &[Does::Fill(A, 2)]);
    other.bytes[32] = 1;
    seal(&mut other.bytes);
    let own = entry(5, 0, &[Does::Fill(A, 1)]);
    let replayed = replayed(&[(0, &own), (8192, &other)]).unwrap();
    assert_eq!(byte(&replayed, A), 1);
}

#[test]
fn what_the_file_has_to_grow_to() {
    let made = entry_of(5, 0, &[Does::Fill(SIZE + MIB, 1)], SIZE, SIZE + 4 * MIB);
    let replayed = replayed(&[(0, &made)]).unwrap();
    assert_eq!((replayed.size(), replayed.stored_size()), (SIZE + 4 * MIB, SIZE));
    assert_eq!([SIZE - 1, SIZE, SIZE + MIB].map(|at| byte(&replayed, at)), [0xee, 0, 1]);
    assert_eq!(replayed.piece(SIZE - 5, SIZE + 5), (SIZE, Piece::Stored));
    assert_eq!(replayed.piece(SIZE, SIZE + 5), (SIZE + 5, Piece::Zero));
    assert!(replayed.read_at(SIZE + 4 * MIB, 10).unwrap().is_empty());
}

#[test]
fn what_makes_no_sense() {
    let cases = [
        (entry_of(5, 0, &[], SIZE + MIB, SIZE + MIB), "cut short"),
        (entry_of(5, 0, &[], SIZE, 1 << 50), "longer than any vhdx"),
        (entry(5, 0, &[Does::Fill(1 << 49, 1)]), "past the end"),
        (entry(5, 0, &[Does::Zero(0, u64::MAX - 4095)]), "past the end"),
        (entry(5, 0, &[Does::Zero(8192, u64::MAX - 4095)]), "past the end"),
        (entry(5, 0, &[Does::Fill(A + 1, 1)]), "not aligned"),
        (entry(5, 0, &[Does::Zero(A, 512)]), "not aligned"),
    ];
    for (made, part) in cases {
        let error = replayed(&[(0, &made)]).unwrap_err();
        assert!(error.message.contains(part), "{part}: {error:?}");
    }
    // Sound as a whole, and broken in its parts: (byte of the entry, value, what is said).
    for (at, value, part) in [
        (64, b'x', "unknown kind"),
        (64 + 24, 9, "another entry"),
        (4096, b'x', "another entry"),
        (8191, 9, "another entry"),
        (24, 2, "another entry"),
    ] {
        let mut made = entry(5, 0, &[Does::Fill(A, 1)]);
        made.bytes[at] = value;
        seal(&mut made.bytes);
        let error = replayed(&[(0, &made)]).unwrap_err();
        assert!(error.message.contains(part), "{part}: {error:?}");
    }
    let error = Replayed::new(file(&[]), &header(128 * MIB)).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Limit);
}

#[test]
fn a_log_that_is_made_to_be_slow() {
    // In each page an entry that claims the whole ring.
    let mut file = vec![0; 34 * MIB as usize];
    let length = 32 * MIB;
    for page in (0..length).step_by(4096) {
        let mut start = entry(5, 0, &[]).bytes;
        start[8..12].copy_from_slice(&(length as u32).to_le_bytes());
        file[(MIB + page) as usize..(MIB + page) as usize + 64].copy_from_slice(&start[..64]);
    }
    let begin = std::time::Instant::now();
    let error = Replayed::new(file, &header(length)).unwrap_err();
    assert!(error.message.contains("slow"), "{error:?}");
    assert!(begin.elapsed().as_secs() < 2);
}

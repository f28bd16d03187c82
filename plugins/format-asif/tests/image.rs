//! Images made by the documented facts, hostile ones, and the body of the fuzz target.

#[path = "../../../tests/fuzz/bodies/asif.rs"]
mod body;

use body::{BLOCK, Blocks, CHUNK, fill, image};
use format_asif::Asif;
use format_asif::image::Image;
use format_asif::{Error, ErrorKind};
use proptest::prelude::*;
use witvirt_sdk::core::extent::ExtentKind;
use witvirt_sdk::core::format::Write;
use witvirt_sdk::disk::ImageReader;
use witvirt_testkit::{Pieces, cost, map};

/// The blocks of the disk that are not zeros: number and byte.
fn content(file: &[u8], max: u32) -> Result<Vec<(u64, u8)>, Error> {
    let mut image = Image::open(file.to_vec())?;
    let mut blocks = Vec::new();
    for extent in map(&mut image, max)? {
        match extent.kind {
            ExtentKind::Data { source: 0, offset } => {
                let bytes = &file[offset as usize..][..extent.length as usize];
                for (index, block) in bytes.chunks(BLOCK).enumerate() {
                    assert!(block.iter().all(|byte| *byte == block[0]));
                    blocks.push((extent.start / BLOCK as u64 + index as u64, block[0]));
                }
            }
            ExtentKind::Unallocated => {}
            other => panic!("{other:?}"),
        }
    }
    Ok(blocks)
}

fn expected(size: u64, chunks: &[(usize, Blocks)]) -> Vec<(u64, u8)> {
    let mut blocks = Vec::new();
    for (chunk, stored) in chunks {
        for block in (0..CHUNK / BLOCK).filter(|block| stored >> block & 1 == 1) {
            let number = (chunk * (CHUNK / BLOCK) + block) as u64;
            if number < size / BLOCK as u64 {
                blocks.push((number, fill(*chunk, block)));
            }
        }
    }
    blocks.sort_unstable();
    blocks
}

#[test]
fn chunks_in_any_order() {
    // Two tables, several groups, whole and partial chunks, a last chunk that is cut by the end of the disk.
    let size = 8000 * CHUNK as u64 - 5 * BLOCK as u64;
    let chunks = [
        (7000, Blocks::MAX),
        (0, Blocks::MAX),
        (1, Blocks::MAX),
        (2047, 1 << 127),
        (2048, 0b1011),
        (6143, !1),
        (6144, 0),
        (7999, Blocks::MAX),
    ];
    let file = image(size, &chunks);
    for max in [1, 2, 7, 1000] {
        assert_eq!(content(&file, max).unwrap(), expected(size, &chunks));
    }
    let mut image = Image::open(file).unwrap();
    let geometry = image.geometry();
    assert_eq!((geometry.virtual_size, geometry.logical_sector), (size, 512));
    assert!(image.facts().contains(&("id".to_owned(), "abababab-abab-abab-abab-abababababab".to_owned())));
    assert!(image.facts().contains(&("directory-version".to_owned(), "7".to_owned())));
    let first = &image.extents(100, 50, 1).unwrap().extents[0];
    assert_eq!((first.start, first.length), (100, 50));
    let part = image.extents(2048 * CHUNK as u64 + 700, 1000, 9).unwrap().extents;
    let kinds: Vec<_> =
        part.iter().map(|extent| (extent.length, extent.kind == ExtentKind::Unallocated)).collect();
    assert_eq!(kinds, [(324, false), (512, true), (164, false)]);
    assert!(image.extents(size, 10, 1).unwrap().extents.is_empty());
    assert_eq!(image.extents(u64::MAX, u64::MAX, 1).unwrap().next, None);
}

#[test]
fn bitmaps_in_a_row_are_read_together() {
    let chunks: Vec<(usize, Blocks)> = (0..1000).map(|chunk| (chunk, 0b101)).collect();
    let bytes = image(1000 * CHUNK as u64, &chunks);
    let file = Pieces::new(bytes.len() as u64, [Write { offset: 0, bytes }]);
    let cost = cost::<Asif>("1000 chunks in part", &file, u32::MAX);
    assert_eq!((cost.runs, cost.pages), (4000, 1));
    assert!(cost.reads < 40, "{cost:?}");
}

#[test]
fn an_empty_disk_is_one_extent() {
    let size = 1 << 38;
    let mut image = Image::open(image(size, &[])).unwrap();
    let page = image.extents(0, u64::MAX, 10).unwrap();
    assert_eq!((page.extents.len(), page.extents[0].length, page.next), (1, size, None));
}

/// Chunk 1 is the table, 2 the first data chunk, 3 the second, 4 the bitmap.
fn patched(at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut file = image(10 * CHUNK as u64, &[(3, Blocks::MAX), (4, 0b1011)]);
    file[at..at + bytes.len()].copy_from_slice(bytes);
    file
}

#[test]
fn hostile() {
    use ErrorKind::{Corrupt, InvalidInput, Limit, Unsupported};
    let entry = CHUNK + 8 * 3;
    let bitmap = CHUNK + 8 * 2048;
    let cases: [(Vec<u8>, ErrorKind, &str); 23] = [
        (patched(0, b"x"), InvalidInput, "signature"),
        (vec![], InvalidInput, "signature"),
        (b"shdw".to_vec(), Corrupt, "the header lies past the end"),
        (patched(4, &[0, 0, 0, 2]), Unsupported, "version 2"),
        (patched(70, &[0, 2]), Unsupported, "2 segments"),
        (patched(68, &[0, 0]), Corrupt, "neither 512 nor 4096"),
        (patched(68, &[0x10, 0]), Corrupt, "too small for the tables"),
        (patched(64, &[0, 0, 0, 0]), Corrupt, "no power of two"),
        (patched(64, &[0xff; 4]), Corrupt, "no power of two"),
        (patched(48, &[0xff; 8]), Corrupt, "longer than a disk"),
        (patched(56, &[0; 8]), Corrupt, "may grow to"),
        (patched(48, &[0, 0x10]), Corrupt, "may grow to"),
        (patched(48, &[0, 0x10, 0, 0, 0, 0, 0, 0, 0, 0x10]), Limit, "tables, more than"),
        (patched(48, &(1u64 << 35).to_be_bytes()), Corrupt, "the directory lies past the end"),
        (patched(32776, &[0x00, 0x80]), Unsupported, "bits of unknown meaning"),
        (patched(32782, &[0, 9]), Corrupt, "a table lies past the end"),
        (patched(entry, &[0]), Unsupported, "a chunk has a state"),
        (patched(entry, &[0x80]), Unsupported, "a chunk has a state"),
        (patched(entry, &[0x60]), Unsupported, "a chunk has a state"),
        (patched(entry + 6, &[0, 9]), Corrupt, "a chunk lies past the end"),
        (patched(bitmap, &[0; 8]), Corrupt, "without a bitmap"),
        (patched(bitmap + 6, &[0, 9]), Corrupt, "a bitmap lies past the end"),
        (patched(4 * CHUNK + 4 * 32, &[2]), Unsupported, "a block has a state"),
    ];
    for (file, kind, part) in cases {
        let error = content(&file, 100).expect_err(part);
        assert_eq!(error.kind, kind, "{part}: {error:?}");
        assert!(error.message.contains(part), "\"{part}\" in {error:?}");
    }
    // One directory that cannot be read is passed over, two are not.
    assert!(content(&patched(24, &[0xff; 8]), 9).is_err(), "the other one names a table that is none");
    let mut cut = patched(16, &[0xff; 8]);
    assert!(content(&cut, 9).is_ok());
    cut[24..32].fill(0xff);
    assert!(content(&cut, 9).unwrap_err().message.contains("a directory lies past the end"));
    // A table for every part of the disk, always the same.
    let mut again = image(20_000 * CHUNK as u64, &[(3, Blocks::MAX), (7000, Blocks::MAX)]);
    let first: [u8; 8] = again[32776..32784].try_into().unwrap();
    again[32784..32792].copy_from_slice(&first);
    assert!(content(&again, 9).unwrap_err().message.contains("name the same table"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn come_back(
        chunks in proptest::collection::btree_map(0..7000usize, prop_oneof![Just(Blocks::MAX), any::<u128>()], 0..12),
        order in any::<u64>(),
        max in 1..200u32,
    ) {
        let mut chunks: Vec<_> = chunks.into_iter().collect();
        let middle = order as usize % (chunks.len() + 1);
        chunks.rotate_left(middle);
        let size = 6900 * CHUNK as u64;
        prop_assert!(content(&image(7000 * CHUNK as u64, &chunks), max).unwrap() == expected(7000 * CHUNK as u64, &chunks));
        chunks.retain(|(chunk, _)| *chunk < 6900);
        prop_assert!(content(&image(size, &chunks), max).unwrap() == expected(size, &chunks));
    }

    #[test]
    fn mutated_seeds(
        seed in 0..3usize,
        changes in proptest::collection::vec((any::<u32>(), any::<u8>()), 1..5),
        cut in any::<u32>(),
    ) {
        let mut file = body::seeds().swap_remove(seed);
        for (at, value) in changes {
            let (place, at) = (at % 4, (at / 4) as usize);
            // The header, a directory, the table, anything.
            let at = match place {
                0 => at % 80,
                1 => 32768 + at % 64,
                2 => CHUNK + 8 * 2048 + at % 8,
                _ => at,
            };
            let length = file.len();
            file[at % length] = value;
        }
        if cut % 8 == 0 {
            file.truncate((cut / 8) as usize % file.len());
        }
        body::run(&file);
    }
}

#[test]
fn seeds_are_sound() {
    for seed in body::seeds() {
        Image::open(seed.clone()).unwrap();
        body::run(&seed);
    }
}

//! Images made by the documented facts, hostile ones, and the body of the fuzz target.

#[path = "../../../tests/fuzz/bodies/sparseimage.rs"]
mod body;

use body::image;
use format_sparseimage::image::Image;
use format_sparseimage::{Error, ErrorKind};
use proptest::prelude::*;
use witvirt_sdk::core::extent::ExtentKind;
use witvirt_sdk::disk::ImageReader;
use witvirt_testkit::map;

/// What a guest sees, in pages of `max` extents too.
fn content(file: &[u8], max: u32) -> Result<Vec<u8>, Error> {
    let file = file.to_vec();
    let mut image = Image::open(&file)?;
    map(&mut image, max)?;
    witvirt_testkit::content(&mut image, &[&&file], &[])
}

/// What the disk must hold: each stored band is full of its number.
fn expected(size: u64, sectors: u32, slots: &[u32]) -> Vec<u8> {
    let band = 512 * sectors as usize;
    let mut bytes = vec![0; size as usize];
    for number in slots.iter().filter(|number| **number > 0) {
        let start = (*number as usize - 1) * band;
        let end = (start + band).min(bytes.len());
        bytes[start..end].fill(*number as u8);
    }
    bytes
}

#[test]
fn bands_in_any_order() {
    let slots = [3, 4, 0, 1, 20];
    let file = image(20 * 1024, 2, &slots);
    for max in [1, 2, 100] {
        assert_eq!(content(&file, max).unwrap(), expected(20 * 1024, 2, &slots));
    }
    let mut image = Image::open(file.clone()).unwrap();
    let page = image.extents(0, u64::MAX, 100).unwrap();
    let kinds: Vec<_> = page.extents.iter().map(|extent| (extent.length, extent.kind.clone())).collect();
    let data = |offset| ExtentKind::Data { source: 0, offset };
    assert_eq!(
        kinds,
        [
            (1024, data(4096 + 3 * 1024)),
            (1024, ExtentKind::Unallocated),
            (2048, data(4096)),
            (15 * 1024, ExtentKind::Unallocated),
            (1024, data(4096 + 4 * 1024)),
        ]
    );
    let middle = &image.extents(2500, 10, 1).unwrap().extents[0];
    assert_eq!((middle.start, middle.length, &middle.kind), (2500, 10, &data(4096 + 452)));
    assert!(image.extents(20 * 1024, 1, 1).unwrap().extents.is_empty());
    assert_eq!(image.extents(u64::MAX, u64::MAX, 1).unwrap().next, None);
    let facts = image.facts();
    assert!(facts.contains(&("stored-bands".to_owned(), "4".to_owned())), "{facts:?}");
}

#[test]
fn index_nodes() {
    // 1,008 in the header, 1,010 in the first node, the rest in the second.
    let slots: Vec<u32> = (1..=2500).map(|number| (number * 7) % 2503).collect();
    let file = image(2502 * 512, 1, &slots);
    assert_eq!(content(&file, 50).unwrap(), expected(2502 * 512, 1, &slots));
}

#[test]
fn a_last_band_that_is_shorter() {
    let mut file = image(5 * 512, 2, &[3, 1]);
    assert_eq!(content(&file, 9).unwrap(), expected(5 * 512, 2, &[3, 1]));
    file = image(5 * 512, 2, &[1, 3]);
    file.truncate(file.len() - 512);
    assert_eq!(content(&file, 9).unwrap(), expected(5 * 512, 2, &[1, 3]));
    file.pop();
    let error = content(&file, 9).unwrap_err();
    assert!(error.message.contains("past the end of the file"), "{error:?}");
}

fn patched(at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut file = image(20 * 1024, 2, &[3, 4, 0, 1, 20]);
    file[at..at + bytes.len()].copy_from_slice(bytes);
    file
}

#[test]
fn hostile() {
    use ErrorKind::{Corrupt, InvalidInput, Unsupported};
    let cases: [(Vec<u8>, ErrorKind, &str); 14] = [
        (patched(0, b"x"), InvalidInput, "signature"),
        (vec![], InvalidInput, "signature"),
        (b"sprs".to_vec(), Corrupt, "the header lies past the end"),
        (patched(4, &[0, 0, 0, 4]), Unsupported, "version 4"),
        (patched(8, &[0; 4]), Corrupt, "bands have no sectors"),
        (patched(8, &[0xff; 4]), Corrupt, "past the end of the disk"),
        (patched(16, &[1]), Corrupt, "contradict"),
        (patched(28, &[0x80]), Corrupt, "longer than a disk"),
        (patched(64, &[0, 0, 0, 21]), Corrupt, "past the end of the disk"),
        (patched(64, &[0xff; 4]), Corrupt, "past the end of the disk"),
        (patched(64, &[0, 0, 0, 1]), Corrupt, "stored twice"),
        (patched(64 + 4 * 5, &[0, 0, 0, 2]), Corrupt, "past the end of the file"),
        (patched(20, &0u64.to_be_bytes().map(|_| 0xff)), Corrupt, "an index node lies past the end"),
        (patched(20, &4096u64.to_be_bytes()), Corrupt, "no signature"),
    ];
    for (file, kind, part) in cases {
        let error = Image::open(file.clone()).map(drop).expect_err(part);
        assert_eq!(error.kind, kind, "{part}: {error:?}");
        assert!(error.message.contains(part), "\"{part}\" in {error:?}");
    }
    // The largest band of the largest size: 2^73 bytes.
    let mut far = patched(8, &[0xff; 4]);
    far[64..68].fill(0xff);
    assert!(Image::open(far.clone()).unwrap_err().message.contains("past the end of the disk"));
    // A node that names itself, and two that name each other.
    let many: Vec<u32> = (1..=1100).collect();
    let file = image(1200 * 512, 1, &many);
    let node = 4096 + 1008 * 512;
    for back in [0u64, 1, node as u64, node as u64 - 1] {
        let mut file = file.clone();
        file[node + 12..node + 20].copy_from_slice(&back.to_be_bytes());
        let result = Image::open(file.clone());
        assert_eq!(result.is_ok(), back == 0, "{back}");
    }
    let mut only_low = patched(28, &[0; 8]);
    assert!(Image::open(only_low.clone()).is_ok(), "small images need only the short length");
    only_low[16..20].fill(0);
    assert!(Image::open(only_low.clone()).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn come_back(bands in 1..2300u32, keep in any::<u64>(), rotate in 0..2300usize, max in 1..40u32) {
        let mut slots: Vec<u32> = (1..=bands).map(|band| if keep >> (band % 64) & 1 == 1 { band } else { 0 }).collect();
        slots.rotate_left(rotate % bands as usize);
        let size = u64::from(bands) * 512;
        prop_assert!(content(&image(size, 1, &slots), max).unwrap() == expected(size, 1, &slots));
    }

    #[test]
    fn mutated_seeds(seed in 0..3usize, changes in proptest::collection::vec((any::<u32>(), any::<u8>()), 1..5), cut in any::<u32>()) {
        let mut file = body::seeds().swap_remove(seed);
        for (at, value) in changes {
            // Most changes hit the header.
            let bound = if at % 4 > 0 { 200 } else { file.len() };
            let at = (at / 4) as usize % bound;
            file[at] = value;
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

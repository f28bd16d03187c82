//! Hostile images: our own, and those of a folder beside the repository where it is present.

use format_vdi::ErrorKind;
use format_vdi::Vdi;
use format_vdi::image::Image;
use witvirt_sdk::disk::ImageReader;
use witvirt_testkit::{file_content, map};

use crate::Scratch;
use crate::fuzz::body::image;

/// Bytes and where they go.
type Patch = (usize, Vec<u8>);

fn word(offset: usize, value: u32) -> Patch {
    (offset, value.to_le_bytes().to_vec())
}

fn patched(kind: u32, patches: &[Patch]) -> Vec<u8> {
    let mut file = image(kind, 0, 512);
    for (offset, bytes) in patches {
        file[*offset..offset + bytes.len()].copy_from_slice(bytes);
    }
    file
}

#[test]
fn every_refusal_names_its_reason() {
    use ErrorKind::{Corrupt, InvalidInput, Unsupported};
    let cases: Vec<(u32, Vec<Patch>, ErrorKind, &str)> = vec![
        (1, vec![word(64, 1)], InvalidInput, "signature is missing"),
        (1, vec![word(68, 2)], Unsupported, "version 0.2"),
        (1, vec![word(68, 0x10002)], Unsupported, "version 1.2"),
        (1, vec![word(72, 0x17f)], Corrupt, "header's length"),
        (1, vec![word(76, 3)], Unsupported, "undo image"),
        (1, vec![word(76, 0)], Corrupt, "unknown image type"),
        (1, vec![word(76, 5)], Corrupt, "unknown image type"),
        (1, vec![word(76, 4)], Corrupt, "does not say what it differs from"),
        (4, vec![word(76, 1)], Corrupt, "names a parent"),
        (1, vec![word(360, 4096)], Unsupported, "sectors of 4096 bytes"),
        (1, vec![word(340, 455)], Corrupt, "overlaps the header"),
        (1, vec![word(340, u32::MAX)], Corrupt, "map of blocks lies past the end"),
        (1, vec![word(344, 600)], Corrupt, "data begins inside the map"),
        (1, vec![word(376, 0)], Corrupt, "no power of two"),
        (1, vec![word(376, 256)], Corrupt, "no power of two"),
        (1, vec![word(376, 3 << 20)], Corrupt, "no power of two"),
        (1, vec![(368, (1u64 << 62).to_le_bytes().to_vec())], Corrupt, "fewer blocks than the disk needs"),
        (1, vec![(368, u64::MAX.to_le_bytes().to_vec())], Corrupt, "fewer blocks than the disk needs"),
        (1, vec![word(384, u32::MAX)], Corrupt, "map of blocks lies past the end"),
        (1, vec![word(384, 39)], Corrupt, "fewer blocks than the disk needs"),
        (1, vec![word(380, u32::MAX)], Corrupt, "a block lies past the end"),
        (1, vec![word(344, u32::MAX)], Corrupt, "a block lies past the end"),
        (1, vec![word(512, 20)], Corrupt, "a block lies past the end"),
        (1, vec![word(512, 0xffff_fffd)], Corrupt, "a block lies past the end"),
    ];
    for (kind, patches, error_kind, part) in cases {
        let opened = Image::open(patched(kind, &patches));
        let error = opened.and_then(|mut image| map(&mut image, 1000)).expect_err(part);
        assert_eq!(error.kind, error_kind, "{part}: {error:?}");
        assert!(error.message.contains(part), "\"{part}\" in {error:?}");
    }
    for short in [0, 64, 71, 455, 600, 4000] {
        let file = image(1, 0, 512)[..short].to_vec();
        let error = Image::open(file).and_then(|mut image| map(&mut image, 1000)).unwrap_err();
        assert!(!error.message.is_empty(), "{short} bytes");
    }
}

#[test]
fn what_is_odd_is_found_by_the_check() {
    let codes = |patches: &[Patch]| {
        let mut image = Image::open(patched(1, patches)).unwrap();
        let readable = map(&mut image, 1000).is_ok();
        let findings = image.check().unwrap();
        (findings.into_iter().map(|finding| (finding.code, finding.offset)).collect::<Vec<_>>(), readable)
    };
    let found = |code: &str, offset| (code.to_owned(), offset);
    assert_eq!(codes(&[]), (vec![], true));
    // Block 1 of the disk is where block 0 is.
    assert_eq!(codes(&[word(516, 19)]), (vec![found("overlapping-blocks", Some(516))], true));
    assert_eq!(codes(&[word(388, 3)]), (vec![found("allocated-count", None)], true));
    assert_eq!(codes(&[word(516, 77)]), (vec![found("past-end", Some(516))], false));
    // A map of fewer blocks than the file has places for.
    let mut few = patched(1, &[word(384, 40), word(388, 20)]);
    few.resize(few.len() + 100 * 512, 0);
    few[516..520].copy_from_slice(&60u32.to_le_bytes());
    let mut image = Image::open(few).unwrap();
    let codes: Vec<String> = image.check().unwrap().into_iter().map(|finding| finding.code).collect();
    assert_eq!(codes, ["block-number"]);
}

#[test]
fn thousands_of_findings_are_cut() {
    let mut file = image(1, 0, 512);
    let blocks = 5000u32;
    file.resize(512 + 20_000, 0);
    file[384..388].copy_from_slice(&blocks.to_le_bytes());
    file[344..348].copy_from_slice(&(512 + 20_000u32).to_le_bytes());
    file[512..].fill(0);
    file.resize(512 + 20_000 + 512, 7);
    let found = Image::open(file).unwrap().check().unwrap();
    assert_eq!(found.len(), 1000);
    assert_eq!((found[999].severity, found[999].code.as_str()), (3, "more"));
}

#[test]
fn no_page_takes_long() {
    // A map of 5 million free blocks.
    let blocks = 5_000_000u32;
    let mut file = patched(1, &[word(384, blocks), word(376, 512), word(344, 512 + 4 * blocks)]);
    file[368..376].copy_from_slice(&(u64::from(blocks) * 512).to_le_bytes());
    file.truncate(512);
    file.resize(512 + 4 * blocks as usize, 0xff);
    let mut image = Image::open(file).unwrap();
    let page = image.extents(0, u64::MAX, 1000).unwrap();
    assert_eq!(page.extents.len(), 1);
    let next = page.next.expect("a page stops after 4 million entries");
    assert_eq!(next, page.extents[0].length);
    assert_eq!(image.extents(next, u64::MAX, 1000).unwrap().next, None);
}

#[test]
fn hostile_images_of_others() {
    let scratch = Scratch::new();
    let cases = scratch.hostile();
    for (path, row) in &cases {
        assert_eq!(row["verdict"], "refuse");
        let error = file_content::<Vdi>(path).expect_err(&row["what"]);
        assert!(!error.message.is_empty() && !format!("{error:?}").contains("CANARY"));
    }
    assert!(cases.is_empty() || cases.len() >= 3, "{} cases", cases.len());
}

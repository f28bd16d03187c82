//! Hostile images: our own, and those of a folder beside the repository where it is present.

use format_parallels::ErrorKind;
use format_parallels::Parallels;
use format_parallels::image::Image;
use witvirt_sdk::disk::ImageReader;
use witvirt_testkit::{file_content, map};

use crate::Scratch;
use crate::fuzz::body::part;

/// Bytes and where they go.
type Patch = (usize, Vec<u8>);

fn word(offset: usize, value: u32) -> Patch {
    (offset, value.to_le_bytes().to_vec())
}

fn patched(extended: bool, patches: &[Patch]) -> Vec<u8> {
    let mut file = part(extended, 0);
    for (offset, bytes) in patches {
        file[*offset..offset + bytes.len()].copy_from_slice(bytes);
    }
    file
}

#[test]
fn every_refusal_names_its_reason() {
    use ErrorKind::{Corrupt, InvalidInput, Unsupported};
    let huge = (36, u64::MAX.to_le_bytes().to_vec());
    let cases: Vec<(bool, Vec<Patch>, ErrorKind, &str)> = vec![
        (true, vec![word(0, 1)], InvalidInput, "signature is missing"),
        (true, vec![word(16, 1)], Unsupported, "version 1"),
        (true, vec![word(28, 0)], Corrupt, "cluster size is none"),
        (true, vec![word(28, 0x0100_0000)], Corrupt, "cluster size is none"),
        (true, vec![word(32, 9)], Corrupt, "fewer entries"),
        (true, vec![word(32, u32::MAX)], Corrupt, "table lies past the end"),
        (true, vec![huge], Corrupt, "larger than a disk can be"),
        (true, vec![(36, (1u64 << 53).to_le_bytes().to_vec())], Corrupt, "fewer entries"),
        (false, vec![word(36, u32::MAX)], Corrupt, "fewer entries"),
        (false, vec![word(32, 200), word(64, 1)], Corrupt, "overlaps the table"),
        (false, vec![word(64, u32::MAX)], Corrupt, "a cluster lies past the end"),
        (true, vec![word(64, u32::MAX)], Corrupt, "a cluster lies past the end"),
        (true, vec![word(64, 8)], Corrupt, "a cluster lies past the end"),
    ];
    for (extended, patches, kind, part) in cases {
        let opened = Image::open(patched(extended, &patches));
        let error = opened.and_then(|mut image| map(&mut image, 1000)).expect_err(part);
        assert_eq!(error.kind, kind, "{part}: {error:?}");
        assert!(error.message.contains(part), "\"{part}\" in {error:?}");
    }
    for short in [0, 16, 63, 64, 100, 3000] {
        let file = part(true, 0)[..short].to_vec();
        let error = Image::open(file).and_then(|mut image| map(&mut image, 1000)).unwrap_err();
        assert!(!error.message.is_empty(), "{short} bytes");
    }
    // Only the lower half of the size counts without the extended signature.
    let sizes = |extended| {
        let file = patched(extended, &[word(40, 1)]);
        Image::open(file).map(|image| image.geometry().virtual_size)
    };
    assert_eq!(sizes(false).unwrap(), 40 * 512);
    assert!(sizes(true).is_err());
}

#[test]
fn what_is_odd_is_found_by_the_check() {
    let codes = |extended, patches: &[Patch]| {
        let found = Image::open(patched(extended, patches)).unwrap().check().unwrap();
        found.into_iter().map(|finding| (finding.code, finding.offset)).collect::<Vec<_>>()
    };
    let found = |code: &str, offset| (code.to_owned(), Some(offset));
    assert_eq!(codes(true, &[]), []);
    assert_eq!(codes(true, &[word(44, 0x746f_6e59)]), [found("in-use", 44)]);
    assert_eq!(codes(true, &[word(44, 7)]), [found("in-use", 44)]);
    assert_eq!(codes(true, &[word(48, 0)]), [found("data-offset", 48)]);
    assert_eq!(codes(false, &[word(48, 0)]), []);
    assert_eq!(codes(true, &[word(52, 1)]), [found("empty-flag", 52)]);
    assert_eq!(codes(true, &[word(68, 1)]), [found("overlapping-clusters", 68)]);
    assert_eq!(codes(false, &[word(68, 5)]), [found("overlapping-clusters", 68)]);
    assert_eq!(codes(true, &[word(68, 99)]), [found("cluster-place", 68)]);
    assert_eq!(codes(true, &[word(56, 1 << 30)]), [found("extension", 1 << 39)]);
    assert_eq!(codes(true, &[word(56, 4)]), [found("extension", 2048)]);
}

#[test]
fn the_checksum_of_the_extension() {
    use md5::{Digest, Md5};
    let mut file = part(true, 0);
    let at = file.len();
    file[56..64].copy_from_slice(&(at as u64 / 512).to_le_bytes());
    file.resize(at + 2048, 0);
    file[at..at + 8].copy_from_slice(&0xab23_4cef_23dc_ea87u64.to_le_bytes());
    let codes = |file: &[u8]| {
        let found = Image::open(file.to_vec()).unwrap().check().unwrap();
        found.into_iter().map(|finding| finding.code).collect::<Vec<_>>()
    };
    assert_eq!(codes(&file), ["extension-checksum"]);
    let digest = Md5::digest(&file[at + 24..]);
    file[at + 8..at + 24].copy_from_slice(&digest);
    assert_eq!(codes(&file), [""; 0]);
    file[at + 2047] = 1;
    assert_eq!(codes(&file), ["extension-checksum"]);
}

#[test]
fn no_page_takes_long() {
    let entries = 5_000_000u32;
    let mut file = patched(true, &[word(28, 1), word(32, entries), word(36, entries)]);
    file.truncate(64);
    file.resize(64 + 4 * entries as usize, 0);
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
        let error = file_content::<Parallels>(path).expect_err(&row["what"]);
        assert!(!error.message.is_empty() && !format!("{error:?}").contains("CANARY"));
    }
    let text = "<!DOCTYPE a [<!ENTITY b 'c'>]><Parallels_disk_image Version='1.0'>&b;</Parallels_disk_image>";
    assert!(Image::open(text.as_bytes().to_vec()).unwrap_err().message.contains("document type"));
}

//! Hostile images: our own, and those of a folder beside the repository where it is present.

use std::path::Path;

use format_vpc::image::Image;
use format_vpc::probe::probe;
use format_vpc::{Error, ErrorKind};
use witvirt_sdk::disk::ImageReader;
use witvirt_testkit::map;

use crate::Scratch;
use crate::differencing::{Child, seal};

/// Opens and reads the whole map.
fn read(file: Vec<u8>) -> Result<(), Error> {
    map(&mut Image::open(file)?, 1000).map(drop)
}

/// A sound image whose header is overwritten.
fn header(patches: &[(usize, &[u8])]) -> Vec<u8> {
    let mut child = Child::of("base.vhd");
    child.sectors = vec![(0, 1), (4095, 1)];
    let mut file = child.build();
    for (offset, bytes) in patches {
        file[512 + offset..512 + offset + bytes.len()].copy_from_slice(bytes);
    }
    seal(&mut file[512..1536], 36);
    file
}

#[test]
fn every_refusal_names_its_reason() {
    use ErrorKind::{Corrupt, Unsupported};
    read(header(&[])).unwrap();
    let far = &(1u64 << 62).to_be_bytes()[..];
    let cases: Vec<(usize, &[u8], ErrorKind, &str)> = vec![
        (0, b"x", Corrupt, "no signature"),
        (24, &[0, 2], Unsupported, "version 2.0"),
        (32, &[0; 4], Corrupt, "block size"),
        (32, &[0, 0, 1, 0], Corrupt, "block size"),
        (32, &[0, 0x30, 0, 0], Corrupt, "block size"),
        (32, &[0x80, 0, 0, 0], Corrupt, "block size"),
        (28, &[0, 0, 0, 3], Corrupt, "too small for the disk"),
        (28, &[0x7f, 0xff, 0xff, 0xff], Corrupt, "past the end"),
        (16, far, Corrupt, "past the end"),
        (16, &[0xff; 8], Corrupt, "past the end"),
        (16, &[0; 8], Corrupt, "copy of the footer"),
        (16, &[0, 0, 0, 0, 0, 0, 2, 0], Corrupt, "lies on the header"),
        (1024, &[0x7f, 0xff, 0xff, 0xff], Corrupt, "past the footer"),
        (1024, &[0; 4], Corrupt, "copy of the footer"),
        (1024, &[0, 0, 0, 2], Corrupt, "lies on the header"),
        (1024, &[0, 0, 0, 3], Corrupt, "lies on the table"),
    ];
    for (offset, bytes, kind, part) in cases {
        let error = read(header(&[(offset, bytes)])).expect_err(part);
        assert_eq!(error.kind, kind, "{part}: {error:?}");
        assert!(error.message.contains(part), "\"{part}\" in {error:?}");
    }
    let mut file = header(&[]);
    file[600] ^= 1;
    assert!(read(file).unwrap_err().message.contains("wrong checksum"));
    let file = header(&[]);
    for short in [0, 3, 511, 512, 1000, 1535, 1537, file.len() - 600] {
        let error = read(file[..short].to_vec()).unwrap_err();
        assert!(!error.message.is_empty(), "{short} bytes");
    }
}

#[test]
fn sizes_beyond_all_disks() {
    for size in [u64::MAX, 1 << 63, (2040 << 30) + 512] {
        let mut file = Child::of("base.vhd").build();
        let last = file.len() - 512;
        for start in [0, last] {
            file[start + 48..start + 56].copy_from_slice(&size.to_be_bytes());
            seal(&mut file[start..start + 512], 64);
        }
        let error = read(file).unwrap_err();
        assert!(error.message.contains("2040 GiB"), "{error:?}");
    }
}

#[test]
fn no_page_takes_long() {
    // 1 GiB in blocks of 512 bytes, all unused: two million entries.
    let mut child = Child::of("base.vhd");
    child.size = 1 << 30;
    let mut file = child.build();
    let entries = 2u32 << 20;
    file[512 + 16..512 + 24].copy_from_slice(&65536u64.to_be_bytes());
    file[512 + 28..512 + 32].copy_from_slice(&entries.to_be_bytes());
    file[512 + 32..512 + 36].copy_from_slice(&512u32.to_be_bytes());
    seal(&mut file[512..1536], 36);
    let footer = file[..512].to_vec();
    file.resize(65536, 0);
    file.resize(65536 + 4 * entries as usize, 0xff);
    file.extend(footer);
    let mut image = Image::open(file).unwrap();
    let page = image.extents(0, u64::MAX, 1000).unwrap();
    assert_eq!(page.extents.len(), 1);
    assert!(page.next.is_some(), "a page stops after a million entries");
    map(&mut image, 1000).unwrap();
}

/// Whether the image is refused, and by what.
fn refusal(path: &Path) -> Option<String> {
    let bytes = std::fs::read(path).unwrap();
    let tail = &bytes[bytes.len().saturating_sub(4096)..];
    if probe(&bytes[..bytes.len().min(65536)], tail, bytes.len() as u64).is_none() {
        return Some("the probe".to_owned());
    }
    let mut image = match Image::open(bytes) {
        Ok(image) => image,
        Err(error) => return Some(error.message),
    };
    if !image.references().is_empty() {
        return Some("the host, as a reference".to_owned());
    }
    image.extents(0, u64::MAX, 1000).err().map(|error| error.message)
}

#[test]
fn hostile_images_of_others() {
    let scratch = Scratch::new();
    let cases = scratch.hostile();
    if cases.is_empty() {
        return;
    }
    let mut refused = 0;
    for (path, row) in cases {
        let name = &row["file"];
        let refusal = refusal(&path);
        assert_eq!(row["verdict"], "refuse", "{name}");
        let by = refusal.unwrap_or_else(|| panic!("{name} was accepted: {}", row["what"]));
        eprintln!("{name}: refused by {by}");
        refused += 1;
    }
    assert!(refused >= 8, "{refused}");
}

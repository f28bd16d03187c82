//! Hostile images: our own, and those of a folder beside the repository where it is present.

use std::path::Path;

use format_vhdx::image::Image;
use format_vhdx::probe::probe;
use format_vhdx::{Error, ErrorKind};
use witvirt_sdk::disk::ImageReader;
use witvirt_testkit::map;

use crate::Scratch;
use crate::build::{BAT, LOG, METADATA, MIB, Made, put, seal};

/// Opens and reads the whole map.
fn read(file: Vec<u8>) -> Result<(), Error> {
    map(&mut Image::open(file)?, 1000).map(drop)
}

/// Overwrites bytes of a sound image, in both copies of what has two, and seals them again.
fn patched(patches: &[(u64, &[u8])]) -> Vec<u8> {
    let mut made = Made::new();
    made.entries = vec![(0, 5 * MIB + 6)];
    let mut file = made.build();
    for (offset, bytes) in patches {
        put(&mut file, *offset as usize, bytes);
        let copy = match offset >> 16 {
            1 => 1 << 16,
            3 => 1 << 16,
            _ => continue,
        };
        put(&mut file, (offset + copy) as usize, bytes);
    }
    for (start, length) in [(1 << 16, 4096), (2 << 16, 4096), (3 << 16, 1 << 16), (4 << 16, 1 << 16)] {
        seal(&mut file[start..start + length]);
    }
    file
}

#[test]
fn every_refusal_names_its_reason() {
    use ErrorKind::{Corrupt, InvalidInput, Unsupported};
    read(patched(&[])).unwrap();
    const HEADER: u64 = 1 << 16;
    const REGIONS: u64 = 3 << 16;
    let far = &(1u64 << 50).to_le_bytes()[..];
    let odd = &(MIB + 4096).to_le_bytes()[..];
    let log = &LOG.to_le_bytes()[..];
    let past = &(200 * MIB + 6).to_le_bytes()[..];
    let on_log = &(LOG | 6).to_le_bytes()[..];
    let cases: Vec<(u64, &[u8], ErrorKind, &str)> = vec![
        (0, b"x", InvalidInput, "signature"),
        (HEADER + 64, &[1], Unsupported, "version 1 of the log"),
        (HEADER + 66, &[2], Unsupported, "version 2 of the format"),
        (HEADER + 48, &[1], Corrupt, "no valid entries"),
        (HEADER + 68, &[1], Corrupt, "whole MiB"),
        (HEADER + 72, odd, Corrupt, "whole MiB"),
        (HEADER + 72, &[0; 8], Corrupt, "whole MiB"),
        (HEADER + 72, &[0xff; 8], Corrupt, "whole MiB"),
        (REGIONS + 8, &[0xff; 4], Corrupt, "more entries"),
        (REGIONS + 8, &[0], Corrupt, "no region for"),
        (REGIONS + 8, &[1], Corrupt, "no region for metadata"),
        (REGIONS + 16, &[0], Unsupported, "needs the region"),
        (REGIONS + 32, far, Corrupt, "past the end"),
        (REGIONS + 32, &[0xff; 8], Corrupt, "whole MiB"),
        (REGIONS + 32, odd, Corrupt, "whole MiB"),
        (REGIONS + 32, log, Corrupt, "overlap"),
        (REGIONS + 40, &[0, 0, 0, 0xff], Corrupt, "past the end"),
        (REGIONS + 40, &[0; 4], Corrupt, "whole MiB"),
        (METADATA, b"x", Corrupt, "no signature"),
        (METADATA + 10, &[0xff, 0xff], Corrupt, "more entries"),
        (METADATA + 10, &[1], Corrupt, "has no disk size"),
        (METADATA + 32, &[0], Unsupported, "needs the metadata item"),
        (METADATA + 48, &[0xff, 0xff, 0xff, 0xff], Corrupt, "outside its region"),
        (METADATA + 48, &[0, 0, 0, 0], Corrupt, "outside its region"),
        (METADATA + 52, &[4], Corrupt, "too short"),
        (METADATA + 65536, &[1], Corrupt, "block size"),
        (METADATA + 65536 + 2, &[0x30], Corrupt, "block size"),
        (METADATA + 65536 + 4, &[2], Corrupt, "has no parent locator"),
        (METADATA + 65544, &[1], Corrupt, "number of sectors"),
        (METADATA + 65544 + 7, &[0x40], Corrupt, "64 TiB"),
        (METADATA + 65544 + 5, &[0x20], Corrupt, "too small for the disk"),
        (METADATA + 65552, &[1, 0], Corrupt, "logical sector size"),
        (METADATA + 65556, &[0, 1], Corrupt, "physical sector size"),
        (BAT, &[4], Corrupt, "does not exist"),
        (BAT, past, Corrupt, "past the end"),
        (BAT, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], Corrupt, "no parent"),
        (BAT, &[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], Corrupt, "past the end"),
        (BAT, on_log, Corrupt, "on the headers"),
        (BAT, &[6, 0, 0, 0], Corrupt, "on the headers"),
    ];
    for (offset, bytes, kind, part) in cases {
        let error = read(patched(&[(offset, bytes)])).expect_err(part);
        assert_eq!(error.kind, kind, "{part}: {error:?}");
        assert!(error.message.contains(part), "\"{part}\" in {error:?}");
    }
    let file = patched(&[]);
    for short in [0, 8, 1000, 65536, 70_000, 3 << 16, MIB, METADATA + 100, BAT + 100, 5 * MIB + 100] {
        let error = read(file[..short as usize].to_vec()).unwrap_err();
        assert!(!error.message.is_empty(), "{short} bytes");
    }
}

#[test]
fn items_and_regions_that_are_there_twice() {
    let file = patched(&[]);
    let item = file[METADATA as usize + 32..METADATA as usize + 64].to_vec();
    let error = read(patched(&[(METADATA + 64, &item)])).unwrap_err();
    assert!(error.message.contains("twice"), "{error:?}");
    let mut region = file[(3 << 16) + 16..(3 << 16) + 48].to_vec();
    region[18] = 0x70;
    let error = read(patched(&[((3 << 16) + 48, &region)])).unwrap_err();
    assert!(error.message.contains("twice"), "{error:?}");
}

#[test]
fn unknown_items_that_are_not_required_are_ignored() {
    let mut item = [0x55; 32];
    item[24] = 3;
    let mut file = patched(&[(METADATA + 32 + 5 * 32, &item), (METADATA + 10, &[6])]);
    read(file.clone()).unwrap();
    file[METADATA as usize + 32 + 5 * 32 + 24] = 4;
    assert_eq!(read(file).unwrap_err().kind, ErrorKind::Unsupported);
}

/// Whether the image is refused, and by what.
fn refusal(path: &Path) -> Option<String> {
    let bytes = std::fs::read(path).unwrap();
    if probe(&bytes[..bytes.len().min(65536)]).is_none() {
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
    let (mut refused, mut accepted) = (0, 0);
    for (path, row) in cases {
        let name = &row["file"];
        let refusal = refusal(&path);
        eprintln!("{name}: {refusal:?}");
        assert_eq!(refusal.is_some(), row["verdict"] == "refuse", "{name}: {}", row["what"]);
        if refusal.is_some() { refused += 1 } else { accepted += 1 }
    }
    assert!(refused >= 8 && accepted == 1, "{refused} refused, {accepted} accepted");
}

//! Small images that are wrong in one place each.

use format_dmg::image::Image;
use format_dmg::{Error, ErrorKind};
use witvirt_sdk::disk::ImageReader;

use crate::body::{Place, image};
use crate::support::content;

fn open(file: Vec<u8>) -> Result<Image<Vec<u8>>, Error> {
    Image::open(file)
}

fn refused(file: Vec<u8>, kind: ErrorKind, part: &str) {
    let error = open(file).map(drop).expect_err(part);
    assert_eq!(error.kind, kind, "{part}: {error:?}");
    assert!(error.message.contains(part), "\"{part}\" in {error:?}");
}

/// An image with the trailer changed: from its start.
fn trailer(at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut file = image(&[vec![(0, 10, Vec::new()), (1, 1, vec![1; 512])]], Place::Plist);
    let start = file.len() - 512 + at;
    file[start..start + bytes.len()].copy_from_slice(bytes);
    file
}

#[test]
fn trailers() {
    use ErrorKind::{Corrupt, InvalidInput, Limit, Unsupported};
    open(trailer(0, b"koly")).unwrap();
    refused(trailer(0, b"kolx"), InvalidInput, "trailer (koly) is missing");
    refused(trailer(4, &[0, 0, 0, 5]), Unsupported, "version 5");
    refused(trailer(60, &[0, 0, 0, 2]), Unsupported, "one of 2 segments (.dmgpart)");
    refused(trailer(492, &[0xff; 8]), Corrupt, "longer than a disk can be");
    refused(trailer(492, &[0; 8]), Corrupt, "past the end of the disk");
    refused(trailer(216, &[0xff; 8]), Corrupt, "the property list lies past the end");
    refused(trailer(224, &[0, 0, 0, 0, 0xff, 0, 0, 0]), Limit, "longer than 32 MiB");
    refused(trailer(224, &[0; 8]), Unsupported, "neither a property list nor a resource fork");
    refused(trailer(24, &[0xff; 8]), Corrupt, "stored past the end of the file");
    let mut encrypted = trailer(0, b"koly");
    encrypted[..8].copy_from_slice(b"encrcdsa");
    refused(encrypted, Unsupported, "encrypted (encrcdsa)");
    refused(b"....cdsaencr".to_vec(), Unsupported, "encrypted");
    for short in [0, 1, 4, 511, 512] {
        refused(vec![0; short], InvalidInput, "koly");
    }
}

#[test]
fn runs() {
    use ErrorKind::{Corrupt, Limit, Unsupported};
    let one = |kind: u32, sectors: u64, stored: usize| {
        image(&[vec![(kind, sectors, vec![0; stored])]], Place::Plist)
    };
    refused(one(3, 1, 512), Unsupported, "not known");
    refused(one(0x8000_0002, 1, 512), Unsupported, "not known");
    refused(one(1, 2, 1023), Corrupt, "fewer bytes than it has");
    refused(one(0x8000_0005, 1, 0), Corrupt, "no bytes");
    refused(one(0x8000_0005, (64 << 11) + 1, 9), Limit, "more than 64 MiB");
    open(one(0x8000_0005, 64 << 11, 9)).unwrap();
    refused(one(0x8000_0005, 1, 513 + (64 << 10)), Corrupt, "far more bytes");
    open(one(0x8000_0005, 1, 512 + (64 << 10))).unwrap();
    open(one(0, 1 << 53, 0)).unwrap();
    let overlap = image(&[vec![(0, 8, Vec::new())], vec![(0, 8, Vec::new())]], Place::Resources);
    let second = overlap.windows(4).rposition(|window| window == b"mish").unwrap();
    let mut overlap = overlap;
    overlap[second + 15] = 7;
    refused(overlap.clone(), Corrupt, "cover the same sectors");
    // The other way: a sector that no run covers, noticed where it is read.
    overlap[second + 15] = 9;
    let end = overlap.len() - 512 + 492 + 7;
    overlap[end] += 1;
    let mut image = open(overlap.clone()).unwrap();
    assert_eq!(image.extents(0, 4096, 9).unwrap().extents.len(), 1);
    let error = content(&overlap, 9).unwrap_err();
    assert!(error.message.contains("no run of the image covers"), "{error:?}");
    assert_eq!(image.check().unwrap()[0].code, "uncovered");
}

#[test]
fn tables() {
    let file = image(&[vec![(0, 8, Vec::new())]], Place::Resources);
    let start = file.windows(4).position(|window| window == b"mish").unwrap();
    let with = |at: usize, bytes: &[u8]| {
        let mut file = file.clone();
        file[start + at..start + at + bytes.len()].copy_from_slice(bytes);
        file
    };
    refused(with(0, b"mesh"), ErrorKind::Corrupt, "signature (mish)");
    refused(with(200, &[0xff; 4]), ErrorKind::Corrupt, "a table of runs is cut");
    refused(with(8, &[0xff; 8]), ErrorKind::Corrupt, "past the end of the disk");
    let text = image(&[vec![(0, 8, Vec::new())]], Place::Plist);
    let start = text.windows(6).position(|window| window == b"<data>").unwrap();
    let mut bad = text.clone();
    bad[start + 20] = b'&';
    refused(bad, ErrorKind::Corrupt, "no base 64");
}

#[test]
fn property_lists_without_tables() {
    let file = image(&[vec![(0, 8, Vec::new())]], Place::Plist);
    let at = file.windows(4).position(|window| window == b"blkx").unwrap();
    let mut other = file.clone();
    other[at] = b'B';
    refused(other, ErrorKind::Corrupt, "lists no tables of runs (blkx)");
    let start = file.windows(5).position(|window| window == b"<?xml").unwrap();
    let mut binary = file;
    let end = binary.len() - 512;
    binary[start..end].fill(0);
    binary[start..start + 8].copy_from_slice(b"bplist00");
    refused(binary, ErrorKind::Corrupt, "lists no tables of runs (blkx)");
}

#[test]
fn as_many_runs_as_fit() {
    // Some 25 MiB of property list.
    let runs: Vec<_> = (0..500_000).map(|run| (if run % 1000 == 0 { 2 } else { 0 }, 8, Vec::new())).collect();
    let file = image(&[runs], Place::Plist);
    assert!(file.len() > 25 << 20);
    let started = std::time::Instant::now();
    let mut image = open(file).unwrap();
    let page = image.extents(0, u64::MAX, 10_000).unwrap();
    assert_eq!((page.extents.len(), page.next), (1000, None));
    assert!(started.elapsed().as_secs() < 5, "{:?}", started.elapsed());
    eprintln!("{:?}", started.elapsed());
}

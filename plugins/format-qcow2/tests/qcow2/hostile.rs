//! Hostile images: our own, and those of a folder beside the repository where it is present.

use std::path::Path;

use format_qcow2::Qcow2;
use format_qcow2::image::Image;
use format_qcow2::probe::probe;
use format_qcow2::{Error, ErrorKind};
use witvirt_sdk::disk::ImageReader;
use witvirt_testkit::{Disk, FileSource, map};

use crate::Scratch;

/// A small sound image: header, refcount table at 64 KiB, refcount block, L1 table at 192 KiB, L2 table at 256 KiB, one
/// data cluster at 320 KiB. Fields are then overwritten.
fn image(patches: &[(usize, &[u8])]) -> Vec<u8> {
    let mut file = vec![0; 0x60000];
    let mut put = |offset: usize, bytes: &[u8]| file[offset..offset + bytes.len()].copy_from_slice(bytes);
    put(0, b"QFI\xfb\0\0\0\x03");
    put(20, &16u32.to_be_bytes());
    put(24, &(1u64 << 20).to_be_bytes());
    put(36, &1u32.to_be_bytes());
    put(40, &0x30000u64.to_be_bytes());
    put(48, &0x10000u64.to_be_bytes());
    put(56, &1u32.to_be_bytes());
    put(96, &4u32.to_be_bytes());
    put(100, &104u32.to_be_bytes());
    put(0x10000, &0x20000u64.to_be_bytes());
    put(0x20000, &[0, 1].repeat(6));
    put(0x30000, &(1u64 << 63 | 0x40000).to_be_bytes());
    put(0x40000, &(1u64 << 63 | 0x50000).to_be_bytes());
    for (offset, bytes) in patches {
        put(*offset, bytes);
    }
    file
}

/// Bytes and where they go.
type Patch<'a> = (usize, &'a [u8]);

/// Opens and reads the whole map.
fn read(file: Vec<u8>) -> Result<(), Error> {
    let mut image = Image::open(file)?;
    map(&mut image, 1000).map(drop)
}

#[test]
fn the_pattern_itself_is_sound() {
    read(image(&[])).unwrap();
    assert_eq!(Image::open(image(&[])).unwrap().check().unwrap(), []);
}

#[test]
fn every_refusal_names_its_reason() {
    use ErrorKind::{Corrupt, Unsupported};
    let named_feature = [&[0x68, 0x03, 0xf8, 0x57, 0, 0, 0, 48, 0, 9][..], b"time travel", &[0; 35]].concat();
    let cases: Vec<(Vec<Patch>, ErrorKind, &str)> = vec![
        (vec![(4, &[0, 0, 0, 4])], Unsupported, "version 4"),
        (vec![(4, &[0, 0, 0, 1])], Unsupported, "version 1"),
        (vec![(32, &[0, 0, 0, 1])], Unsupported, "AES-CBC"),
        (vec![(32, &[0, 0, 0, 2])], Unsupported, "LUKS"),
        (vec![(32, &[0, 0, 0, 3])], Corrupt, "encryption method 3"),
        (vec![(79, &[2])], Corrupt, "marked corrupt"),
        (vec![(79, &[32])], Unsupported, "bit 5,"),
        (vec![(78, &[2]), (104, &named_feature)], Unsupported, "bit 9 (\"time travel\")"),
        (vec![(72, &[0x80])], Unsupported, "bit 63"),
        (vec![(79, &[8])], Corrupt, "disagree"),
        (vec![(103, &[112]), (104, &[1])], Corrupt, "disagree"),
        (vec![(79, &[8]), (103, &[112]), (104, &[2])], Unsupported, "compression type 2"),
        (vec![(79, &[4])], Corrupt, "does not name it"),
        (vec![(20, &[0, 0, 0, 8])], Corrupt, "cluster size"),
        (vec![(20, &[0, 0, 0, 22])], Corrupt, "cluster size"),
        (vec![(20, &[0xff; 4])], Corrupt, "cluster size"),
        (vec![(96, &[0, 0, 0, 7])], Corrupt, "64 bits"),
        (vec![(100, &[0, 0, 0, 72])], Corrupt, "header length"),
        (vec![(100, &[0xff; 4])], Corrupt, "header length"),
        (vec![(24, &[0xff; 8])], Corrupt, "virtual size"),
        (vec![(24, &[0x7f; 8])], Corrupt, "too small"),
        (vec![(36, &[0; 4])], Corrupt, "too small"),
        (vec![(36, &[0xff; 4])], Corrupt, "L1 table is too large"),
        (vec![(36, &[0, 0x40, 0, 0])], Corrupt, "past the end"),
        (vec![(40, &[0, 0, 0x7f, 0xff])], Corrupt, "past the end"),
        (vec![(46, &[2, 0])], Corrupt, "of a cluster"),
        (vec![(40, &[0; 8])], Corrupt, "on the header"),
        (vec![(56, &[0; 4])], Corrupt, "no refcount table"),
        (vec![(56, &[0, 0, 1, 0])], Corrupt, "refcount table is too large"),
        (vec![(48, &[0xff; 8])], Corrupt, "refcount table"),
        (vec![(60, &[0, 1, 0, 1])], Corrupt, "snapshots"),
        (vec![(64, &[1; 8])], Corrupt, "snapshot table"),
        (vec![(8, &[1; 8])], Corrupt, "outside the first cluster"),
        (vec![(14, &[1, 0]), (16, &[0, 0, 4, 0])], Corrupt, "too long"),
        (vec![(14, &[1, 0]), (19, &[3]), (256, b"a\nb")], Unsupported, "control characters"),
        (vec![(14, &[1, 0]), (19, &[3]), (256, b"a\xffb")], Unsupported, "not UTF-8"),
        (vec![(104, &[1, 2, 3, 4, 0xff, 0xff, 0xff, 0xf0])], Corrupt, "header extension"),
        (vec![(0x30000, &[0x80, 0, 0, 0, 0, 3, 0, 0])], Corrupt, "overlaps the L1 table"),
        (vec![(0x30000, &[0x80, 0, 0, 0, 0, 1, 0, 0])], Corrupt, "overlaps the refcount table"),
        (vec![(0x30000, &[0x80, 0, 0, 0, 0, 4, 2, 0])], Corrupt, "not that of a cluster"),
        (vec![(0x30000, &[0x80, 0, 0, 0, 0, 6, 0, 0])], Corrupt, "past the end"),
        (vec![(0x30000, &[0x81, 0, 0, 0, 0, 4, 0, 0])], Corrupt, "reserved bits"),
        (vec![(0x40000, &[0x80, 0, 0, 0, 0, 3, 0, 0])], Corrupt, "data cluster overlaps the L1 table"),
        (vec![(0x40000, &[0x80, 0, 0, 0, 0, 6, 0, 0])], Corrupt, "past the end"),
        (vec![(0x40000, &[0x80, 0, 0, 0, 0, 5, 2, 0])], Corrupt, "not that of a cluster"),
        (vec![(0x40000, &[0x80, 0, 0, 0, 0, 5, 0, 2])], Corrupt, "reserved bits"),
        (vec![(0x40000, &[0x40, 0, 0, 0, 0, 6, 0, 0])], Corrupt, "compressed cluster runs past"),
        (vec![(0x40000, &[0x7f, 0xff, 0, 0, 0, 5, 0, 0])], Corrupt, "compressed cluster runs past"),
        (vec![(4, &[0, 0, 0, 2]), (0x40000, &[0, 0, 0, 0, 0, 0, 0, 1])], Corrupt, "zero cluster"),
    ];
    for (patches, kind, part) in cases {
        let error = read(image(&patches)).expect_err(part);
        assert_eq!(error.kind, kind, "{part}: {error:?}");
        assert!(error.message.contains(part), "\"{part}\" in {error:?}");
    }
    for short in [0, 3, 8, 71, 103, 1000, 0x30004, 0x40004, 0x50100] {
        let error = read(image(&[])[..short].to_vec()).unwrap_err();
        assert!(!error.message.is_empty(), "{short} bytes");
    }
}

#[test]
fn tables_that_are_named_again_and_again() {
    // 16 TiB: every L1 entry names the one L2 table.
    let mut file = image(&[(24, &(1u64 << 44).to_be_bytes()), (36, &(1u32 << 15).to_be_bytes())]);
    file[40..48].copy_from_slice(&0x60000u64.to_be_bytes());
    file.extend((1u64 << 63 | 0x40000).to_be_bytes().repeat(1 << 15));
    let error = read(file).unwrap_err();
    assert!(error.message.contains("more L2 tables than the file can hold"), "{error:?}");
}

#[test]
fn no_page_takes_long() {
    // 8 TiB of zero clusters in 16,384 tables would be 134 million entries in one call; here 512 tables are 4 million.
    let tables = 600u64;
    let mut file = image(&[(24, &(tables << 29).to_be_bytes()), (36, &(tables as u32).to_be_bytes())]);
    file.resize(0x60000, 0);
    for table in 0..tables {
        let at = 0x30000 + 8 * table as usize;
        file[at..at + 8].copy_from_slice(&(1u64 << 63 | (0x60000 + (table << 16))).to_be_bytes());
    }
    for _ in 0..tables {
        file.extend([0, 0, 0, 0, 0, 0, 0, 1].repeat(8192));
    }
    let mut image = Image::open(file).unwrap();
    let page = image.extents(0, u64::MAX, 1000).unwrap();
    assert_eq!(page.extents.len(), 1, "one run of zeros");
    let next = page.next.expect("a page stops after 4 million entries");
    assert_eq!(next, page.extents[0].length);
    let rest = image.extents(next, u64::MAX, 1000).unwrap();
    assert_eq!(rest.next, None);
    assert_eq!(next + rest.extents[0].length, tables << 29);
}

/// Who refuses.
enum Refused {
    Probe,
    Plugin(Error),
    /// A file is named: the host decides.
    Reference,
    /// A cluster does not decode: the host's codec says so.
    Codec,
}

fn refusal(path: &Path) -> Option<Refused> {
    let bytes = std::fs::read(path).unwrap();
    let tail = &bytes[bytes.len().saturating_sub(4096)..];
    if probe(&bytes[..bytes.len().min(65536)], tail, bytes.len() as u64).is_none() {
        return Some(Refused::Probe);
    }
    let mut image = match Image::open(FileSource::open(path)) {
        Ok(image) => image,
        Err(error) => return Some(Refused::Plugin(error)),
    };
    if !image.references().is_empty() {
        return Some(Refused::Reference);
    }
    // Bombs are not followed to their end.
    match image.extents(0, 1 << 30, 1000) {
        Err(error) => Some(Refused::Plugin(error)),
        Ok(_) if image.geometry().virtual_size > 1 << 30 => None,
        Ok(_) => match Disk::<Qcow2>::open(path).unwrap().content() {
            Err(_) => Some(Refused::Codec),
            Ok(_) => None,
        },
    }
}

#[test]
fn hostile_images_of_others() {
    let scratch = Scratch::new();
    let cases = scratch.hostile();
    if cases.is_empty() {
        return;
    }
    let mut counts = [0; 4];
    for (path, row) in cases {
        let name = &row["file"];
        let refusal = refusal(&path);
        match (&refusal, row["class"].as_str()) {
            (None, _) => assert_eq!(row["verdict"], "confine", "{name} was accepted: {}", row["what"]),
            (Some(Refused::Probe), class) => {
                assert!(class == "disguise" || name == "empty.qcow2", "{name}");
                counts[0] += 1;
            }
            (Some(Refused::Plugin(error)), _) => {
                assert!(!error.message.is_empty());
                assert!(!format!("{error:?}").contains("CANARY"), "{name}: {error:?}");
                counts[1] += 1;
            }
            (Some(Refused::Reference), class) => {
                assert_eq!(class, "reference", "{name}");
                counts[2] += 1;
            }
            (Some(Refused::Codec), _) => {
                assert!(name.starts_with("q2-z"), "{name}");
                counts[3] += 1;
            }
        }
    }
    let [probe, plugin, reference, codec] = counts;
    eprintln!(
        "refused: {probe} by probe, {plugin} by the plugin, {reference} as references, {codec} by the codec"
    );
    assert!(probe >= 2 && plugin >= 20 && reference >= 8 && codec >= 3, "{counts:?}");
}

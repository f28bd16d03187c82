//! Hostile images: our own, and those of a folder beside the repository where it is present.

use std::path::Path;

use format_vmdk::Vmdk;
use format_vmdk::image::Image;
use format_vmdk::layout::Writer;
use format_vmdk::probe::probe;
use format_vmdk::{Error, ErrorKind};
use witvirt_sdk::core::format::Chunk;
use witvirt_sdk::disk::{ImageReader, ImageWriter};
use witvirt_testkit::{Disk, FileSource, map};

use crate::Scratch;
use crate::craft::{descriptor, put};

/// 4 MiB with the first two grains stored. Directories at sectors 21 and 26, tables at 22 and 27, grains from 128 on.
fn image(patches: &[(usize, &[u8])]) -> Vec<u8> {
    let mut writer = Writer::create("vmdk", 4 << 20, "{}", None).unwrap();
    for start in [0, 65536] {
        writer.allocate(&Chunk { start, length: 65536, stored: 65536, encoded: false }).unwrap();
    }
    let ending = writer.finish().unwrap();
    let mut file = vec![0; ending.size as usize];
    for write in ending.writes {
        put(&mut file, write.offset as usize, &write.bytes);
    }
    for (offset, bytes) in patches {
        put(&mut file, *offset, bytes);
    }
    file
}

/// Opens and reads the whole map.
fn read(file: Vec<u8>) -> Result<(), Error> {
    map(&mut Image::open(file)?, 1000).map(drop)
}

/// Bytes and where they go.
type Patch<'a> = (usize, &'a [u8]);

#[test]
fn every_refusal_names_its_reason() {
    use ErrorKind::{Corrupt, InvalidInput, Limit, Unsupported};
    read(image(&[])).unwrap();
    let table = 27 * 512;
    let cases: Vec<(Vec<Patch>, ErrorKind, &str)> = vec![
        (vec![(0, b"X")], InvalidInput, "not a VMDK image"),
        (vec![(4, &[4])], Unsupported, "version 4"),
        (vec![(4, &[0])], Unsupported, "version 0"),
        (vec![(8, &[11])], Unsupported, "bit 3"),
        (vec![(75, b"\n")], Corrupt, "transfer as text"),
        (vec![(77, &[2])], Unsupported, "compression 2"),
        (vec![(77, &[1])], Corrupt, "flag for it disagree"),
        (vec![(10, &[1])], Corrupt, "flag for it disagree"),
        (vec![(10, &[1]), (77, &[1])], Corrupt, "which the header disagrees with"),
        (vec![(12, &[0; 8])], Corrupt, "capacity"),
        (vec![(12, &[0xff; 8])], Corrupt, "capacity"),
        (vec![(12, &[1])], Corrupt, "disagree on its length"),
        (vec![(20, &[0])], Corrupt, "power of two"),
        (vec![(20, &[129])], Corrupt, "power of two"),
        (vec![(20, &[0, 0, 64])], Corrupt, "power of two"),
        (vec![(44, &[0; 4])], Corrupt, "1 to 512 entries"),
        (vec![(44, &[0xff; 4])], Corrupt, "1 to 512 entries"),
        (vec![(28, &[0])], Corrupt, "place of the descriptor"),
        (vec![(28, &[0xff; 8])], Corrupt, "place of the descriptor"),
        (vec![(30, &[1])], Corrupt, "descriptor lies past"),
        (vec![(36, &[0])], Unsupported, "without the descriptor"),
        (vec![(36, &[1, 8])], Limit, "descriptor is too large"),
        (vec![(512, &[0])], Unsupported, "without the descriptor"),
        (vec![(56, &[0])], Corrupt, "where the grain directory is"),
        (vec![(56, &[20])], Corrupt, "grain directory overlaps the descriptor"),
        (vec![(56, &[21])], Corrupt, "overlaps the redundant"),
        (vec![(56, &[0, 2])], Corrupt, "grain directory lies past"),
        (vec![(56, &[0xff; 8])], Corrupt, "that is no stream"),
        (vec![(56, &[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f])], Corrupt, "makes no sense"),
        (vec![(26 * 512, &[1])], Corrupt, "grain table overlaps the descriptor"),
        (vec![(26 * 512, &[26])], Corrupt, "overlaps the grain directory"),
        (vec![(26 * 512, &[0xff; 4])], Corrupt, "grain table lies past"),
        (vec![(table, &[1, 0])], Corrupt, "a grain overlaps the descriptor"),
        (vec![(table, &[26, 0])], Corrupt, "a grain overlaps the grain directory"),
        (vec![(table, &[1, 1])], Corrupt, "a grain lies past"),
        (vec![(table, &[0xff; 4])], Corrupt, "a grain lies past"),
    ];
    for (patches, kind, part) in cases {
        let error = read(image(&patches)).expect_err(part);
        assert_eq!(error.kind, kind, "{part}: {error:?}");
        assert!(error.message.contains(part), "\"{part}\" in {error:?}");
    }
    let whole = image(&[]);
    for short in [0, 3, 4, 71, 511, 600, 10_000, 26 * 512, 27 * 512 + 4, whole.len() - 1] {
        let error = read(whole[..short].to_vec()).unwrap_err();
        assert!(!error.message.is_empty(), "{short} bytes");
    }
}

#[test]
fn embedded_descriptors_describe_the_file_that_they_are_in() {
    let texts = [
        ("monolithicFlat", "RW 8192 FLAT \"/etc/passwd\" 0", "monolithicFlat"),
        ("twoGbMaxExtentSparse", "RW 8192 SPARSE \"x\"", "twoGbMaxExtentSparse"),
        ("monolithicSparse", "RW 8192 SPARSE \"x\"\nRW 8 ZERO", "more than one"),
        ("monolithicSparse", "RW 8192 ZERO", "not SPARSE"),
        ("streamOptimized", "RW 8192 SPARSE \"x\"", "not compressed"),
        ("monolithicSparse", "RW 4096 SPARSE \"x\"", "disagree on its length"),
    ];
    for (create_type, line, part) in texts {
        let mut text = descriptor(create_type, line);
        text.resize(20 * 512, 0);
        let error = read(image(&[(512, &text)])).expect_err(part);
        assert_eq!(error.kind, ErrorKind::Corrupt);
        assert!(error.message.contains(part), "{part}: {error:?}");
    }
}

#[test]
fn what_the_check_finds() {
    let codes = |patches: &[Patch]| -> Vec<String> {
        let findings = Image::open(image(patches)).unwrap().check().unwrap();
        findings.into_iter().map(|finding| finding.code).collect()
    };
    assert_eq!(codes(&[]), [""; 0]);
    assert_eq!(codes(&[(72, &[1])]), ["unclean-shutdown"]);
    assert_eq!(codes(&[(22 * 512, &[9])]), ["redundant-table"]);
    assert_eq!(codes(&[(21 * 512, &[9])]), ["redundant-table"]);
    assert_eq!(codes(&[(48, &[0xff; 4])]), ["redundant-directory"]);
    assert_eq!(codes(&[(8, &[1]), (21 * 512, &[9])]), [""; 0], "without the flag there are none");
    assert_eq!(codes(&[(22 * 512 + 4, &[128, 0]), (27 * 512 + 4, &[128, 0])]), ["grain-overlap"]);
    assert_eq!(codes(&[(22 * 512, &[1]), (27 * 512, &[1])]), ["invalid-map"]);
}

#[test]
fn tables_that_are_named_again_and_again() {
    // 64 TiB: every entry of the directory names one table.
    let mut text = descriptor("monolithicSparse", "RW 137438953472 SPARSE \"x\"");
    text.resize(20 * 512, 0);
    let mut file = image(&[(512, &text), (8, &[1]), (12, &(1u64 << 37).to_le_bytes()), (56, &[0, 4])]);
    file.resize(1024 * 512, 0);
    file.extend(27u32.to_le_bytes().repeat(1 << 21));
    let error = read(file).unwrap_err();
    assert!(error.message.contains("more grain tables than the file can hold"), "{error:?}");
}

#[test]
fn directories_of_many_extents_are_bounded_together() {
    // 9 directories of 4 MiB each in as many files.
    let extent = {
        let mut file = image(&[(8, &[1]), (12, &(1u64 << 36).to_le_bytes()), (56, &[0, 4])]);
        file.resize((1024 << 9) + (4 << 20), 0);
        file
    };
    let lines: Vec<String> = (0..9).map(|index| format!("RW {} SPARSE \"{index}\"", 1u64 << 36)).collect();
    let mut image = Image::open(descriptor("twoGbMaxExtentSparse", &lines.join("\n"))).unwrap();
    let attached = (1..=9).find_map(|id| image.attach(id, extent.clone()).err().map(|error| (id, error)));
    let (id, error) = attached.unwrap();
    assert_eq!((id, error.kind), (9, ErrorKind::Limit), "{error:?}");
}

/// Who refuses.
#[derive(Debug)]
enum Refused {
    Plugin(Error),
    /// A file is named: the host decides.
    Reference,
    /// A grain does not decode: the host's codec says so.
    Codec,
}

fn refusal(path: &Path) -> Option<Refused> {
    let bytes = std::fs::read(path).unwrap();
    let tail = &bytes[bytes.len().saturating_sub(4096)..];
    assert!(probe(&bytes[..bytes.len().min(65536)], tail, bytes.len() as u64).is_some());
    let mut image = match Image::open(FileSource::open(path)) {
        Ok(image) => image,
        Err(error) => return Some(Refused::Plugin(error)),
    };
    if !image.references().is_empty() {
        return Some(Refused::Reference);
    }
    match map(&mut image, 1000) {
        Err(error) => Some(Refused::Plugin(error)),
        Ok(_) => Disk::<Vmdk>::open(path).unwrap().content().err().map(|_| Refused::Codec),
    }
}

#[test]
fn hostile_images_of_others() {
    let scratch = Scratch::new();
    let cases = scratch.hostile();
    if cases.is_empty() {
        return;
    }
    let mut counts = [0; 3];
    for (path, row) in cases {
        let name = &row["file"];
        match refusal(&path) {
            None => panic!("{name} was accepted: {}", row["what"]),
            Some(Refused::Plugin(error)) => {
                assert!(!error.message.is_empty());
                eprintln!("{name}: {}", error.message);
                counts[0] += 1;
            }
            Some(Refused::Reference) => {
                assert_eq!(row["class"], "reference", "{name}");
                counts[1] += 1;
            }
            Some(Refused::Codec) => counts[2] += 1,
        }
    }
    let [plugin, reference, codec] = counts;
    eprintln!("refused: {plugin} by the plugin, {reference} as references, {codec} by the codec");
    assert!(plugin >= 6 && reference >= 3, "{counts:?}");
}

//! Hostile images: our own, and those of a folder beside the repository where it is present.

use format_qed::ErrorKind;
use format_qed::Qed;
use format_qed::image::Image;
use witvirt_sdk::disk::ImageReader;
use witvirt_testkit::{FileSource, file_content, map};

use crate::Scratch;
use crate::fuzz::body::image;

/// Bytes and where they go.
type Patch = (usize, Vec<u8>);

fn word(offset: usize, value: u32) -> Patch {
    (offset, value.to_le_bytes().to_vec())
}

fn long(offset: usize, value: u64) -> Patch {
    (offset, value.to_le_bytes().to_vec())
}

/// Clusters of 4 KiB: header, L1 table of two, six clusters of data, L2 table of two.
fn patched(patches: &[Patch]) -> Vec<u8> {
    let mut file = image(2, Some(("base.img".to_owned(), "raw".to_owned())));
    for (offset, bytes) in patches {
        file[*offset..offset + bytes.len()].copy_from_slice(bytes);
    }
    file
}

#[test]
fn every_refusal_names_its_reason() {
    use ErrorKind::{Corrupt, InvalidInput, Unsupported};
    let table = image(2, None).len() - 8192;
    let cases: Vec<(Vec<Patch>, ErrorKind, &str)> = vec![
        (vec![word(0, 0x0144_4551)], InvalidInput, "signature is missing"),
        (vec![word(4, 2048)], Corrupt, "cluster size"),
        (vec![word(4, 1 << 31)], Corrupt, "cluster size"),
        (vec![word(4, 0)], Corrupt, "cluster size"),
        (vec![word(8, 0)], Corrupt, "table size"),
        (vec![word(8, 3)], Corrupt, "table size"),
        (vec![word(8, 32)], Corrupt, "table size"),
        (vec![word(12, 0)], Corrupt, "takes no cluster"),
        (vec![word(12, 2)], Corrupt, "regular cluster"),
        (vec![word(12, u32::MAX)], Corrupt, "regular cluster"),
        (vec![long(16, 8)], Unsupported, "feature bit 3"),
        (vec![long(16, 1 << 63)], Unsupported, "feature bit 63"),
        (vec![long(40, 4097)], Corrupt, "regular cluster"),
        (vec![long(40, 0)], Corrupt, "regular cluster"),
        (vec![long(40, 1 << 50)], Corrupt, "L1 table lies past the end"),
        (vec![long(40, !4095)], Corrupt, "L1 table lies past the end"),
        (vec![long(48, 1000)], Corrupt, "multiple of 512"),
        (vec![long(48, (1 << 32) + 512)], Corrupt, "larger than its tables"),
        (vec![long(48, !511)], Corrupt, "larger than its tables"),
        (vec![word(56, 4090)], Corrupt, "past the header's clusters"),
        (vec![word(56, u32::MAX)], Corrupt, "past the header's clusters"),
        (vec![word(60, 0)], Corrupt, "1 to 1023 bytes"),
        (vec![word(60, 1024)], Corrupt, "1 to 1023 bytes"),
        (vec![(64, vec![b'\n'])], Corrupt, "control characters"),
        (vec![(64, vec![0xff])], Corrupt, "not UTF-8"),
        (vec![long(4096, 1)], Corrupt, "an L2 table is not at a cluster"),
        (vec![long(4096, 4096)], Corrupt, "an L2 table overlaps the L1 table"),
        (vec![long(4096, 1 << 40)], Corrupt, "an L2 table lies past the end"),
        (vec![long(4096, !4095)], Corrupt, "an L2 table lies past the end"),
        (vec![long(table, 2)], Corrupt, "a data cluster is not at a cluster"),
        (vec![long(table, 4096)], Corrupt, "a data cluster overlaps the L1 table"),
        (vec![long(table, 1 << 40)], Corrupt, "a data cluster lies past the end"),
        (vec![long(table, !4095)], Corrupt, "a data cluster lies past the end"),
    ];
    for (patches, kind, part) in cases {
        let opened = Image::open(patched(&patches));
        let error = opened.and_then(|mut image| map(&mut image, 1000)).expect_err(part);
        assert_eq!(error.kind, kind, "{part}: {error:?}");
        assert!(error.message.contains(part), "\"{part}\" in {error:?}");
    }
    for short in [0, 4, 63, 4095, 8000, 20_000] {
        let file = patched(&[])[..short].to_vec();
        let error = Image::open(file).and_then(|mut image| map(&mut image, 1000)).unwrap_err();
        assert!(!error.message.is_empty(), "{short} bytes");
    }
}

#[test]
fn tables_that_are_named_again_and_again() {
    let table = image(2, None).len() as u64 - 8192;
    let mut file = patched(&[long(48, 1 << 32)]);
    for index in 0..1024 {
        file[4096 + index * 8..4104 + index * 8].copy_from_slice(&table.to_le_bytes());
    }
    let error = Image::open(file).unwrap_err();
    assert!(error.message.contains("more L2 tables than the file can hold"), "{error:?}");
}

#[test]
fn no_page_takes_long() {
    // 16 TiB in clusters of 1 MiB: an L2 table maps 2 TiB with 2 million entries, all of them zeros.
    let (cluster, table) = (1u64 << 20, 16u64 << 20);
    let mut file = image(2, None)[..64].to_vec();
    file[4..8].copy_from_slice(&(cluster as u32).to_le_bytes());
    file[8..12].copy_from_slice(&16u32.to_le_bytes());
    file[40..48].copy_from_slice(&cluster.to_le_bytes());
    file[48..56].copy_from_slice(&(3u64 << 41).to_le_bytes());
    file.resize((cluster + table) as usize, 0);
    for index in 0..3u64 {
        let (at, offset) = ((cluster + index * 8) as usize, cluster + (index + 1) * table);
        file[at..at + 8].copy_from_slice(&offset.to_le_bytes());
    }
    file.extend([1, 0, 0, 0, 0, 0, 0, 0].repeat(3 * table as usize / 8));
    let mut image = Image::open(file).unwrap();
    let page = image.extents(0, u64::MAX, 1000).unwrap();
    assert_eq!(page.extents.len(), 1, "one run of zeros");
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
        let refused = match Image::open(FileSource::open(path)) {
            // A file is named: the host decides.
            Ok(image) if !image.references().is_empty() => row["class"] == "reference",
            Ok(_) => file_content::<Qed>(path).is_err(),
            Err(error) => !error.message.is_empty() && !format!("{error:?}").contains("CANARY"),
        };
        assert!(refused, "{} was accepted: {}", row["file"], row["what"]);
    }
    assert!(cases.is_empty() || cases.len() >= 2, "{} cases", cases.len());
}

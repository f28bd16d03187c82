//! Any bytes as an image file.

use format_qed::image::Image;
use format_qed::layout::Writer;
use format_qed::probe::probe;
use witvirt_sdk::core::extent::ExtentKind;
use witvirt_sdk::core::format::Chunk;
use witvirt_sdk::disk::{ImageReader, ImageWriter};

/// A disk may be larger than can be followed extent by extent; this is enough for every file that fits an input.
const PAGES: usize = 2_000;
const CLUSTER: u64 = 4096;

/// What must hold: nothing panics, pages are contiguous and end, stored bytes lie inside the file, and what falls through to
/// a backing image has one.
pub fn run(data: &[u8]) {
    let _ = probe(data);
    let Ok(mut image) = Image::open(data.to_vec()) else { return };
    let size = image.geometry().virtual_size;
    assert!(image.facts().len() <= 64);
    let references = image.references();
    assert!(references.len() <= 1);
    assert!(references.iter().all(|reference| !reference.name.chars().any(char::is_control)));
    let mut at = 0;
    for _ in 0..PAGES {
        let Ok(page) = image.extents(at, u64::MAX, 64) else { break };
        for extent in page.extents {
            assert_eq!(extent.start, at);
            assert!(extent.length > 0);
            match extent.kind {
                ExtentKind::Data { source, offset } => {
                    assert!(source == 0 && offset + extent.length <= data.len() as u64)
                }
                ExtentKind::Parent => assert_eq!(references.len(), 1),
                ExtentKind::Zero | ExtentKind::Unallocated => {}
                other => panic!("{other:?}"),
            }
            at += extent.length;
        }
        assert!(at <= size);
        match page.next {
            Some(next) => assert_eq!(next, at),
            None => {
                assert_eq!(at, size);
                break;
            }
        }
    }
    if let Ok(findings) = image.check() {
        assert!(findings.len() <= 1000);
        assert!(findings.windows(2).all(|pair| pair[0].severity <= pair[1].severity));
    }
}

/// Small sound images of every kind.
pub fn seeds() -> Vec<Vec<u8>> {
    let base = |format: &str| Some(("base.img".to_owned(), format.to_owned()));
    let mut seeds = vec![image(2, None), image(4, base("raw")), image(2, base("qcow2"))];
    let mut unclosed = image(2, None);
    unclosed[16] |= 2;
    seeds.push(unclosed);
    // A cluster of zeros: the first entry of the first L2 table, which lies behind the data.
    let mut zeros = image(2, base("raw"));
    let table = zeros.len() - 2 * CLUSTER as usize;
    zeros[table..table + 8].copy_from_slice(&1u64.to_le_bytes());
    seeds.push(zeros);
    seeds
}

/// Clusters of 4 KiB, of which 2 of 7 are stored, and an odd end.
pub fn image(table_size: u32, backing: Option<(String, String)>) -> Vec<u8> {
    let options = format!("{{\"cluster-size\": {CLUSTER}, \"table-size\": {table_size}}}");
    let size = 20 * CLUSTER + 512;
    let mut writer = Writer::create("qed", size, &options, backing).expect("sound options");
    let mut file = Vec::new();
    for cluster in (0..21).filter(|cluster| cluster % 7 < 2) {
        let start = cluster * CLUSTER;
        let length = CLUSTER.min(size - start);
        let chunk = Chunk { start, length, stored: length, encoded: false };
        let offset = writer.allocate(&chunk).expect("a sound chunk") as usize;
        file.resize(offset + length as usize, 0);
        file[offset..].fill(cluster as u8 + 1);
    }
    loop {
        let ending = writer.finish().expect("a small image");
        file.resize(ending.size as usize, 0);
        for write in ending.writes {
            let start = write.offset as usize;
            file[start..start + write.bytes.len()].copy_from_slice(&write.bytes);
        }
        if !ending.next {
            return file;
        }
    }
}

//! Any bytes as an image file.

use format_qed::Qed;
use format_qed::layout::Writer;
use witvirt_sdk::core::format::Chunk;
use witvirt_sdk::disk::ImageWriter;
use witvirt_testkit::check_any_bytes;

const CLUSTER: u64 = 4096;

/// What must hold: see [`check_any_bytes`].
pub fn run(data: &[u8]) {
    check_any_bytes::<Qed>(data.to_vec(), |_| None);
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

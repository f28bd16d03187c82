//! Any bytes as an image file.

use format_qcow2::Qcow2;
use format_qcow2::layout::Writer;
use witvirt_sdk::core::format::Chunk;
use witvirt_sdk::disk::ImageWriter;
use witvirt_testkit::check_any_bytes;

/// What must hold: see [`check_any_bytes`]. An external data file has a MiB.
pub fn run(data: &[u8]) {
    check_any_bytes::<Qcow2>(data.to_vec(), |_| Some(vec![0; 1 << 20]));
}

/// Small sound images of every kind.
pub fn seeds() -> Vec<Vec<u8>> {
    let base = Some(("base.raw".to_owned(), "raw".to_owned()));
    let mut seeds = Vec::new();
    for cluster_size in [512, 4096] {
        for (compression, backing) in [("none", &None), ("zlib", &base), ("zstd", &None)] {
            let options = format!("{{\"cluster-size\": {cluster_size}, \"compression\": \"{compression}\"}}");
            seeds.push(image(cluster_size, &options, backing.clone()));
        }
    }
    let plain = image(512, "{}", None);
    // Version 2, and bits 0 (dirty) and 2 (external data file, named by an extension) of version 3.
    seeds.push(patched(&plain, &[(7, &[2])]));
    seeds.push(patched(&plain, &[(79, &[1])]));
    seeds.push(patched(&plain, &[(79, &[4]), (104, b"DATA\0\0\0\x08data.raw")]));
    // Extended L2 entries need clusters of 16 KiB: bit 4.
    let large = image(16384, "{\"cluster-size\": 16384}", None);
    seeds.push(patched(&large, &[(79, &[16])]));
    seeds
}

/// Every third cluster is stored, in turn compressed where the image is.
fn image(cluster_size: u64, options: &str, backing: Option<(String, String)>) -> Vec<u8> {
    let options = if options == "{}" { "{\"cluster-size\": 512}" } else { options };
    let clusters = if cluster_size > 4096 { 2 } else { 150 };
    let mut writer =
        Writer::create("qcow2", clusters * cluster_size, options, backing).expect("sound options");
    let compressed = !writer.plan().codec.is_empty();
    let mut file = Vec::new();
    for cluster in (0..clusters).step_by(3) {
        let encoded = compressed && cluster % 2 == 0;
        let stored = if encoded { 100 } else { cluster_size };
        let chunk = Chunk { start: cluster * cluster_size, length: cluster_size, stored, encoded };
        writer.allocate(&chunk).expect("a sound chunk");
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

fn patched(file: &[u8], patches: &[(usize, &[u8])]) -> Vec<u8> {
    let mut file = file.to_vec();
    for (offset, bytes) in patches {
        file[*offset..offset + bytes.len()].copy_from_slice(bytes);
    }
    file
}

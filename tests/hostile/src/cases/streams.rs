//! What comes as a stream and costs more than it looks: tables that multiply, nothing in terabytes, headers without end.

use std::io::Write;

use witvirt_disk::ErrorKind::{Limit, Unsupported};

use super::qcow2;
use crate::bytes::Bytes;
use crate::case::{Case, Content, Entry, What};

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    let done = encoder.write_all(bytes).and_then(|()| encoder.finish());
    done.expect("memory takes everything")
}

fn xz(preset: u32, bytes: &[u8]) -> Vec<u8> {
    let encoder = lzma_rust2::XzWriter::new(Vec::new(), lzma_rust2::XzOptions::with_preset(preset));
    let done = encoder.and_then(|mut encoder| encoder.write_all(bytes).and_then(|()| encoder.finish()));
    done.expect("memory takes everything")
}

/// A member of a type, with more in its header.
fn member(name: &str, kind: u8, content: &[u8], fields: &[(usize, Vec<u8>)]) -> Vec<u8> {
    let header = Bytes::new(512)
        .put(0, name.as_bytes())
        .put(124, format!("{:011o}\0", content.len()).as_bytes())
        .put(148, b"        ")
        .put(156, &[kind])
        .put(257, b"ustar\x0000");
    let header = fields.iter().fold(header, |header, (offset, bytes)| header.put(*offset, bytes));
    let sum: u32 = header.0.iter().map(|byte| u32::from(*byte)).sum();
    let mut bytes = header.put(148, format!("{sum:06o}\0 ").as_bytes()).0;
    bytes.extend(content);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

/// A GNU sparse member in which nothing is stored.
fn hole(name: &str, size: u64) -> Vec<u8> {
    let size = [&[0x80, 0, 0, 0][..], &size.to_be_bytes()].concat();
    member(name, b'S', &[], &[(257, b"ustar  \0".to_vec()), (483, size)])
}

pub fn cases() -> Vec<Case> {
    // The alias bomb of qcow2, which as a file is told by its map.
    let aliased = qcow2::aliased((1u64 << 63 | 0x50000).to_be_bytes(), 256);
    let ranges = b"23 GNU.sparse.offset=0\n25 GNU.sparse.numbytes=0\n".repeat(20_000);
    let headers = member("x", b'x', &ranges, &[]).repeat(64);
    let zeros = gzip(&vec![0; 32 << 20]);
    let noise = crate::bytes::noise(4096);
    vec![
        Case::of("alias-upload.qcow2", aliased)
            .import(What::Upload("alias-upload.qcow2".to_owned()))
            .refused([Unsupported], "twice"),
        // 512 MiB that nobody knows: as a stream, all of it is kept until the end is there.
        Case::of("unknown.gz", Entry::bytes(zeros.repeat(16)))
            .import(What::Upload("unknown.gz".to_owned()))
            .refused([Unsupported, super::INVALID], ""),
        // 32 GiB in some kilobytes.
        Case::new("thrice.raw.gz.gz.gz", "raw", gzip(&gzip(&zeros.repeat(1024))))
            .refused([Limit], "out of the first"),
        Case::new("pax-ranges.tar.gz", "raw", gzip(&headers)).refused([Limit], "extended headers"),
        Case::new("hole.tar", "raw", hole("disk.raw", 4 << 40))
            .import(What::Upload("hole.tar".to_owned()))
            .confined(Content::Hole(4 << 40)),
        Case::new("windows.raw.xz.xz", "raw", xz(9, &xz(9, &noise))).refused([Limit], "window"),
    ]
}

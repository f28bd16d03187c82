//! Compressed files: bombs, damage, and wrappings without end.

use std::io::Write;

use witvirt_disk::ErrorKind::{Corrupt, Limit, Unsupported};

use super::{patched, qcow2};
use crate::case::{Case, Content, Entry, What};

/// Zeros of a bomb.
const LARGE: usize = 1 << 30;

/// Compresses `times` MiB of `byte`, and then `end`.
fn packed(kind: &str, times: usize, byte: u8, end: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let piece = vec![byte; 1 << 20];
    let fill = |writer: &mut dyn Write| -> std::io::Result<()> {
        for _ in 0..times {
            writer.write_all(&piece)?;
        }
        writer.write_all(end)
    };
    let done = match kind {
        "gz" => {
            let mut encoder = flate2::write::GzEncoder::new(&mut bytes, flate2::Compression::fast());
            fill(&mut encoder).and_then(|()| encoder.finish().map(drop))
        }
        "xz" => {
            let options = lzma_rust2::XzOptions::with_preset(0);
            lzma_rust2::XzWriter::new(&mut bytes, options)
                .and_then(|mut encoder| fill(&mut encoder).and_then(|()| encoder.finish().map(drop)))
        }
        "zst" => zstd::Encoder::new(&mut bytes, 1).and_then(|mut encoder| {
            encoder.include_checksum(true)?;
            fill(&mut encoder).and_then(|()| encoder.finish().map(drop))
        }),
        _ => {
            let mut encoder = bzip2::write::BzEncoder::new(&mut bytes, bzip2::Compression::best());
            fill(&mut encoder).and_then(|()| encoder.finish().map(drop))
        }
    };
    done.expect("memory takes everything");
    bytes
}

const KINDS: [&str; 4] = ["gz", "xz", "zst", "bz2"];

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for kind in KINDS {
        let raw = |name: &str, bytes: Vec<u8>| Case::new(&format!("{name}.raw.{kind}"), "raw", bytes);
        // 1 GiB of zeros in what may be a kilobyte; 256 MiB of the slow ones.
        let times = if matches!(kind, "gz" | "zst") { LARGE >> 20 } else { 128 };
        let bomb = packed(kind, times, 0, &[]);
        cases.push(raw("zeros", bomb).confined(Content::Hole((times as u64) << 20)));
        let whole = packed(kind, 1, 7, &crate::bytes::noise(200_000));
        cases.push(raw("cut", whole[..whole.len() - 20].to_vec()).corrupt(kind_name(kind)));
        let mut damaged = whole.clone();
        let middle = damaged.len() / 2;
        damaged[middle..middle + 50].fill(0x55);
        cases.push(raw("damaged", damaged).corrupt(kind_name(kind)));
        let trailing = [whole, b"and then something else that is no stream".to_vec()].concat();
        cases.push(raw("trailing", trailing).refused([Corrupt, Unsupported], ""));
        // A header, and after it a disk that does not end: an image that says it is small, and a stream that is not.
        let image = packed(kind, 0, 0, &patched(&qcow2::image(), &[(24, &(1u64 << 62).to_be_bytes())]));
        let name = format!("liar.qcow2.{kind}");
        cases.push(Case::new(&name, "qcow2", image).refused([Corrupt, Limit], ""));
    }
    cases.extend(wrapped());
    cases.extend(windows());
    cases
}

fn kind_name(kind: &str) -> &'static str {
    match kind {
        "gz" => "gzip",
        "xz" => "xz",
        "zst" => "zstd",
        _ => "bzip2",
    }
}

fn wrapped() -> Vec<Case> {
    let plain = crate::bytes::noise(4096);
    let deep = (0..9).fold(plain, |bytes, _| packed("gz", 0, 0, &bytes));
    let backed = packed("gz", 0, 0, &qcow2::backed(b"base.img", Some("raw")));
    vec![
        Case::of("nine.gz", Entry::bytes(deep)).refused([Limit, Unsupported, Corrupt], "wrapped more than"),
        // What is inside of a stream has no directory: nothing beside it is its backing file.
        Case::of("backed.qcow2.gz", Entry::bytes(backed.clone()))
            .with("base.img", Entry::bytes(vec![7; 1 << 20]))
            .refused([witvirt_disk::ErrorKind::Denied, Unsupported, super::MISSING], "base.img"),
        Case::of("backed-upload.qcow2.gz", Entry::bytes(backed))
            .import(What::Upload("backed-upload.qcow2.gz".to_owned()))
            .refused([witvirt_disk::ErrorKind::Denied, Unsupported, super::MISSING], "base.img"),
    ]
}

/// Streams that ask for a window larger than what may be used.
fn windows() -> Vec<Case> {
    // A frame header with a window of 2^41 bytes and no size.
    let zstd = [&[0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xf8][..], &[0; 64]].concat();
    vec![
        Case::new("window.raw.zst", "raw", zstd).refused([Corrupt, Limit, Unsupported], "window"),
        Case::new("window.raw.xz", "raw", xz_with_dictionary())
            .refused([Corrupt, Limit, Unsupported], "window"),
    ]
}

/// A stream whose only filter wants a dictionary of 4 GiB - 1.
fn xz_with_dictionary() -> Vec<u8> {
    let mut bytes = packed("xz", 0, 0, &crate::bytes::noise(100_000));
    // Stream header (12 bytes), block header: its size, flags, filter 0x21, one byte of properties, the dictionary's size.
    let length = (usize::from(bytes[12]) + 1) * 4;
    let header = 12..12 + length;
    let place = header.clone().find(|at| bytes[*at] == 0x21 && bytes[at + 1] == 1).map(|at| at + 2);
    if let Some(place) = place {
        bytes[place] = 40;
        let mut crc = flate2::Crc::new();
        crc.update(&bytes[12..header.end - 4]);
        let sum = crc.sum();
        bytes[header.end - 4..header.end].copy_from_slice(&sum.to_le_bytes());
    }
    bytes
}

//! Encoded runs that are too large for the copying threads: decoded in order, in pieces, with nothing unchecked.
#![allow(missing_docs)]

mod formats;

use std::fs;
use std::io::Write;

use formats::{Bench, Installed, Scripted, Told, content};
use witvirt_core::extent::{Encoded, Extent, ExtentKind, Page};
use witvirt_disk::{Error, ErrorKind, ImportRequest, Progress, SourceFile, Unpack};

const MIB: u64 = 1 << 20;

/// Decoded bytes of the run.
const RUN: u64 = 5 * MIB + 512;

const CODECS: [&str; 6] = ["deflate-raw", "zlib", "bzip2", "xz", "zstd", "lz4"];

fn encode(codec: &str, data: &[u8]) -> Vec<u8> {
    let fast = flate2::Compression::fast();
    let written = |mut encoder: flate2::write::ZlibEncoder<Vec<u8>>| {
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    };
    match codec {
        "zlib" => written(flate2::write::ZlibEncoder::new(Vec::new(), fast)),
        "deflate-raw" => {
            let zlib = written(flate2::write::ZlibEncoder::new(Vec::new(), fast));
            zlib[2..zlib.len() - 4].to_vec()
        }
        "bzip2" => {
            let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
            encoder.write_all(data).unwrap();
            encoder.finish().unwrap()
        }
        "xz" => {
            let options = lzma_rust2::XzOptions::with_preset(0);
            let mut encoder = lzma_rust2::XzWriter::new(Vec::new(), options).unwrap();
            encoder.write_all(data).unwrap();
            encoder.finish().unwrap()
        }
        "zstd" => zstd::encode_all(data, 1).unwrap(),
        _ => lz4_flex::block::compress(data),
    }
}

/// Guest bytes as parts of the run: where each starts in it, and its length.
type Parts = Vec<(u64, u64)>;

/// Imports a disk of these parts; the run is the whole file, and said to decode to `decoded` bytes.
fn import(codec: &'static str, file: &[u8], decoded: u64, parts: Parts) -> Result<Vec<u8>, Error> {
    let length = file.len() as u64;
    let size = parts.iter().map(|(_, length)| length).sum();
    let plugin = Scripted::new("large", move |_| {
        let parts = parts.clone();
        let page = move |start: u64, _: u64, max: u32| {
            let mut at = 0;
            let mut extents = Vec::new();
            for (skip, part) in &parts {
                if at >= start && extents.len() < max as usize {
                    let run = Encoded {
                        codec: codec.into(),
                        source: 0,
                        offset: 0,
                        length,
                        decoded_length: decoded as u32,
                        skip: *skip as u32,
                    };
                    extents.push(Extent { start: at, length: *part, kind: ExtentKind::Encoded(run) });
                }
                at += part;
            }
            let end = extents.last().map_or(start, |last| last.start + last.length);
            Page { extents, next: (end < at).then_some(end) }
        };
        Told { virtual_size: size, page: Box::new(page), ..Told::default() }
    });
    let bench = Bench::with(Installed(vec![plugin]));
    fs::write(bench.path("file"), file).unwrap();
    let mut request = ImportRequest::new(SourceFile::new(bench.path("file")).with_format("large"));
    // The file is the run alone, and so looks like something that is compressed as a whole.
    request.reading.unpack = Unpack::Stated(Vec::new());
    let imported = bench.store.import(bench.access(), &request, &Progress::new())?;
    let disk = bench.dir.path().join("store/images").join(imported.record.digest.hex()).join("disk.raw");
    Ok(fs::read(disk).unwrap())
}

fn of(data: &[u8], parts: &Parts) -> Vec<u8> {
    parts
        .iter()
        .flat_map(|(start, length)| &data[*start as usize..(start + length) as usize])
        .copied()
        .collect()
}

#[test]
fn parts_of_a_run_come_in_any_order() {
    let data = content(1, RUN as usize);
    let backwards = (0..5).rev().map(|piece| (piece * MIB, MIB)).collect();
    for parts in [vec![(0, RUN)], vec![(MIB + 512, 3 * MIB)], vec![(4 * MIB, MIB), (512, 2 * MIB)], backwards]
    {
        for codec in CODECS {
            let disk = import(codec, &encode(codec, &data), RUN, parts.clone()).unwrap();
            assert!(disk == of(&data, &parts), "{codec} {parts:?}");
        }
    }
}

#[test]
fn what_nobody_uses_of_a_run_is_decoded_too() {
    let data = content(2, RUN as usize);
    for codec in CODECS {
        let file = encode(codec, &data);
        let cut = &file[..file.len() - 40];
        for (file, decoded, word) in
            [(cut, RUN, ""), (&file[..], RUN + 512, ""), (&file[..], RUN - 512, "more than")]
        {
            let error = import(codec, file, decoded, vec![(0, MIB)]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{codec}: {error}");
            assert!(error.to_string().contains("byte 0 (guest byte 0)"), "{codec}: {error}");
            assert!(error.to_string().contains(word), "{codec}: {error}");
        }
    }
}

#[test]
fn a_map_that_goes_back_and_forth_in_a_run_is_stopped() {
    let file = encode("zlib", &content(3, RUN as usize));
    let parts = (0..2048).map(|sector| if sector % 2 == 0 { (5 * MIB, 512) } else { (0, 512) }).collect();
    let error = import("zlib", &file, RUN, parts).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Limit, "{error}");
    assert!(error.to_string().contains("goes back in its encoded runs too often"), "{error}");
}

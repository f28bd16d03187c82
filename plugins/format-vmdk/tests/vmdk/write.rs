//! Images that the plugin lays out, judged by qemu-img and by the plugin's own reader.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;

use format_vmdk::image::Image;
use format_vmdk::layout::Writer;
use witvirt_sdk::core::extent::ExtentKind;
use witvirt_sdk::core::format::Chunk;
use witvirt_sdk::disk::{ImageReader, ImageWriter};

use crate::support::{Scratch, disk_content, have_qemu, map};

const SIZE: usize = (35 << 20) + 3 * 512;
const STREAM: &str = "{\"subformat\": \"streamOptimized\"}";

/// Writes an image as a host does: chunks that are all zeros are left out.
pub fn write_image(path: &Path, content: &[u8], options: &str) -> u64 {
    let mut writer = Writer::create("vmdk", content.len() as u64, options, None).unwrap();
    let file = File::create(path).unwrap();
    let plan = writer.plan();
    let mut next = 0;
    for (index, data) in content.chunks(plan.chunk_size as usize).enumerate() {
        if data.iter().all(|byte| *byte == 0) {
            continue;
        }
        let encoded = match &*plan.codec {
            "" => None,
            "zlib-always" => Some(zlib(data, plan.chunk_size as usize)),
            other => panic!("codec {other}"),
        };
        let stored = encoded.as_deref().unwrap_or(data);
        let chunk = Chunk {
            start: index as u64 * u64::from(plan.chunk_size),
            length: data.len() as u64,
            stored: stored.len() as u64,
            encoded: encoded.is_some(),
        };
        let offset = writer.allocate(&chunk).unwrap();
        assert!(offset >= next, "data lies in the order of the calls");
        next = offset + chunk.stored;
        file.write_all_at(stored, offset).unwrap();
    }
    finish(&mut writer, &file)
}

/// A whole chunk, filled up with zeros.
fn zlib(data: &[u8], size: usize) -> Vec<u8> {
    let mut whole = data.to_vec();
    whole.resize(size, 0);
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(&whole).unwrap();
    encoder.finish().unwrap()
}

/// Applies the last writes; returns the length of the file.
fn finish(writer: &mut Writer, file: &File) -> u64 {
    loop {
        let ending = writer.finish().unwrap();
        assert!(ending.writes.iter().map(|write| write.bytes.len()).sum::<usize>() < 4 << 20);
        for write in &ending.writes {
            file.write_all_at(&write.bytes, write.offset).unwrap();
        }
        if !ending.next {
            assert_eq!(ending.writes.last().unwrap().offset, 0, "the header is the last write");
            assert!(file.metadata().unwrap().len() <= ending.size);
            file.set_len(ending.size).unwrap();
            assert!(writer.finish().is_err(), "there is one ending");
            return ending.size;
        }
    }
}

/// qemu-img finds nothing wrong, sees the same bytes, and so does the reader.
fn verify(scratch: &Scratch, name: &str, content: &[u8]) {
    scratch.write("content.bin", content);
    let report = scratch.qemu_img(&format!("check -f vmdk {name}"));
    assert!(report.contains("No errors were found"), "{report}");
    let compared = scratch.qemu_img(&format!("compare -f raw -F vmdk content.bin {name}"));
    assert!(compared.contains("Images are identical"), "{name}: {compared}");
    let mut disk = scratch.open(name).unwrap();
    assert!(disk.content().unwrap() == content, "{name}: the reader sees other bytes");
    assert_eq!(disk.image.check().unwrap(), []);
}

#[test]
fn both_subformats() {
    if !have_qemu() {
        return;
    }
    let scratch = Scratch::new();
    let content = disk_content(SIZE);
    for options in ["{}", "{\"adapter-type\": \"lsilogic\", \"hardware-version\": 10}", STREAM] {
        let size = write_image(&scratch.path("disk.vmdk"), &content, options);
        assert_eq!(size, scratch.read("disk.vmdk").len() as u64);
        verify(&scratch, "disk.vmdk", &content);
    }
    let plain = write_image(&scratch.path("disk.vmdk"), &content, "{}");
    let compressed = write_image(&scratch.path("disk.vmdk"), &content, STREAM);
    assert!(compressed * 10 < plain * 8, "{compressed} of {plain}");
}

#[test]
fn tiny_and_empty_disks() {
    if !have_qemu() {
        return;
    }
    let scratch = Scratch::new();
    for size in [512, 65536 - 512, 65536, 65536 + 512, 32 << 20, (32 << 20) + 512] {
        for options in ["{}", STREAM] {
            for byte in [0, 5] {
                let content = vec![byte; size];
                write_image(&scratch.path("disk.vmdk"), &content, options);
                verify(&scratch, "disk.vmdk", &content);
            }
        }
    }
}

#[test]
fn guests_can_write_to_monolithic_images() {
    if !have_qemu() {
        return;
    }
    let scratch = Scratch::new();
    let mut content = disk_content(SIZE);
    write_image(&scratch.path("disk.vmdk"), &content, "{}");
    let commands =
        ["write -q -P 9 100k 3M", "write -q -P 10 30M 1k", "write -q -P 11 34M 512", "write -q -P 12 5M 9M"];
    scratch.qemu_io("disk.vmdk", &commands);
    content[100 << 10..(100 << 10) + (3 << 20)].fill(9);
    content[30 << 20..(30 << 20) + 1024].fill(10);
    content[34 << 20..(34 << 20) + 512].fill(11);
    content[5 << 20..14 << 20].fill(12);
    verify(&scratch, "disk.vmdk", &content);
}

/// Reads a stream as one who sees it once: every marker follows the one before, and at the end nothing is missing.
#[test]
fn streams_can_be_read_front_to_back() {
    let scratch = Scratch::new();
    let content = disk_content(SIZE);
    write_image(&scratch.path("disk.vmdk"), &content, STREAM);
    let file = scratch.read("disk.vmdk");
    let word = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap());
    let long = |at: usize| u64::from_le_bytes(file[at..at + 8].try_into().unwrap());
    assert_eq!(long(56), u64::MAX, "the header leaves the directory to the end");
    let mut seen = vec![0; content.len().next_multiple_of(65536)];
    let (mut at, mut kinds, mut place) = (long(64) as usize * 512, Vec::new(), Vec::new());
    loop {
        let (value, size, kind) = (long(at), word(at + 8) as usize, word(at + 12));
        if size == 0 {
            kinds.push(kind);
            if kind == 0 {
                break;
            }
            at += 512 + value as usize * 512;
            continue;
        }
        let start = value as usize * 512;
        place.push(start);
        let data = &mut seen[start..start + 65536];
        std::io::Read::read_exact(&mut flate2::read::ZlibDecoder::new(&file[at + 12..at + 12 + size]), data)
            .unwrap();
        at = (at + 12 + size).next_multiple_of(512);
    }
    assert_eq!(at + 512, file.len());
    assert_eq!(kinds, [1, 1, 2, 3, 0], "two tables, the directory, the footer, the end");
    assert!(place.is_sorted());
    assert!(seen[..content.len()] == content && seen[content.len()..].iter().all(|byte| *byte == 0));
}

#[test]
fn large_disks_take_little_memory_and_many_pages() {
    if !have_qemu() {
        return;
    }
    let scratch = Scratch::new();
    // Tables of 256 MiB, of which almost all is a hole.
    let size = 2u64 << 40;
    for options in ["{}", STREAM] {
        let file = File::create(scratch.path("disk.vmdk")).unwrap();
        let mut writer = Writer::create("vmdk", size, options, None).unwrap();
        let encoded = options == STREAM;
        let mut expected = Vec::new();
        for index in 0..200u64 {
            let start = index * (10 << 30);
            let data = vec![index as u8 + 1; 65536];
            let data = if encoded { zlib(&data, 65536) } else { data };
            let chunk = Chunk { start, length: 65536, stored: data.len() as u64, encoded };
            let offset = writer.allocate(&chunk).unwrap();
            file.write_all_at(&data, offset).unwrap();
            expected.push((start, offset));
        }
        finish(&mut writer, &file);
        let info = scratch.qemu_img("info -f vmdk disk.vmdk");
        assert!(info.contains("2 TiB"), "{info}");
        let mut image = Image::open(crate::support::FileSource::open(&scratch.path("disk.vmdk"))).unwrap();
        let stored = map(&mut image, 1000).unwrap().into_iter().filter_map(|extent| match extent.kind {
            ExtentKind::Data { offset, .. } => Some((extent.start, offset)),
            ExtentKind::Encoded(encoded) => Some((extent.start, encoded.offset)),
            _ => None,
        });
        assert_eq!(stored.collect::<Vec<_>>(), expected);
    }
}

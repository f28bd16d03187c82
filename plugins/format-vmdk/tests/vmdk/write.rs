//! Images that the plugin lays out, judged by qemu-img and by the plugin's own reader.

use std::fs::File;
use std::os::unix::fs::FileExt;

use format_vmdk::Vmdk;
use format_vmdk::image::Image;
use format_vmdk::layout::Writer;
use witvirt_sdk::core::extent::ExtentKind;
use witvirt_sdk::core::format::Chunk;
use witvirt_sdk::disk::{ImageReader, ImageWriter};
use witvirt_testkit::{FileSource, encode, finish, have_qemu, like_real, map, write_image};

use crate::Scratch;

const SIZE: usize = (35 << 20) + 3 * 512;
const STREAM: &str = "{\"subformat\": \"streamOptimized\"}";

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
    let content = like_real(SIZE);
    for options in ["{}", "{\"adapter-type\": \"lsilogic\", \"hardware-version\": 10}", STREAM] {
        let size = write_image::<Vmdk>(&scratch.path("disk.vmdk"), &content, options, None);
        assert_eq!(size, scratch.read("disk.vmdk").len() as u64);
        verify(&scratch, "disk.vmdk", &content);
    }
    let plain = write_image::<Vmdk>(&scratch.path("disk.vmdk"), &content, "{}", None);
    let compressed = write_image::<Vmdk>(&scratch.path("disk.vmdk"), &content, STREAM, None);
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
                write_image::<Vmdk>(&scratch.path("disk.vmdk"), &content, options, None);
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
    let mut content = like_real(SIZE);
    write_image::<Vmdk>(&scratch.path("disk.vmdk"), &content, "{}", None);
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
    let content = like_real(SIZE);
    write_image::<Vmdk>(&scratch.path("disk.vmdk"), &content, STREAM, None);
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
            let data = if encoded { encode("zlib-always", &data, 65536).unwrap() } else { data };
            let chunk = Chunk { start, length: 65536, stored: data.len() as u64, encoded };
            let offset = writer.allocate(&chunk).unwrap();
            file.write_all_at(&data, offset).unwrap();
            expected.push((start, offset));
        }
        finish(&mut writer, &file);
        let info = scratch.qemu_img("info -f vmdk disk.vmdk");
        assert!(info.contains("2 TiB"), "{info}");
        let mut image = Image::open(FileSource::open(&scratch.path("disk.vmdk"))).unwrap();
        let stored = map(&mut image, 1000).unwrap().into_iter().filter_map(|extent| match extent.kind {
            ExtentKind::Data { offset, .. } => Some((extent.start, offset)),
            ExtentKind::Encoded(encoded) => Some((extent.start, encoded.offset)),
            _ => None,
        });
        assert_eq!(stored.collect::<Vec<_>>(), expected);
    }
}

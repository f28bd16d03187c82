//! Images that the plugin lays out, judged by qemu-img and by the plugin's own reader.

use std::fs::File;
use std::os::unix::fs::FileExt;

use format_qcow2::Qcow2;
use format_qcow2::layout::Writer;
use witvirt_sdk::core::extent::ExtentKind;
use witvirt_sdk::core::format::Chunk;
use witvirt_sdk::disk::{ImageReader, ImageWriter};
use witvirt_testkit::{Noise, finish, have_qemu, like_real, write_image};

use crate::Scratch;

const SIZE: usize = (9 << 20) + 3 * 512;

/// qemu-img finds nothing wrong, sees the same bytes, and so does the reader.
fn verify(scratch: &Scratch, name: &str, content: &[u8]) {
    let report = scratch.qemu_img(&format!("check -f qcow2 {name}"));
    assert!(report.contains("No errors were found"), "{report}");
    assert!(scratch.guest_content(name) == content, "{name}: qemu-img sees other bytes");
    let mut disk = scratch.open(name).unwrap();
    assert!(disk.content().unwrap() == content, "{name}: the reader sees other bytes");
    assert_eq!(disk.image.check().unwrap(), []);
}

#[test]
fn every_cluster_size_and_compression() {
    if !have_qemu() {
        return;
    }
    let scratch = Scratch::new();
    let content = like_real(SIZE);
    scratch.write("content.bin", &content);
    for bits in 9..=21 {
        for compression in ["none", "zlib", "zstd"] {
            let options = format!("{{\"cluster-size\": {}, \"compression\": \"{compression}\"}}", 1 << bits);
            let size = write_image::<Qcow2>(&scratch.path("disk.qcow2"), &content, &options, None);
            assert_eq!(size, scratch.read("disk.qcow2").len() as u64);
            verify(&scratch, "disk.qcow2", &content);
            let compared = scratch.qemu_img("compare -f raw -F qcow2 content.bin disk.qcow2");
            assert!(compared.contains("Images are identical"), "{options}: {compared}");
        }
    }
}

#[test]
fn compressed_images_are_smaller() {
    let scratch = Scratch::new();
    let content = like_real(SIZE);
    let size = |options: &str| write_image::<Qcow2>(&scratch.path("disk.qcow2"), &content, options, None);
    let plain = size("{}");
    for compression in ["zlib", "zstd"] {
        let compressed = size(&format!("{{\"compression\": \"{compression}\"}}"));
        assert!(compressed * 10 < plain * 8, "{compression}: {compressed} of {plain}");
    }
}

#[test]
fn guests_can_write_to_them() {
    if !have_qemu() {
        return;
    }
    let scratch = Scratch::new();
    let mut content = like_real(SIZE);
    for options in
        ["{}", "{\"compression\": \"zlib\"}", "{\"compression\": \"zstd\", \"cluster-size\": 4096}"]
    {
        write_image::<Qcow2>(&scratch.path("disk.qcow2"), &content, options, None);
        let mut noise = Noise::new(3);
        for _ in 0..40 {
            let start = 512 * noise.below(SIZE as u64 / 512 - 300) as usize;
            let length = 512 * (1 + noise.below(300)) as usize;
            let byte = 1 + noise.below(250) as u8;
            scratch.qemu_io("disk.qcow2", &[format!("write -q -P {byte} {start} {length}")]);
            content[start..start + length].fill(byte);
        }
        verify(&scratch, "disk.qcow2", &content);
    }
}

#[test]
fn overlays_open_over_their_backing_image() {
    if !have_qemu() {
        return;
    }
    let scratch = Scratch::new();
    let mut content = like_real(SIZE);
    scratch.write("base.raw", &content);
    let empty = vec![0; SIZE];
    for (options, name) in [("{}", "over.qcow2"), ("{\"cluster-size\": 512}", "small.qcow2")] {
        write_image::<Qcow2>(&scratch.path(name), &empty, options, Some(("base.raw", "raw")));
        verify(&scratch, name, &content);
        let chain = scratch.qemu_img(&format!("info --backing-chain --output=json {name}"));
        let chain: serde_json::Value = serde_json::from_str(&chain).unwrap();
        assert_eq!(chain[0]["backing-filename-format"], "raw");
        assert_eq!(chain[0]["backing-filename"], "base.raw");
        assert_eq!(chain.as_array().unwrap().len(), 2);
    }
    scratch.qemu_io("over.qcow2", &["write -q -P 7 1M 300k".to_owned(), "write -q -z 4M 1M".to_owned()]);
    content[1 << 20..(1 << 20) + (300 << 10)].fill(7);
    content[4 << 20..5 << 20].fill(0);
    verify(&scratch, "over.qcow2", &content);
    // A second layer with data of its own.
    let mut top = vec![0; SIZE];
    top[..65536].fill(1);
    write_image::<Qcow2>(
        &scratch.path("top.qcow2"),
        &top,
        "{\"compression\": \"zstd\"}",
        Some(("over.qcow2", "qcow2")),
    );
    content[..65536].fill(1);
    verify(&scratch, "top.qcow2", &content);
}

#[test]
fn large_disks_take_little_memory_and_many_pages() {
    if !have_qemu() {
        return;
    }
    let scratch = Scratch::new();
    let file = File::create(scratch.path("disk.qcow2")).unwrap();
    // Each L2 table of 64 KiB: 200 of them are more than one page.
    let size = 64u64 << 40;
    let mut writer = Writer::create("qcow2", size, "{}", None).unwrap();
    let mut expected = Vec::new();
    for index in 0..200u64 {
        let start = index * (300 << 30);
        let offset = writer.allocate(&Chunk { start, length: 65536, stored: 65536, encoded: false }).unwrap();
        file.write_all_at(&[index as u8 + 1; 65536], offset).unwrap();
        expected.push((start, offset));
    }
    let length = finish(&mut writer, &file);
    assert!(length < 64 << 20, "{length}");
    let report = scratch.qemu_img("check -f qcow2 disk.qcow2");
    assert!(report.contains("No errors were found"), "{report}");
    let map = scratch.open("disk.qcow2").unwrap().map(1000).unwrap();
    let data: Vec<(u64, u64)> = map
        .iter()
        .filter_map(|extent| match extent.kind {
            ExtentKind::Data { offset, .. } => Some((extent.start, offset)),
            _ => None,
        })
        .collect();
    assert_eq!(data, expected);
}

#[test]
fn tiny_disks() {
    if !have_qemu() {
        return;
    }
    let scratch = Scratch::new();
    for size in [0, 512, 65536] {
        let content = vec![5; size];
        for options in ["{}", "{\"cluster-size\": 512, \"compression\": \"zlib\"}"] {
            write_image::<Qcow2>(&scratch.path("disk.qcow2"), &content, options, None);
            verify(&scratch, "disk.qcow2", &content);
        }
    }
}

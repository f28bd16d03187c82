//! Images that the plugin lays out, judged by qemu-img and by the plugin's own reader.

use std::fs::File;
use std::os::unix::fs::FileExt;

use format_vpc::Vpc;
use format_vpc::layout::Writer;
use witvirt_sdk::core::extent::ExtentKind;
use witvirt_sdk::core::format::Chunk;
use witvirt_sdk::disk::{ImageReader, ImageWriter};
use witvirt_testkit::{finish, have_qemu, islands, write_image};

use crate::Scratch;

/// qemu-img sees the same bytes and size, and so does the reader.
fn verify(scratch: &Scratch, content: &[u8], size: u64) {
    let compared = scratch.qemu_img("compare -f raw -F vpc content.raw disk.vhd");
    assert!(compared.contains("Images are identical"), "{compared}");
    let info: serde_json::Value =
        serde_json::from_str(&scratch.qemu_img("info --output=json -f vpc disk.vhd")).unwrap();
    assert_eq!(info["virtual-size"], size);
    let mut disk = scratch.open("disk.vhd").unwrap();
    assert_eq!(disk.size(), size);
    assert!(disk.content().unwrap().starts_with(content), "the reader sees other bytes");
    assert_eq!(disk.image.check().unwrap(), []);
}

#[test]
fn both_kinds_and_many_sizes() {
    if !have_qemu() {
        return;
    }
    let scratch = Scratch::new();
    for size in [512, 69 * 512, 1 << 20, 2 << 20, (2 << 20) + 512, (21 << 20) + 3 * 512] {
        let content = islands(size);
        scratch.write("content.raw", &content);
        for subformat in ["fixed", "dynamic"] {
            let options = format!("{{\"subformat\": \"{subformat}\"}}");
            let length = write_image::<Vpc>(&scratch.path("disk.vhd"), &content, &options, None);
            assert_eq!(length, std::fs::metadata(scratch.path("disk.vhd")).unwrap().len());
            verify(&scratch, &content, size as u64);
            // As large as qemu-img makes it when it rounds.
            let rounded = format!("{{\"subformat\": \"{subformat}\", \"force-size\": false}}");
            write_image::<Vpc>(&scratch.path("disk.vhd"), &content, &rounded, None);
            scratch.qemu_img(&format!("create -f vpc -o subformat={subformat} theirs.vhd {size}"));
            let theirs = scratch.open("theirs.vhd").unwrap().size();
            verify(&scratch, &content, theirs);
        }
    }
}

#[test]
fn a_disk_of_nothing() {
    if !have_qemu() {
        return;
    }
    let scratch = Scratch::new();
    let content = vec![0; 5 << 20];
    scratch.write("content.raw", &content);
    let length = write_image::<Vpc>(&scratch.path("disk.vhd"), &content, "{}", None);
    assert_eq!(length, 512 + 1024 + 512 + 512);
    verify(&scratch, &content, 5 << 20);
}

#[test]
fn azure_takes_a_fixed_image_of_whole_mebibytes() {
    let scratch = Scratch::new();
    let content = islands(30 << 20);
    let length = write_image::<Vpc>(&scratch.path("disk.vhd"), &content, "{\"subformat\": \"fixed\"}", None);
    assert_eq!(length, (30 << 20) + 512, "the disk, and a footer");
    let file = std::fs::read(scratch.path("disk.vhd")).unwrap();
    assert_eq!(file[30 << 20..][48..56], (30u64 << 20).to_be_bytes());
}

#[test]
fn guests_can_write_to_them() {
    if !have_qemu() {
        return;
    }
    let scratch = Scratch::new();
    let mut content = islands(21 << 20);
    for options in ["{}", "{\"subformat\": \"fixed\"}"] {
        write_image::<Vpc>(&scratch.path("disk.vhd"), &content, options, None);
        for (start, length, byte) in [(1 << 20, 3 << 20, 7), (20 << 20, 4096, 9), (11 << 20, 512, 1)] {
            let command = format!("write -q -P {byte} {start} {length}");
            scratch.run("qemu-io", &["-f", "vpc", "-c", &command, "disk.vhd"]);
            content[start..start + length].fill(byte);
        }
        scratch.write("content.raw", &content);
        verify(&scratch, &content, 21 << 20);
    }
}

#[test]
fn the_largest_disk() {
    if !have_qemu() {
        return;
    }
    let scratch = Scratch::new();
    let size = 2040u64 << 30;
    let file = File::create(scratch.path("disk.vhd")).unwrap();
    let mut writer = Writer::create("vpc", size, "{}", None).unwrap();
    let mut expected = Vec::new();
    for index in 0..200u64 {
        let start = index * (10 << 30);
        let offset =
            writer.allocate(&Chunk { start, length: 2 << 20, stored: 2 << 20, encoded: false }).unwrap();
        file.write_all_at(&[index as u8 + 1; 4096], offset).unwrap();
        expected.push((start, offset));
    }
    finish(&mut writer, &file);
    let mut disk = scratch.open("disk.vhd").unwrap();
    let map = disk.map(50).unwrap();
    let data: Vec<(u64, u64)> = map
        .iter()
        .filter_map(|extent| match extent.kind {
            ExtentKind::Data { offset, .. } => Some((extent.start, offset)),
            _ => None,
        })
        .collect();
    assert_eq!(data, expected);
    assert_eq!(disk.image.check().unwrap(), []);
    let last = format!("read -P 200 {} 4096", 199u64 * (10 << 30));
    scratch.run("qemu-io", &["-r", "-f", "vpc", "-c", &last, "disk.vhd"]);
}

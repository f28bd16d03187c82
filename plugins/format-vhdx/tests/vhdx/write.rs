//! Images that the plugin lays out, judged by qemu-img and by the plugin's own reader.

use std::fs::File;
use std::os::unix::fs::FileExt;

use format_vhdx::Vhdx;
use format_vhdx::layout::Writer;
use witvirt_sdk::core::extent::ExtentKind;
use witvirt_sdk::core::format::Chunk;
use witvirt_sdk::disk::{ImageReader, ImageWriter};
use witvirt_testkit::{finish, have_qemu, islands, write_image};

use crate::Scratch;

/// qemu-img finds nothing wrong, sees the same bytes and size, and so does the reader.
fn verify(scratch: &Scratch, content: &[u8]) {
    let report = scratch.qemu_img("check -f vhdx disk.vhdx");
    assert!(report.contains("No errors were found"), "{report}");
    let compared = scratch.qemu_img("compare -f raw -F vhdx content.raw disk.vhdx");
    assert!(compared.contains("Images are identical"), "{compared}");
    let info: serde_json::Value =
        serde_json::from_str(&scratch.qemu_img("info --output=json -f vhdx disk.vhdx")).unwrap();
    assert_eq!(info["virtual-size"], content.len());
    let mut disk = scratch.open("disk.vhdx").unwrap();
    assert_eq!(disk.size(), content.len() as u64);
    assert!(disk.content().unwrap() == content, "the reader sees other bytes");
    assert_eq!(disk.image.check().unwrap(), []);
}

#[test]
fn many_sizes_and_blocks() {
    if !have_qemu() {
        return;
    }
    let scratch = Scratch::new();
    for size in [512, 1 << 20, (1 << 20) + 512, (37 << 20) + 3 * 512] {
        let content = islands(size);
        scratch.write("content.raw", &content);
        for options in
            ["{}", "{\"block-size\": 2097152}", "{\"block-size\": 33554432}", "{\"block-size\": 268435456}"]
        {
            let length = write_image::<Vhdx>(&scratch.path("disk.vhdx"), &content, options, None);
            assert_eq!(length % (1 << 20), 0);
            verify(&scratch, &content);
        }
    }
    let content = vec![0; 5 << 20];
    scratch.write("content.raw", &content);
    assert_eq!(
        write_image::<Vhdx>(&scratch.path("disk.vhdx"), &content, "{}", None),
        4 << 20,
        "nothing takes no place"
    );
    verify(&scratch, &content);
}

#[test]
fn guests_can_write_to_them() {
    if !have_qemu() {
        return;
    }
    let scratch = Scratch::new();
    let mut content = islands(21 << 20);
    for options in ["{}", "{\"block-size\": 8388608}"] {
        write_image::<Vhdx>(&scratch.path("disk.vhdx"), &content, options, None);
        for (start, length, byte) in [(1 << 20, 3 << 20, 7), (20 << 20, 4096, 9), (11 << 20, 512, 1)] {
            let command = format!("write -q -P {byte} {start} {length}");
            scratch.run("qemu-io", &["-f", "vhdx", "-c", &command, "disk.vhdx"]);
            content[start..start + length].fill(byte);
        }
        scratch.write("content.raw", &content);
        verify(&scratch, &content);
    }
}

#[test]
fn more_than_one_group_of_blocks() {
    if !have_qemu() {
        return;
    }
    // With blocks of 1 MiB a group has 4096 of them: the entry behind is that of a sector bitmap.
    let scratch = Scratch::new();
    let size = 20u64 << 30;
    let file = File::create(scratch.path("disk.vhdx")).unwrap();
    let mut writer = Writer::create("vhdx", size, "{}", None).unwrap();
    let mut expected = Vec::new();
    for (index, mib) in [0u64, 4095, 4096, 4097, 8191, 8192, 12288, 20479].into_iter().enumerate() {
        let start = mib << 20;
        let chunk = Chunk { start, length: 1 << 20, stored: 1 << 20, encoded: false };
        let offset = writer.allocate(&chunk).unwrap();
        file.write_all_at(&[index as u8 + 1; 1 << 20], offset).unwrap();
        expected.push((start, index as u8 + 1));
    }
    finish(&mut writer, &file);
    let report = scratch.qemu_img("check -f vhdx disk.vhdx");
    assert!(report.contains("No errors were found"), "{report}");
    let reads: Vec<String> =
        expected.iter().map(|(start, byte)| format!("read -q -P {byte} {start} 1M")).collect();
    let mut arguments = vec!["-r", "-f", "vhdx"];
    reads.iter().for_each(|read| arguments.extend(["-c", read]));
    arguments.push("disk.vhdx");
    let output = scratch.run("qemu-io", &arguments);
    assert!(!output.contains("Pattern verification failed"), "{output}");
    let mut disk = scratch.open("disk.vhdx").unwrap();
    let mut found = Vec::new();
    for extent in disk.map(100).unwrap() {
        if let ExtentKind::Data { offset, .. } = extent.kind {
            let file = File::open(scratch.path("disk.vhdx")).unwrap();
            for at in (0..extent.length).step_by(1 << 20) {
                let mut byte = [0];
                file.read_exact_at(&mut byte, offset + at).unwrap();
                found.push((extent.start + at, byte[0]));
            }
        }
    }
    assert_eq!(found, expected);
}

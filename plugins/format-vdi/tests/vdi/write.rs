//! Images that the plugin lays out, judged by qemu-img and by the plugin's own reader.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use format_vdi::image::Image;
use format_vdi::layout::Writer;
use witvirt_sdk::core::format::Chunk;
use witvirt_sdk::disk::{ImageReader, ImageWriter};

use crate::support::{FileSource, Scratch, content, disk_content, have_qemu};

/// Writes an image as a host does: chunks that are all zeros are left out.
fn write_image(path: &Path, content: &[u8], options: &str) {
    let mut writer = Writer::create("vdi", content.len() as u64, options, None).unwrap();
    let file = File::create(path).unwrap();
    let plan = writer.plan();
    assert_eq!(plan.codec, "");
    for (index, data) in content.chunks(plan.chunk_size as usize).enumerate() {
        if data.iter().all(|byte| *byte == 0) {
            continue;
        }
        let length = data.len() as u64;
        let start = index as u64 * u64::from(plan.chunk_size);
        let offset = writer.allocate(&Chunk { start, length, stored: length, encoded: false }).unwrap();
        assert!(offset.is_multiple_of(1 << 20), "aligned as reflinks want it");
        file.write_all_at(data, offset).unwrap();
    }
    loop {
        let ending = writer.finish().unwrap();
        for write in &ending.writes {
            file.write_all_at(&write.bytes, write.offset).unwrap();
        }
        if !ending.next {
            assert_eq!(ending.writes.last().unwrap().offset, 0, "the header is the last write");
            assert!(file.metadata().unwrap().len() <= ending.size);
            file.set_len(ending.size).unwrap();
            return;
        }
    }
}

/// qemu-img finds nothing wrong, sees the same bytes, and so does the reader.
fn verify(scratch: &Scratch, name: &str, expected: &[u8]) {
    let report = scratch.qemu_img(&format!("check -f vdi {name}"));
    assert!(report.contains("No errors were found"), "{report}");
    scratch.write("content.bin", expected);
    let compared = scratch.qemu_img(&format!("compare -f raw -F vdi content.bin {name}"));
    assert!(compared.contains("Images are identical"), "{compared}");
    let source = FileSource::open(&scratch.path(name));
    let mut image = Image::open(FileSource::open(&scratch.path(name))).unwrap();
    assert!(content(&mut image, &source, &[]).unwrap() == expected, "{name}: the reader sees other bytes");
    assert_eq!(image.check().unwrap(), []);
}

#[test]
fn both_kinds_in_many_sizes() {
    if !have_qemu() {
        return;
    }
    let scratch = Scratch::new();
    for size in [0, 512, 1 << 20, (1 << 20) + 512, (33 << 20) + 3 * 512] {
        let content = disk_content(size, 3 << 20);
        for options in ["{}", "{\"subformat\": \"static\"}"] {
            write_image(&scratch.path("disk.vdi"), &content, options);
            verify(&scratch, "disk.vdi", &content);
        }
    }
}

#[test]
fn guests_can_write_to_them() {
    if !have_qemu() {
        return;
    }
    let scratch = Scratch::new();
    let mut content = disk_content(20 << 20, 3 << 20);
    content[7 << 20..12 << 20].fill(0);
    for options in ["{}", "{\"subformat\": \"static\"}"] {
        write_image(&scratch.path("disk.vdi"), &content, options);
        scratch
            .qemu_io("disk.vdi", &["write -q -P 7 9M 300k".to_owned(), "write -q -P 9 100k 2M".to_owned()]);
        let mut written = content.clone();
        written[9 << 20..(9 << 20) + (300 << 10)].fill(7);
        written[100 << 10..(100 << 10) + (2 << 20)].fill(9);
        verify(&scratch, "disk.vdi", &written);
    }
}

#[test]
fn dynamic_images_are_as_small_as_their_data() {
    let scratch = Scratch::new();
    let mut content = vec![0; 64 << 20];
    content[40 << 20] = 1;
    write_image(&scratch.path("disk.vdi"), &content, "{}");
    assert_eq!(scratch.read("disk.vdi").len(), 2 << 20);
    write_image(&scratch.path("disk.vdi"), &content, "{\"subformat\": \"static\"}");
    assert_eq!(scratch.read("disk.vdi").len(), 65 << 20);
}

//! Images that the plugin lays out, judged by qemu-img and by the plugin's own reader.

use format_vdi::Vdi;
use format_vdi::image::Image;
use witvirt_sdk::disk::ImageReader;
use witvirt_testkit::{FileSource, content, have_qemu, stripes, write_image};

use crate::Scratch;

/// qemu-img finds nothing wrong, sees the same bytes, and so does the reader.
fn verify(scratch: &Scratch, name: &str, expected: &[u8]) {
    let report = scratch.qemu_img(&format!("check -f vdi {name}"));
    assert!(report.contains("No errors were found"), "{report}");
    scratch.write("content.bin", expected);
    let compared = scratch.qemu_img(&format!("compare -f raw -F vdi content.bin {name}"));
    assert!(compared.contains("Images are identical"), "{compared}");
    let source = FileSource::open(&scratch.path(name));
    let mut image = Image::open(FileSource::open(&scratch.path(name))).unwrap();
    assert!(content(&mut image, &[&source], &[]).unwrap() == expected, "{name}: the reader sees other bytes");
    assert_eq!(image.check().unwrap(), []);
}

#[test]
fn both_kinds_in_many_sizes() {
    if !have_qemu() {
        return;
    }
    let scratch = Scratch::new();
    for size in [0, 512, 1 << 20, (1 << 20) + 512, (33 << 20) + 3 * 512] {
        let content = stripes(size, 3 << 20);
        for options in ["{}", "{\"subformat\": \"static\"}"] {
            write_image::<Vdi>(&scratch.path("disk.vdi"), &content, options, None);
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
    let mut content = stripes(20 << 20, 3 << 20);
    content[7 << 20..12 << 20].fill(0);
    for options in ["{}", "{\"subformat\": \"static\"}"] {
        write_image::<Vdi>(&scratch.path("disk.vdi"), &content, options, None);
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
    write_image::<Vdi>(&scratch.path("disk.vdi"), &content, "{}", None);
    assert_eq!(scratch.read("disk.vdi").len(), 2 << 20);
    write_image::<Vdi>(&scratch.path("disk.vdi"), &content, "{\"subformat\": \"static\"}", None);
    assert_eq!(scratch.read("disk.vdi").len(), 65 << 20);
}

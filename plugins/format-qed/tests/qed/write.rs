//! Images that the plugin lays out, judged by qemu-img and by the plugin's own reader.

use format_qed::Qed;
use format_qed::image::Image;
use witvirt_sdk::disk::ImageReader;
use witvirt_testkit::{FileSource, content, have_qemu, stripes, write_image};

use crate::Scratch;

const SIZE: usize = (9 << 20) + 3 * 512;

/// qemu-img finds nothing wrong, sees the same bytes, and so does the reader.
fn verify(scratch: &Scratch, name: &str, expected: &[u8], below: &[u8]) {
    let report = scratch.qemu_img(&format!("check -f qed {name}"));
    assert!(report.contains("No errors were found"), "{report}");
    scratch.write("content.bin", expected);
    let compared = scratch.qemu_img(&format!("compare -f raw -F qed content.bin {name}"));
    assert!(compared.contains("Images are identical"), "{compared}");
    let source = FileSource::open(&scratch.path(name));
    let mut image = Image::open(FileSource::open(&scratch.path(name))).unwrap();
    assert!(
        content(&mut image, &[&source], below).unwrap() == expected,
        "{name}: the reader sees other bytes"
    );
    assert_eq!(image.check().unwrap(), []);
}

#[test]
fn every_cluster_and_table_size() {
    if !have_qemu() {
        return;
    }
    let scratch = Scratch::new();
    let content = stripes(SIZE, 300 << 10);
    for (bits, table) in [(12, 2), (12, 16), (13, 2), (15, 8), (16, 4), (18, 2), (21, 2), (22, 2)] {
        let options = format!("{{\"cluster-size\": {}, \"table-size\": {table}}}", 1 << bits);
        write_image::<Qed>(&scratch.path("disk.qed"), &content, &options, None);
        verify(&scratch, "disk.qed", &content, &[]);
    }
}

#[test]
fn tiny_disks() {
    if !have_qemu() {
        return;
    }
    let scratch = Scratch::new();
    for size in [512, 65536, 65536 + 512] {
        let content = vec![5; size];
        write_image::<Qed>(&scratch.path("disk.qed"), &content, "{}", None);
        verify(&scratch, "disk.qed", &content, &[]);
    }
}

#[test]
fn overlays_open_over_their_backing_image() {
    if !have_qemu() {
        return;
    }
    let scratch = Scratch::new();
    let below = stripes(SIZE, 300 << 10);
    scratch.write("base.raw", &below);
    let mut top = vec![0; SIZE];
    top[3 << 20..4 << 20].fill(3);
    let mut expected = below.clone();
    expected[3 << 20..4 << 20].fill(3);
    write_image::<Qed>(&scratch.path("over.qed"), &top, "{}", Some(("base.raw", "raw")));
    verify(&scratch, "over.qed", &expected, &below);
    let info = scratch.qemu_img("info over.qed");
    assert!(info.contains("backing file format: raw"), "{info}");
    // Guests can write to it.
    scratch.qemu_io("over.qed", &["write -q -P 7 1M 300k".to_owned(), "write -q -z 4M 1M".to_owned()]);
    expected[1 << 20..(1 << 20) + (300 << 10)].fill(7);
    expected[4 << 20..5 << 20].fill(0);
    verify(&scratch, "over.qed", &expected, &below);
    // Of another format, nothing is recorded.
    scratch.qemu_img("convert -f raw -O qcow2 base.raw base.qcow2");
    write_image::<Qed>(&scratch.path("other.qed"), &vec![0; SIZE], "{}", Some(("base.qcow2", "qcow2")));
    let image = Image::open(FileSource::open(&scratch.path("other.qed"))).unwrap();
    assert_eq!(image.references()[0].format_hint, None);
}

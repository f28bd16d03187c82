//! Images that QEMU wrote.

use format_vdi::Vdi;
use format_vdi::image::Image;
use witvirt_sdk::core::extent::ExtentKind;
use witvirt_sdk::disk::ImageReader;
use witvirt_testkit::{
    FileSource, content, data, file_content, have, have_qemu, map, sha256, stripes, table,
};

use crate::Scratch;

const SIZE: usize = (9 << 20) + 3 * 512;

#[test]
fn what_qemu_img_writes() {
    if !have_qemu() {
        return;
    }
    let scratch = Scratch::new();
    let bytes = stripes(SIZE, 3 << 20);
    scratch.write("base.raw", &bytes);
    for options in ["", "-o static=on", "-S 0"] {
        scratch.qemu_img(&format!("convert -f raw -O vdi {options} base.raw disk.vdi"));
        let mut image = Image::open(FileSource::open(&scratch.path("disk.vdi"))).unwrap();
        let read = content(&mut image, &[&FileSource::open(&scratch.path("disk.vdi"))], &[]).unwrap();
        assert!(read == bytes, "{options}: other bytes");
        assert_eq!(image.check().unwrap(), []);
        let static_image = image.header().kind.name() == "static";
        assert_eq!(static_image, options.contains("static"));
    }
}

#[test]
fn random_writes_by_qemu() {
    if !have_qemu() {
        return;
    }
    let scratch = Scratch::new();
    scratch.qemu_img("create -f vdi disk.vdi 20M");
    let commands: Vec<String> = [17u64, 3, 11, 0, 19, 4, 3, 12]
        .iter()
        .enumerate()
        .map(|(index, block)| format!("write -q -P {} {}k 700k", index + 1, block * 1024 + 200))
        .collect();
    scratch.qemu_io("disk.vdi", &commands);
    let expected = scratch.guest_content("disk.vdi");
    assert!(file_content::<Vdi>(&scratch.path("disk.vdi")).unwrap() == expected);
    let mut image = Image::open(FileSource::open(&scratch.path("disk.vdi"))).unwrap();
    let stored = map(&mut image, 3).unwrap();
    let data = stored.iter().filter(|extent| matches!(extent.kind, ExtentKind::Data { .. }));
    assert_eq!(data.map(|extent| extent.length).sum::<u64>(), 7 << 20);
}

#[test]
fn the_matrix_of_what_qemu_img_can_write() {
    let (Some(script), Some(expected)) = (data("make.sh"), data("generated-expected.tsv")) else { return };
    if !have_qemu() || !have("bash", "bash") || !have("python3", "python3") {
        return;
    }
    let scratch = Scratch::new();
    scratch.matrix(&script, "# ---- vdi", "# ---- vhd");
    let mut seen = 0;
    for row in table(&expected) {
        let path = scratch.path("out").join(&row["file"]);
        if row["format"] != "vdi" || !path.exists() {
            continue;
        }
        let content = file_content::<Vdi>(&path).unwrap();
        assert_eq!(content.len().to_string(), row["virtual_size"], "{}", row["file"]);
        assert_eq!(sha256(&content), row["content_sha256"], "{}", row["file"]);
        seen += 1;
    }
    assert!(seen >= 2, "{seen} images");
}

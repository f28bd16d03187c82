//! Images that QEMU wrote.

use format_qed::Qed;
use format_qed::image::{BACKING, Image};
use witvirt_sdk::core::extent::Reference;
use witvirt_sdk::disk::ImageReader;
use witvirt_testkit::{FileSource, content, data, file_content, have, have_qemu, sha256, stripes, table};

use crate::Scratch;

const SIZE: usize = (9 << 20) + 3 * 512;

#[test]
fn what_qemu_img_writes() {
    if !have_qemu() {
        return;
    }
    let scratch = Scratch::new();
    let bytes = stripes(SIZE, 300 << 10);
    scratch.write("base.raw", &bytes);
    for options in [
        "",
        "-S 0",
        "-o cluster_size=4k,table_size=2",
        "-o cluster_size=2M,table_size=8",
        "-o cluster_size=1M,table_size=16",
    ] {
        scratch.qemu_img(&format!("convert -f raw -O qed {options} base.raw disk.qed"));
        let mut image = Image::open(FileSource::open(&scratch.path("disk.qed"))).unwrap();
        let read = content(&mut image, &[&FileSource::open(&scratch.path("disk.qed"))], &[]).unwrap();
        assert!(read == bytes, "{options}: other bytes");
        assert_eq!(image.check().unwrap(), [], "{options}");
    }
}

#[test]
fn writes_zeros_and_a_backing_image() {
    if !have_qemu() {
        return;
    }
    let scratch = Scratch::new();
    let below = stripes(SIZE, 300 << 10);
    scratch.write("base.raw", &below);
    scratch.qemu_img("convert -f raw -O qcow2 base.raw base.qcow2");
    for (format, hint) in [("raw", Some("raw")), ("qcow2", None)] {
        // Longer than what it lies over.
        let size = SIZE + (1 << 20);
        scratch.qemu_img(&format!("create -f qed -b base.{format} -F {format} over.qed {size}"));
        let commands = ["write -q -P 7 1M 300k", "write -q -P 9 5000k 1k", "write -q -z 4M 1M"];
        scratch.qemu_io("over.qed", &commands.map(str::to_owned));
        let expected = scratch.guest_content("over.qed");
        let mut image = Image::open(FileSource::open(&scratch.path("over.qed"))).unwrap();
        assert_eq!(
            image.references(),
            [Reference {
                id: BACKING,
                role: "backing".to_owned(),
                name: format!("base.{format}"),
                format_hint: hint.map(str::to_owned),
                required: true,
            }]
        );
        let source = FileSource::open(&scratch.path("over.qed"));
        assert!(content(&mut image, &[&source], &below).unwrap() == expected, "{format}");
        assert!(expected[(1 << 20) + 5] == 7 && expected[SIZE..].iter().all(|byte| *byte == 0));
        assert_eq!(image.check().unwrap(), []);
    }
}

#[test]
fn the_matrix_of_what_qemu_img_can_write() {
    let (Some(script), Some(expected)) = (data("make.sh"), data("generated-expected.tsv")) else { return };
    if !have_qemu() || !have("bash", "bash") || !have("python3", "python3") {
        return;
    }
    let scratch = Scratch::new();
    scratch.matrix(&script, "# ---- qcow1, qed", "# ---- vdi");
    let mut seen = 0;
    for row in table(&expected) {
        let path = scratch.path("out").join(&row["file"]);
        if row["format"] != "qed" || !path.exists() {
            continue;
        }
        let content = if row["deps"].is_empty() {
            file_content::<Qed>(&path).unwrap()
        } else {
            let below = scratch.read(&format!("out/{}", row["deps"]));
            let mut image = Image::open(FileSource::open(&path)).unwrap();
            content(&mut image, &[&FileSource::open(&path)], &below).unwrap()
        };
        assert_eq!(content.len().to_string(), row["virtual_size"], "{}", row["file"]);
        assert_eq!(sha256(&content), row["content_sha256"], "{}", row["file"]);
        seen += 1;
    }
    assert!(seen >= 5, "{seen} images");
}

//! Image files that QEMU and Parallels wrote.

use std::io::Read;

use format_parallels::Parallels;
use format_parallels::image::Image;
use witvirt_sdk::core::extent::ExtentKind;
use witvirt_sdk::disk::ImageReader;
use witvirt_testkit::{FileSource, data, file_content, have, have_qemu, map, sha256, stripes, table};

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
    for options in ["", "-o cluster_size=64k", "-S 0"] {
        scratch.qemu_img(&format!("convert -f raw -O parallels {options} base.raw disk.hds"));
        // QEMU gives the disk a whole number of tracks.
        let read = file_content::<Parallels>(&scratch.path("disk.hds")).unwrap();
        assert!(read[..SIZE] == bytes && read == scratch.guest_content("disk.hds"), "{options}: other bytes");
        let mut image = Image::open(FileSource::open(&scratch.path("disk.hds"))).unwrap();
        assert_eq!(image.check().unwrap(), [], "{options}");
    }
}

#[test]
fn random_writes_by_qemu() {
    if !have_qemu() {
        return;
    }
    let scratch = Scratch::new();
    scratch.qemu_img("create -f parallels disk.hds 20M");
    let commands: Vec<String> = [17u64, 3, 11, 0, 19, 4, 3, 12]
        .iter()
        .enumerate()
        .map(|(index, block)| format!("write -q -P {} {}k 700k", index + 1, block * 1024 + 200))
        .collect();
    scratch.qemu_io("disk.hds", &commands);
    assert!(
        file_content::<Parallels>(&scratch.path("disk.hds")).unwrap() == scratch.guest_content("disk.hds")
    );
}

#[test]
fn images_of_others() {
    let Some(expected) = data("expected.tsv") else { return };
    let scratch = Scratch::new();
    let mut seen = 0;
    for row in table(&expected) {
        let name = &row["path"];
        if !name.contains("parallels") {
            continue;
        }
        let mut bytes = Vec::new();
        let packed = std::fs::File::open(data(name).unwrap()).unwrap();
        bzip2::read::BzDecoder::new(packed).read_to_end(&mut bytes).unwrap();
        scratch.write("disk.hds", &bytes);
        let mut image = Image::open(FileSource::open(&scratch.path("disk.hds"))).unwrap();
        assert_eq!(image.check().unwrap(), [], "{name}");
        if image.geometry().virtual_size > 1 << 30 {
            // 64 GiB without data: what matters is that nothing of it is stored.
            let stored = map(&mut image, 1000).unwrap();
            assert!(stored.iter().all(|extent| extent.kind == ExtentKind::Unallocated), "{name}");
            assert!(image.facts().iter().any(|fact| fact.0 == "format-extension"));
        } else {
            let content = file_content::<Parallels>(&scratch.path("disk.hds")).unwrap();
            assert_eq!(sha256(&content), row["true_content_sha256"], "{name}");
        }
        seen += 1;
    }
    assert!(seen >= 3, "{seen} images");
}

#[test]
fn the_matrix_of_what_qemu_img_can_write() {
    let (Some(script), Some(expected)) = (data("make.sh"), data("generated-expected.tsv")) else { return };
    if !have_qemu() || !have("bash", "bash") || !have("python3", "python3") {
        return;
    }
    let scratch = Scratch::new();
    scratch.matrix(&script, "# ---- parallels", "rm -f .cmds");
    let mut seen = 0;
    for row in table(&expected) {
        let path = scratch.path("out").join(&row["file"]);
        if row["format"] != "parallels" || !path.exists() {
            continue;
        }
        let content = file_content::<Parallels>(&path).unwrap();
        assert_eq!(content.len().to_string(), row["virtual_size"], "{}", row["file"]);
        assert_eq!(sha256(&content), row["content_sha256"], "{}", row["file"]);
        seen += 1;
    }
    assert!(seen >= 2, "{seen} images");
}

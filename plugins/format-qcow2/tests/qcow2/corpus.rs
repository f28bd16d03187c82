//! Images that others wrote, in a folder beside the repository. Skipped where it is absent.

use format_qcow2::Qcow2;
use witvirt_sdk::disk::ImageReader;
use witvirt_testkit::{Disk, data, have, have_qemu, sha256, table, unpacked};

use crate::Scratch;

#[test]
fn images_of_others() {
    let Some(expected) = data("expected.tsv") else { return };
    let scratch = Scratch::new();
    let mut seen = 0;
    for row in table(&expected) {
        if !row["path"].contains("qcow") {
            continue;
        }
        let bytes = unpacked(&data(&row["path"]).unwrap());
        scratch.write("disk.qcow2", &bytes);
        let image = format_qcow2::image::Image::open(bytes);
        let name = &row["path"];
        if !row["true_content_sha256"].is_empty() {
            let mut disk = scratch.open("disk.qcow2").unwrap();
            assert_eq!(sha256(&disk.content().unwrap()), row["true_content_sha256"], "{name}");
        } else if row["notes"].starts_with("hostile") {
            // Whatever its name says, it is a VMDK.
            let error = image.map(drop).unwrap_err();
            assert_eq!(error.message, "not a qcow2 image: the signature is missing", "{name}");
        } else {
            // What its note says is missing is a reference, for the host to resolve.
            let references = image.unwrap().references();
            assert_eq!(format!("backing={}", references[0].name), row["notes"], "{name}");
        }
        seen += 1;
    }
    assert!(seen >= 4, "{seen} images");
}

#[test]
fn the_matrix_of_what_qemu_img_can_write() {
    let (Some(script), Some(expected)) = (data("make.sh"), data("generated-expected.tsv")) else { return };
    if !have_qemu() || !have("bash", "bash") || !have("python3", "python3") {
        return;
    }
    let scratch = Scratch::new();
    // The script makes 85 images in every format; only its qcow2 part is run.
    let script = std::fs::read_to_string(script).unwrap();
    let (qcow2, _) = script.split_once("# ---- qcow1").unwrap();
    let (head, tail) = qcow2.split_once("# ---- qcow2").unwrap();
    scratch.write("make.sh", format!("{head}# ---- qcow2{tail}").as_bytes());
    scratch.run("bash", &["make.sh", "out"]);
    let (mut read, mut refused) = (0, 0);
    for row in table(&expected) {
        let name = &row["file"];
        let path = scratch.path("out").join(name);
        if row["format"] != "qcow2" || name.contains('#') || !path.exists() {
            continue;
        }
        let disk = Disk::<Qcow2>::open(&path);
        if !row["secret"].is_empty() {
            let error = disk.map(drop).unwrap_err();
            let method = if name.contains("luks") { "LUKS" } else { "AES" };
            assert!(error.message.contains(method), "{name}: {error:?}");
            refused += 1;
            continue;
        }
        let mut disk = disk.unwrap_or_else(|error| panic!("{name}: {error:?}"));
        assert_eq!(disk.size().to_string(), row["virtual_size"], "{name}");
        // One is 7 TiB: its map is looked at elsewhere.
        if !row["content_sha256"].is_empty() {
            assert_eq!(sha256(&disk.content().unwrap()), row["content_sha256"], "{name}");
        }
        read += 1;
    }
    eprintln!("{read} images read, {refused} refused");
    assert!(read >= 40 && refused >= 1, "{read} read, {refused} refused");
}

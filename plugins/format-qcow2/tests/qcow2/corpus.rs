//! Images that others wrote, in a folder beside the repository. Skipped where it is absent.

use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use witvirt_sdk::disk::ImageReader;

use crate::support::{Disk, Scratch, have, have_qemu};

fn data(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/images").join(name);
    if !path.exists() {
        eprintln!("skipped: no {}", path.display());
        return None;
    }
    Some(path)
}

/// The rows of a table with a header line.
pub fn table(path: &Path) -> Vec<HashMap<String, String>> {
    let text = std::fs::read_to_string(path).unwrap();
    let mut lines = text.lines().map(|line| line.split('\t').map(str::to_owned).collect::<Vec<_>>());
    let names = lines.next().unwrap();
    lines.map(|line| names.iter().cloned().zip(line).collect()).collect()
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn images_of_others() {
    let Some(expected) = data("expected.tsv") else { return };
    let scratch = Scratch::new();
    let mut seen = 0;
    for row in table(&expected) {
        if !row["path"].contains("qcow") {
            continue;
        }
        let path = data(&row["path"]).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let bytes = if row["path"].ends_with(".zst") { unzstd(&bytes) } else { bytes };
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

fn unzstd(bytes: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::new();
    zstd::stream::read::Decoder::new(bytes).unwrap().read_to_end(&mut decoded).unwrap();
    decoded
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
        let disk = Disk::open(&path);
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

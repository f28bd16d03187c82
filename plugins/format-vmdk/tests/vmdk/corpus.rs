//! Images that others wrote, in a folder beside the repository. Skipped where it is absent.

use std::collections::HashMap;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use format_vmdk::Vmdk;
use witvirt_sdk::disk::ImageReader;
use witvirt_testkit::{Disk, data, have, have_qemu, sha256, table, unpacked};

use crate::Scratch;

/// The files of a folder, unpacked, under their own names.
fn unpack(scratch: &Scratch, rows: &[HashMap<String, String>]) {
    for row in rows {
        let path = data(&row["path"]).unwrap();
        let name = path.file_name().unwrap().to_str().unwrap();
        let packed = name.strip_suffix(".zst").or(name.strip_suffix(".bz2"));
        scratch.write(packed.unwrap_or(name), &unpacked(&path));
    }
}

#[test]
fn images_of_others() {
    let Some(expected) = data("expected.tsv") else { return };
    let scratch = Scratch::new();
    let rows: Vec<_> = table(&expected).into_iter().filter(|row| row["path"].contains("vmdk")).collect();
    unpack(&scratch, &rows);
    let (mut read, mut refused) = (0, 0);
    for row in rows {
        let name = Path::new(&row["path"]).file_name().unwrap().to_str().unwrap();
        let name = name.trim_end_matches(".zst").trim_end_matches(".bz2");
        // The flat extent is raw.
        if row["true_content_sha256"].is_empty() || row["probed"] == "raw" {
            assert!(Disk::<Vmdk>::open(&scratch.path(name)).is_err(), "{name}");
            refused += 1;
            continue;
        }
        let mut disk = scratch.open(name).unwrap_or_else(|error| panic!("{name}: {error:?}"));
        assert_eq!(disk.size().to_string(), row["virtual_size"], "{name}");
        assert_eq!(disk.image.check().unwrap(), [], "{name}");
        if disk.size() > 1 << 30 {
            // 16 GiB, of which to make a digest takes longer than all other tests.
            if have_qemu() {
                compare_stored(&scratch, name, &mut disk);
            }
        } else {
            assert_eq!(sha256(&disk.content().unwrap()), row["true_content_sha256"], "{name}");
        }
        read += 1;
    }
    eprintln!("{read} images read, {refused} refused");
    assert!(read >= 6 && refused >= 5, "{read} read, {refused} refused");
}

/// A large image that is mostly holes: what is stored is what QEMU reads there, and QEMU finds nothing elsewhere.
fn compare_stored(scratch: &Scratch, name: &str, disk: &mut Disk<Vmdk>) {
    scratch.qemu_img(&format!("convert -f vmdk -O raw {name} large.raw"));
    let raw = std::fs::File::open(scratch.path("large.raw")).unwrap();
    let mut stored = 0;
    disk.stored(|start, content| {
        let mut expected = vec![0; content.len()];
        raw.read_exact_at(&mut expected, start).unwrap();
        assert!(content == expected, "{name} at {start}");
        stored += content.len() as u64;
    })
    .unwrap();
    assert!(stored > 0 && raw.metadata().unwrap().blocks() * 512 <= stored);
}

#[test]
fn the_matrix_of_what_qemu_img_can_write() {
    let (Some(script), Some(expected)) = (data("make.sh"), data("generated-expected.tsv")) else { return };
    if !have_qemu() || !have("bash", "bash") || !have("python3", "python3") {
        return;
    }
    let scratch = Scratch::new();
    // The script makes 85 images in every format; only its VMDK part is run.
    let script = std::fs::read_to_string(script).unwrap();
    let (head, _) = script.split_once("# ---- qcow2").unwrap();
    let (_, tail) = script.split_once("# ---- vmdk").unwrap();
    let (vmdk, _) = tail.split_once("# ----").unwrap();
    // One is 5 GiB, of which to make a digest takes a minute; there is a test of its own for split images.
    let vmdk: String = vmdk.split_inclusive('\n').filter(|line| !line.contains("vmdk-multi")).collect();
    // The random writes are those of a qcow2 image.
    let (_, random) = script.split_once("$QI create -q -f qcow2 q2-scatter.qcow2 $BSZ; ").unwrap();
    let (random, _) = random.split_once("\nP\n").unwrap();
    scratch.write("make.sh", format!("{head}{random}\nP\n{vmdk}").as_bytes());
    scratch.run("bash", &["make.sh", "out"]);
    let mut read = 0;
    for row in table(&expected) {
        let name = &row["file"];
        let path = scratch.path("out").join(name);
        if row["format"] != "vmdk" || !path.exists() {
            continue;
        }
        let mut disk = Disk::<Vmdk>::open(&path).unwrap_or_else(|error| panic!("{name}: {error:?}"));
        assert_eq!(disk.size().to_string(), row["virtual_size"], "{name}");
        assert_eq!(sha256(&disk.content().unwrap()), row["content_sha256"], "{name}");
        read += 1;
    }
    assert!(read >= 9, "{read} read");
}

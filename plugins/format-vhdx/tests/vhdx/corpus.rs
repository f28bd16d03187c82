//! Images that others wrote, in a folder beside the repository. Skipped where it is absent.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use witvirt_sdk::disk::ImageReader;

use crate::support::{Scratch, data, have_qemu, sha256};

/// The rows of a table with a header line.
pub fn table(path: &Path) -> Vec<HashMap<String, String>> {
    let text = std::fs::read_to_string(path).unwrap();
    let mut lines = text.lines().map(|line| line.split('\t').map(str::to_owned).collect::<Vec<_>>());
    let names = lines.next().unwrap();
    lines.map(|line| names.iter().cloned().zip(line).collect()).collect()
}

/// Unpacks with holes.
fn unpack(name: &str, to: &Path) {
    let packed = File::open(data(name).unwrap()).unwrap();
    let mut reader: Box<dyn Read> = match name.ends_with(".gz") {
        true => Box::new(flate2::read::MultiGzDecoder::new(packed)),
        false => Box::new(bzip2::read::MultiBzDecoder::new(packed)),
    };
    let mut file = File::create(to).unwrap();
    let mut buffer = vec![0; 1 << 20];
    let mut size = 0;
    loop {
        let length = reader.read(&mut buffer).unwrap();
        if length == 0 {
            break;
        }
        if buffer[..length].iter().any(|byte| *byte != 0) {
            std::os::unix::fs::FileExt::write_all_at(&file, &buffer[..length], size).unwrap();
        }
        size += length as u64;
    }
    file.set_len(size).unwrap();
    file.flush().unwrap();
}

fn each(mut check: impl FnMut(&Scratch, &HashMap<String, String>)) -> usize {
    let Some(expected) = data("expected.tsv") else { return 0 };
    let scratch = Scratch::new();
    let mut seen = 0;
    for row in table(&expected).iter().filter(|row| row["path"].contains(".vhdx.")) {
        unpack(&row["path"], &scratch.path("disk.vhdx"));
        check(&scratch, row);
        seen += 1;
    }
    assert!(seen >= 7);
    seen
}

/// What the disks of more than 256 MiB hold, by [`crate::support::Disk::fingerprint`]: as it was when
/// [`the_digests_of_others`] found the digests of all their bytes as expected, for it takes minutes to compute those.
const FINGERPRINTS: [(&str, &str); 6] = [
    ("discutils/btrfs.vhdx.gz", "1b38c651cd0554d64ee155145bc129878155f9e4d8c21d75ee3c01c132765fb9"),
    ("discutils/swap.vhdx.gz", "b005982782384e9d90f3133f7494e5ee6b2e464197b941ebf4730201d7b3fe48"),
    ("discutils/vhdx-log-replay.vhdx.gz", "029ca8025fb1140206ce04b6ddb29724fd9adac25416d4d3d7069cb9c0fb1575"),
    ("discutils/xfs.vhdx.gz", "9643ac43519f6660f9f733e21c70505c8afb1be1d43e4373c94db16115cdd29a"),
    (
        "qemu-iotests/iotest-dirtylog-10G-4M.vhdx.bz2",
        "41337aff71ae20062a4d4ae4a9c566abcf93e14d566bdd89073199ffbc326ae4",
    ),
    (
        "qemu-iotests/iotest-dynamic-1G.vhdx.bz2",
        "ed6198e7585862b32aa1cbe223316d5cd5b4106e17c6ca3aa8f703e6ee44e917",
    ),
];

#[test]
fn images_of_others() {
    each(|scratch, row| {
        let name = &row["path"];
        let mut disk = scratch.open("disk.vhdx").unwrap_or_else(|error| panic!("{name}: {error:?}"));
        let dirty = row["notes"].contains("LOG REPLAY");
        let findings = disk.image.check().unwrap();
        assert_eq!(findings.iter().any(|finding| finding.code == "log"), dirty, "{name}: {findings:?}");
        assert!(findings.iter().all(|finding| finding.severity > 1), "{name}: {findings:?}");
        if !dirty {
            assert_eq!(disk.size().to_string(), row["virtual_size"], "{name}");
        }
        match FINGERPRINTS.iter().find(|(known, _)| known == name) {
            Some((_, expected)) => assert_eq!(disk.fingerprint().unwrap(), *expected, "{name}"),
            None => {
                disk.write_raw(&scratch.path("ours.raw")).unwrap();
                assert_eq!(sha256(&scratch.path("ours.raw")), row["true_content_sha256"], "{name}");
            }
        }
    });
}

#[test]
#[ignore = "reads 30 GiB"]
fn the_digests_of_others() {
    each(|scratch, row| {
        let mut disk = scratch.open("disk.vhdx").unwrap();
        disk.write_raw(&scratch.path("ours.raw")).unwrap();
        assert_eq!(sha256(&scratch.path("ours.raw")), row["true_content_sha256"], "{}", row["path"]);
        eprintln!("(\"{}\", \"{}\"),", row["path"], disk.fingerprint().unwrap());
    });
}

/// qemu-img replays the log of a copy; then it sees what the plugin sees of the original.
#[test]
#[ignore = "reads 20 GiB"]
fn logs_that_qemu_img_replays() {
    if !have_qemu() {
        return;
    }
    each(|scratch, row| {
        let name = &row["path"];
        if !row["notes"].contains("LOG REPLAY") {
            return;
        }
        scratch.open("disk.vhdx").unwrap().write_raw(&scratch.path("ours.raw")).unwrap();
        scratch.qemu_img("check -q -r all -f vhdx disk.vhdx");
        let compared = scratch.qemu_img("compare -f raw -F vhdx ours.raw disk.vhdx");
        assert!(compared.contains("Images are identical"), "{name}: {compared}");
        assert!(!compared.contains("mismatch"), "{name}: of the same size: {compared}");
    });
}

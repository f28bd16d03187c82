//! Images that others wrote, in a folder beside the repository. Skipped where it is absent.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use format_vhdx::Vhdx;
use sha2::{Digest, Sha256};
use witvirt_sdk::disk::ImageReader;
use witvirt_testkit::{Disk, data, have_qemu, hex, sha256_of, table, unpack};

use crate::Scratch;

const MIB: usize = 1 << 20;

/// Writes what a guest sees to a file, with holes; for disks that are too large to be held in memory.
fn write_raw(disk: &mut Disk<Vhdx>, path: &Path) {
    let raw = File::create(path).unwrap();
    raw.set_len(disk.size()).unwrap();
    disk.stored(|start, bytes| {
        if bytes.iter().any(|byte| *byte != 0) {
            raw.write_all_at(bytes, start).unwrap();
        }
    })
    .unwrap();
}

/// A digest of each MiB of the disk that is not all zeros, with its number: what a large disk holds, in short time.
fn fingerprint(disk: &mut Disk<Vhdx>) -> String {
    let (mut digest, mut buffer, mut current) = (Sha256::new(), vec![0; MIB], 0);
    disk.stored(|start, mut bytes| {
        let mut at = start as usize;
        while !bytes.is_empty() {
            if at / MIB != current {
                take(&mut digest, current, &mut buffer);
                current = at / MIB;
            }
            let (piece, rest) = bytes.split_at(bytes.len().min(MIB - at % MIB));
            buffer[at % MIB..at % MIB + piece.len()].copy_from_slice(piece);
            at += piece.len();
            bytes = rest;
        }
    })
    .unwrap();
    take(&mut digest, current, &mut buffer);
    hex(&digest.finalize())
}

/// Adds a MiB to a digest, unless it is all zeros, and empties it.
fn take(digest: &mut Sha256, number: usize, bytes: &mut [u8]) {
    if bytes.iter().any(|byte| *byte != 0) {
        digest.update((number as u64).to_le_bytes());
        digest.update(&*bytes);
        bytes.fill(0);
    }
}

fn each(mut check: impl FnMut(&Scratch, &HashMap<String, String>)) -> usize {
    let Some(expected) = data("expected.tsv") else { return 0 };
    let scratch = Scratch::new();
    let mut seen = 0;
    for row in table(&expected).iter().filter(|row| row["path"].contains(".vhdx.")) {
        unpack(&data(&row["path"]).unwrap(), &scratch.path("disk.vhdx"));
        check(&scratch, row);
        seen += 1;
    }
    assert!(seen >= 7);
    seen
}

/// What the disks of more than 256 MiB hold, by [`fingerprint`]: as it was when
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
            Some((_, expected)) => assert_eq!(fingerprint(&mut disk), *expected, "{name}"),
            None => {
                write_raw(&mut disk, &scratch.path("ours.raw"));
                assert_eq!(sha256_of(&scratch.path("ours.raw")), row["true_content_sha256"], "{name}");
            }
        }
    });
}

#[test]
#[ignore = "reads 30 GiB"]
fn the_digests_of_others() {
    each(|scratch, row| {
        let mut disk = scratch.open("disk.vhdx").unwrap();
        write_raw(&mut disk, &scratch.path("ours.raw"));
        assert_eq!(sha256_of(&scratch.path("ours.raw")), row["true_content_sha256"], "{}", row["path"]);
        eprintln!("(\"{}\", \"{}\"),", row["path"], fingerprint(&mut disk));
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
        write_raw(&mut scratch.open("disk.vhdx").unwrap(), &scratch.path("ours.raw"));
        scratch.qemu_img("check -q -r all -f vhdx disk.vhdx");
        let compared = scratch.qemu_img("compare -f raw -F vhdx ours.raw disk.vhdx");
        assert!(compared.contains("Images are identical"), "{name}: {compared}");
        assert!(!compared.contains("mismatch"), "{name}: of the same size: {compared}");
    });
}

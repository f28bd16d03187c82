//! Broken images: what the check finds, next to what qemu-img finds.

use std::os::unix::fs::FileExt;

use serde::Deserialize;
use witvirt_sdk::core::extent::Finding;
use witvirt_sdk::disk::ImageReader;
use witvirt_testkit::{have_qemu, like_real};

use crate::Scratch;

const SIZE: usize = 2 << 20;

/// `qemu-img check --output=json`; what is absent is 0.
#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
struct Report {
    corruptions: u64,
    leaks: u64,
}

fn qemu_check(scratch: &Scratch) -> Report {
    // qemu-img exits with 2 or 3 when it finds something, which is what is wanted here.
    let output = std::process::Command::new("qemu-img")
        .args(["check", "--output=json", "-f", "qcow2"])
        .arg(scratch.path("disk.qcow2"))
        .output()
        .unwrap();
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)))
}

/// A sound image of 64 KiB clusters: header, refcount table and block, L1 table at 0x30000, L2 table at 0x40000, data.
fn sound(scratch: &Scratch) {
    scratch.write("base.raw", &vec![7; SIZE]);
    scratch.qemu_img("convert -f raw -O qcow2 base.raw disk.qcow2");
    assert_eq!(qemu_check(scratch), Report::default());
    assert_eq!(findings(scratch), []);
}

fn findings(scratch: &Scratch) -> Vec<Finding> {
    scratch.open("disk.qcow2").unwrap().image.check().unwrap()
}

fn patch(scratch: &Scratch, offset: u64, bytes: &[u8]) {
    let file = std::fs::File::options().write(true).open(scratch.path("disk.qcow2")).unwrap();
    file.write_all_at(bytes, offset).unwrap();
}

fn l2_entry(scratch: &Scratch, index: u64) -> u64 {
    let file = scratch.read("disk.qcow2");
    let at = 0x40000 + 8 * index as usize;
    u64::from_be_bytes(file[at..at + 8].try_into().unwrap())
}

fn codes(findings: &[Finding]) -> Vec<(&str, u8, Option<u64>)> {
    findings.iter().map(|finding| (finding.code.as_str(), finding.severity, finding.offset)).collect()
}

#[test]
fn leaks() {
    if !have_qemu() {
        return;
    }
    let scratch = Scratch::new();
    sound(&scratch);
    let host = l2_entry(&scratch, 3) & 0x00ff_ffff_ffff_fe00;
    patch(&scratch, 0x40000 + 3 * 8, &[0; 8]);
    assert_eq!(qemu_check(&scratch), Report { corruptions: 0, leaks: 1 });
    assert_eq!(codes(&findings(&scratch)), [("leaked-cluster", 2, Some(host))]);
}

#[test]
fn refcounts_that_are_too_low() {
    if !have_qemu() {
        return;
    }
    let scratch = Scratch::new();
    sound(&scratch);
    let host = l2_entry(&scratch, 3) & 0x00ff_ffff_ffff_fe00;
    // The refcount block lies at 0x20000, two bytes a cluster.
    patch(&scratch, 0x20000 + (host >> 16) * 2, &[0, 0]);
    let report = qemu_check(&scratch);
    assert!(report.corruptions > 0, "{report:?}");
    let found = findings(&scratch);
    assert!(codes(&found).contains(&("refcount-too-low", 1, Some(host))), "{found:?}");
    assert!(codes(&found).contains(&("copied-flag", 1, Some(0x40018))), "{found:?}");
}

#[test]
fn clusters_that_overlap() {
    if !have_qemu() {
        return;
    }
    let scratch = Scratch::new();
    sound(&scratch);
    // Guest cluster 3 takes the L2 table itself as its data.
    patch(&scratch, 0x40000 + 3 * 8, &(1u64 << 63 | 0x40000).to_be_bytes());
    assert!(qemu_check(&scratch).corruptions > 0);
    let found = findings(&scratch);
    assert!(codes(&found).contains(&("overlapping-clusters", 1, Some(0x40000))), "{found:?}");
}

#[test]
fn entries_that_make_no_sense() {
    if !have_qemu() {
        return;
    }
    for (entry, code) in [
        (1u64 << 63 | 0x50200, "unaligned-offset"),
        (1 << 63 | 0x50000 | 1 << 57, "invalid-entry"),
        (1 << 63 | 0x7000_0000_0000, "past-end"),
    ] {
        let scratch = Scratch::new();
        sound(&scratch);
        patch(&scratch, 0x40000 + 3 * 8, &entry.to_be_bytes());
        assert!(qemu_check(&scratch).corruptions > 0, "{code}");
        let found = findings(&scratch);
        assert_eq!((found[0].code.as_str(), found[0].severity), (code, 1), "{found:?}");
        let error = scratch.open("disk.qcow2").unwrap().content().unwrap_err();
        assert_eq!(error.kind, format_qcow2::ErrorKind::Corrupt, "and a reader stops: {error:?}");
    }
}

#[test]
fn flags_that_are_stale() {
    if !have_qemu() {
        return;
    }
    let scratch = Scratch::new();
    sound(&scratch);
    let entry = l2_entry(&scratch, 3) & !(1 << 63);
    patch(&scratch, 0x40000 + 3 * 8, &entry.to_be_bytes());
    assert_eq!(qemu_check(&scratch).corruptions, 1);
    assert_eq!(codes(&findings(&scratch)), [("copied-flag", 2, Some(0x40018))]);
}

#[test]
fn tables_of_refcounts_and_snapshots_that_cannot_be_read() {
    if !have_qemu() {
        return;
    }
    let scratch = Scratch::new();
    sound(&scratch);
    patch(&scratch, 0x10000, &0x7000_0000_0000u64.to_be_bytes());
    let found = findings(&scratch);
    assert!(codes(&found).contains(&("refcount-table", 1, Some(0x10000))), "{found:?}");
    let missing = found.iter().filter(|finding| finding.code == "refcount-too-low").count();
    assert!(missing > 30, "no refcount can be read: {missing}");

    sound(&scratch);
    scratch.qemu_img("snapshot -c one disk.qcow2");
    assert_eq!(findings(&scratch), []);
    let header = scratch.read("disk.qcow2");
    let table = u64::from_be_bytes(header[64..72].try_into().unwrap());
    patch(&scratch, table, &0x7000_0000_0000u64.to_be_bytes());
    let found = findings(&scratch);
    assert!(
        codes(&found).contains(&("snapshot-table", 1, Some(table + 72))) || found[0].code == "snapshot-table"
    );
}

#[test]
fn thousands_of_findings_are_cut() {
    if !have_qemu() {
        return;
    }
    let scratch = Scratch::new();
    scratch.write("base.raw", &like_real(SIZE));
    scratch.qemu_img("convert -f raw -O qcow2 -o cluster_size=512 -S 0 base.raw disk.qcow2");
    let header = scratch.read("disk.qcow2");
    let table = u64::from_be_bytes(header[48..56].try_into().unwrap());
    patch(&scratch, table, &[0; 512]);
    let found = findings(&scratch);
    assert_eq!(found.len(), 1000);
    assert_eq!((found[999].severity, found[999].code.as_str()), (3, "more"));
    assert!(found.windows(2).all(|pair| pair[0].severity <= pair[1].severity), "worst first");
}

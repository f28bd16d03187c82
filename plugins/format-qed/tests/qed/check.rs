//! Broken images: what the check finds, next to what qemu-img finds.

use std::os::unix::fs::FileExt;

use format_qed::Qed;
use format_qed::image::Image;
use witvirt_sdk::disk::ImageReader;
use witvirt_testkit::{FileSource, file_content, have_qemu};

use crate::Scratch;

const CLUSTER: u64 = 65536;

/// An image of 32 clusters: header, L1 table of 4 clusters, L2 table and data as QEMU places them.
fn sound(scratch: &Scratch) {
    scratch.write("base.raw", &vec![7; 32 * CLUSTER as usize]);
    scratch.qemu_img("convert -f raw -O qed base.raw disk.qed");
    assert_eq!(findings(scratch), []);
}

fn findings(scratch: &Scratch) -> Vec<(String, u8, Option<u64>)> {
    let found = Image::open(FileSource::open(&scratch.path("disk.qed"))).unwrap().check().unwrap();
    found.into_iter().map(|finding| (finding.code, finding.severity, finding.offset)).collect()
}

fn word(scratch: &Scratch, offset: u64) -> u64 {
    let at = offset as usize;
    u64::from_le_bytes(scratch.read("disk.qed")[at..at + 8].try_into().unwrap())
}

fn patch(scratch: &Scratch, offset: u64, value: u64) {
    let file = std::fs::File::options().write(true).open(scratch.path("disk.qed")).unwrap();
    file.write_all_at(&value.to_le_bytes(), offset).unwrap();
}

/// What qemu-img counts, 0 where it says nothing.
fn qemu_check(scratch: &Scratch) -> (u64, u64) {
    let output = std::process::Command::new("qemu-img")
        .args(["check", "--output=json", "-f", "qed"])
        .arg(scratch.path("disk.qed"))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let report: serde_json::Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{output:?}"));
    (report["corruptions"].as_u64().unwrap_or(0), report["leaks"].as_u64().unwrap_or(0))
}

#[test]
fn what_qemu_img_finds_too() {
    if !have_qemu() {
        return;
    }
    let scratch = Scratch::new();
    sound(&scratch);
    let l2 = word(&scratch, word(&scratch, 40));
    let (first, second) = (word(&scratch, l2), word(&scratch, l2 + 8));

    patch(&scratch, l2 + 8, 0);
    assert_eq!(qemu_check(&scratch), (0, 1));
    assert_eq!(findings(&scratch), [("leaked-cluster".to_owned(), 2, Some(second))]);

    patch(&scratch, l2 + 8, first);
    assert_eq!(qemu_check(&scratch), (1, 1));
    let expected =
        [("overlapping-clusters".to_owned(), 1, Some(first)), ("leaked-cluster".to_owned(), 2, Some(second))];
    assert_eq!(findings(&scratch), expected);

    patch(&scratch, l2 + 8, 1 << 50);
    assert_eq!(qemu_check(&scratch), (1, 1));
    let expected = [("l2-entry".to_owned(), 1, Some(l2 + 8)), ("leaked-cluster".to_owned(), 2, Some(second))];
    assert_eq!(findings(&scratch), expected);
}

#[test]
fn images_that_were_not_closed() {
    if !have_qemu() {
        return;
    }
    let scratch = Scratch::new();
    sound(&scratch);
    patch(&scratch, 16, 2);
    assert_eq!(findings(&scratch), [("need-check".to_owned(), 2, None)]);
    let image = Image::open(FileSource::open(&scratch.path("disk.qed"))).unwrap();
    assert!(image.facts().contains(&("need-check".to_owned(), "yes".to_owned())));
    let content = file_content::<Qed>(&scratch.path("disk.qed")).unwrap();
    assert!(content.iter().all(|byte| *byte == 7), "and it is read");
}

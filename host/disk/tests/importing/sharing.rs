//! Equal chunks of images share blocks where the filesystem can.

use std::fs;
use std::process::{Command, Stdio};

use witvirt_disk::{ImportRequest, Progress, SourceFile, Store, StoreOptions};

use crate::formats::{Bench, noise};

/// A mounted filesystem on a loop device; unmounted when it is dropped.
struct Mounted(std::path::PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

/// XFS with shared blocks; `None`, and why, where that cannot be had.
fn xfs(bench: &Bench) -> Option<Mounted> {
    let (image, at) = (bench.dir.path().join("xfs.img"), bench.dir.path().join("mnt"));
    fs::File::create(&image).unwrap().set_len(400 << 20).unwrap();
    fs::create_dir(&at).unwrap();
    let run = |program: &str, arguments: &[&str]| {
        let quiet =
            Command::new(program).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status();
        quiet.is_ok_and(|status| status.success())
    };
    let (image, mount) = (image.to_str().unwrap(), at.to_str().unwrap());
    if !run("mkfs.xfs", &["-q", "-m", "reflink=1", image]) {
        println!("skipped: there is no mkfs.xfs (Debian: apt install xfsprogs)");
        return None;
    }
    if !run("mount", &["-o", "loop", image, mount]) {
        println!("skipped: mounting a loop device needs root");
        return None;
    }
    Some(Mounted(at))
}

#[test]
fn the_second_image_takes_only_what_is_new() {
    let bench = Bench::new();
    let Some(mounted) = xfs(&bench) else { return };
    let store = Store::open(&mounted.0.join("store"), StoreOptions::default()).unwrap();
    let mut raw = noise(1, 12 << 20);
    let import = |raw: &[u8]| {
        fs::write(bench.path("disk"), raw).unwrap();
        let request = ImportRequest::new(SourceFile::new(bench.path("disk")).with_format("raw"));
        store.import(bench.access(), &request, &Progress::new()).unwrap().record
    };
    assert_eq!(import(&raw).shared, Some(0));
    // One chunk is another one, the rest are where they were, or two chunks further on.
    raw[3 << 20..4 << 20].fill(9);
    let moved = [&noise(2, 2 << 20)[..], &raw].concat();
    for (raw, expected) in [(&raw, 11 << 20), (&moved, 12 << 20)] {
        let record = import(raw);
        assert_eq!(record.shared, Some(expected));
        store.verify(&record.digest.to_string(), &Progress::new()).unwrap();
    }
}

#[test]
fn elsewhere_nothing_is_shared() {
    let bench = Bench::new();
    // A filesystem that can share is as good.
    let can = |shared: Option<u64>| shared.is_some();
    let mut seen = Vec::new();
    for seed in [1, 2] {
        let raw = [noise(7, 2 << 20), noise(seed, 1 << 20)].concat();
        fs::write(bench.path("disk"), raw).unwrap();
        let request = ImportRequest::new(SourceFile::new(bench.path("disk")).with_format("raw"));
        seen.push(bench.store.import(bench.access(), &request, &Progress::new()).unwrap().record.shared);
    }
    assert!(seen == [None, None] || (can(seen[0]) && seen[1] == Some(2 << 20)), "{seen:?}");
}

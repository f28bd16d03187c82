//! What an import needs of memory and of the disk, measured in a process of its own.

use std::fs;
use std::process::Command;

use witvirt_disk::{ImportRequest, ImportSource, Progress, Store, StoreOptions, Upload};

use crate::formats::{Bench, noise, qemu_img, run};

const CHILD: &str = "WITVIRT_TEST_MEMORY";

/// An import may use this much, whatever the image.
const MOST: u64 = 128 << 20;

/// Imports standard input and prints what it needed.
#[test]
#[ignore = "the child of the next test"]
fn child() {
    let Some(format) = std::env::var_os(CHILD) else { return };
    let format = format.into_string().unwrap();
    let bench = Bench::new();
    let store = Store::open(&bench.dir.path().join("other"), StoreOptions::default()).unwrap();
    let mut request =
        ImportRequest::of(ImportSource::Upload(Upload::new("standard input", None, std::io::stdin())));
    request.reading.format = Some(format);
    if request.reading.format.as_deref() == Some("raw") {
        request.reading.unpack = "gzip".parse().unwrap();
    }
    let record = store.import(bench.access(), &request, &Progress::new()).unwrap().record;
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    let kib: u64 = peak.split_whitespace().nth(1).unwrap().parse().unwrap();
    println!("\nneeded {} for {}", kib << 10, record.virtual_size);
}

#[test]
fn memory_does_not_grow_with_the_image() {
    if !qemu_img() {
        return;
    }
    let bench = Bench::new();
    let images = bench.dir.path().join("images");
    // Data that does not compress well, at both ends and in between.
    for (name, size) in [("disk.raw", 2u64 << 30), ("small.raw", 160 << 20)] {
        let file = fs::File::create(bench.path(name)).unwrap();
        file.set_len(size).unwrap();
        for piece in 0..12 {
            let at = piece * ((size - (4 << 20)) / 11) / 65536 * 65536;
            std::os::unix::fs::FileExt::write_all_at(&file, &noise(piece, 2 << 20), at).unwrap();
        }
    }
    run("qemu-img", &["convert", "-f", "raw", "-O", "qcow2", "disk.raw", "disk.qcow2"], &images);
    for (name, format, virtual_size) in [("disk.qcow2", "qcow2", 2 << 30), ("small.raw", "raw", 160 << 20)] {
        run("gzip", &["-1", "-k", name], &images);
        let input = fs::File::open(bench.path(&format!("{name}.gz"))).unwrap();
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "memory::child", "--ignored", "--nocapture"])
            .env(CHILD, format)
            .stdin(input)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{format}: {text} {}", String::from_utf8_lossy(&output.stderr));
        let line = text.lines().find(|line| line.starts_with("needed ")).unwrap();
        let words: Vec<&str> = line.split_whitespace().collect();
        let (peak, size): (u64, u64) = (words[1].parse().unwrap(), words[3].parse().unwrap());
        println!("{format}: {} MiB", peak >> 20);
        assert_eq!(size, virtual_size);
        assert!(peak < MOST, "{format}: {} MiB", peak >> 20);
    }
}

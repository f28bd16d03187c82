//! Times conversions of an ext4 disk with real files against `qemu-img convert`, and compares the bytes.
//!
//!     cargo run --release -p witvirt-disk --example against_qemu_img [DIRECTORY] [MIB] [ROUNDS]
//!
//! Fills a disk of MIB megabytes (2048) with the files of DIRECTORY (/usr/lib) and prints seconds and ratios, the best of
//! ROUNDS (3). Neither side flushes to the disk, as is qemu-img's default; `import` flushes and hashes as well.

#[path = "../tests/formats/mod.rs"]
mod formats;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use formats::{Bench, qemu_img, run};
use witvirt_disk::{ConvertRequest, ConvertSource, ImportRequest, Progress, SourceFile};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let source = arguments.next().unwrap_or_else(|| "/usr/lib".into());
    let size: u64 = arguments.next().map_or(2048, |text| text.parse().expect("a number of megabytes"));
    let rounds: u32 = arguments.next().map_or(3, |text| text.parse().expect("a number of rounds"));
    if !qemu_img() {
        return;
    }
    let bench = Bench::new();
    let dir = bench.dir.path().join("images");
    make_disk(&dir, &source, size);
    println!("{:<22} {:>10} {:>10} {:>7}", "to raw", "qemu-img", "witvirt", "ratio");
    for (name, options) in
        [("plain", vec![]), ("zlib", vec!["-c"]), ("zstd", vec!["-c", "-o", "compression_type=zstd"])]
    {
        run(
            "qemu-img",
            &[&["convert", "-W", "-O", "qcow2", "-f", "raw"], &options[..], &["disk.raw", "source.qcow2"]]
                .concat(),
            &dir,
        );
        // Rounds alternate, so that a slow moment of the machine hits both.
        let (mut theirs, mut ours, mut import) = (Duration::MAX, Duration::MAX, Duration::MAX);
        for _ in 0..rounds {
            theirs = theirs.min(time(|| {
                run("qemu-img", &["convert", "-f", "qcow2", "-O", "raw", "source.qcow2", "theirs.raw"], &dir)
            }));
            std::fs::remove_file(dir.join("theirs.raw")).expect("made just now");
            // Freeing an old file is nobody's conversion.
            let _ = std::fs::remove_file(dir.join("ours.raw"));
            ours =
                ours.min(time(|| convert(&bench, "source.qcow2", "ours.raw", "raw", serde_json::json!({}))));
        }
        run("qemu-img", &["compare", "-f", "raw", "-F", "raw", "disk.raw", "ours.raw"], &dir);
        for _ in 0..rounds.min(2) {
            import = import.min(time(|| drop(import_of(&bench, "source.qcow2"))));
            bench.store.remove("bench", &[], true).expect("made just now");
        }
        report(name, theirs, ours);
        println!("{:<22} {:>10} {:>10.2}", "  import, with digest", "", import.as_secs_f64());
    }
    println!("{:<22} {:>10} {:>10} {:>7}", "from raw to qcow2", "qemu-img", "witvirt", "ratio");
    for (name, theirs, ours) in [
        ("plain", vec![], serde_json::json!({})),
        ("zstd", vec!["-c", "-o", "compression_type=zstd"], serde_json::json!({"compression": "zstd"})),
    ] {
        let theirs = time(|| {
            run(
                "qemu-img",
                &[&["convert", "-O", "qcow2", "-f", "raw"], &theirs[..], &["disk.raw", "theirs.qcow2"]]
                    .concat(),
                &dir,
            )
        });
        let ours = time(|| convert(&bench, "disk.raw", "ours.qcow2", "qcow2", ours.clone()));
        run("qemu-img", &["compare", "-f", "raw", "-F", "qcow2", "disk.raw", "ours.qcow2"], &dir);
        report(name, theirs, ours);
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default();
    println!("peak memory of this process: {}", peak.trim_start_matches("VmHWM:").trim());
}

/// An ext4 with as many files as fit well.
fn make_disk(dir: &Path, source: &str, size: u64) {
    let output = Command::new("mke2fs")
        .args(["-q", "-F", "-t", "ext4", "-d", source, "disk.raw", &format!("{size}M")])
        .current_dir(dir)
        .output()
        .expect("mke2fs is installed");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "mke2fs -d {source}: {said}");
}

fn time(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

fn source_of(bench: &Bench, name: &str) -> SourceFile {
    let file = SourceFile::new(bench.path(name));
    if name.ends_with(".raw") { file.with_format("raw") } else { file }
}

fn convert(bench: &Bench, source: &str, target: &str, format: &str, options: serde_json::Value) {
    let request = ConvertRequest {
        source: ConvertSource::File(source_of(bench, source)),
        target: bench.path(target),
        format: format.into(),
        options,
        backing: None,
        replace: true,
        sync: false,
    };
    bench.store.convert(bench.access(), &request, &Progress::new()).expect("a good image");
}

fn import_of(bench: &Bench, source: &str) -> witvirt_disk::Imported {
    let mut request = ImportRequest::new(source_of(bench, source));
    request.name = Some(witvirt_core::Name::new("bench").expect("a good name"));
    bench.store.import(bench.access(), &request, &Progress::new()).expect("a good image")
}

fn report(name: &str, theirs: Duration, ours: Duration) {
    let (theirs, ours) = (theirs.as_secs_f64(), ours.as_secs_f64());
    println!("{name:<22} {theirs:>10.2} {ours:>10.2} {:>6.2}x", theirs / ours);
}

//! What the daemon needs for the images that ask for most.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use witvirt_harness::tools;

use super::convert::Bench;
use super::format::STREAM_OPTIMIZED;
use super::registry::Registry;
use super::source::SMALL;
use crate::measure::Memory;

/// Prints peaks.
pub fn run(directory: &Path) -> Result<()> {
    println!("  peak of the daemon that imports (aim < 128 MiB):");
    let registry = Registry::start(directory)?;
    let bench = Bench::new(directory, &registry.config())?;
    let qcow2 = "qemu-img convert -c -f raw -O qcow2 -o cluster_size=2M,compression_type=zstd \"$0\" \"$1\"";
    let large_clusters = made(directory, "large-clusters.qcow2", qcow2)?;
    let xz = made(directory, "large-window.raw.xz", "xz -T1 --lzma2=preset=0,dict=64MiB < \"$0\" > \"$1\"")?;
    let tar = made(
        directory,
        "packed-twice.tar",
        "mkdir \"$1.d\" && gzip -1 < \"$0\" > \"$1.d/disk.raw.gz\" && tar -C \"$1.d\" -cf \"$1\" disk.raw.gz && rm -r \"$1.d\"",
    )?;
    let stream = STREAM_OPTIMIZED.image(&SMALL, directory)?.to_string_lossy().into_owned();
    peak(&bench, "qcow2, zstd clusters of 2 MiB", &[&large_clusters, "--format", "qcow2"])?;
    peak(&bench, "raw in xz, window of 64 MiB", &[&xz, "--format", "raw"])?;
    peak(&bench, "raw in gzip in tar", &[&tar, "--format", "raw", "--unpack", "gzip+tar"])?;
    peak(&bench, "vmdk streamOptimized", &[&stream, "--format", "vmdk"])?;
    let reference = format!("docker://{}/pieces:1", registry.host);
    {
        let _daemon = bench.host.daemon()?;
        bench.host.run(&["image", "import", &large_clusters, "--name", "pieces", "--format", "qcow2"])?;
        bench.host.run(&["image", "push", "pieces", &reference, "--layout", "macosvz"])?;
        bench.host.run(&["image", "rm", "pieces", "--force"])?;
    }
    peak(&bench, "artifact in pieces, several at once", &[&reference])
}

/// A file that a shell makes of the raw disk.
fn made(directory: &Path, name: &str, script: &str) -> Result<String> {
    let image = SMALL.image(directory, name, |raw, target| {
        tools::run(Command::new("sh").args(["-c", script]).arg(raw).arg(target)).map(drop)
    })?;
    Ok(image.to_string_lossy().into_owned())
}

/// Imports something with a daemon of its own.
fn peak(bench: &Bench, what: &str, source: &[&str]) -> Result<()> {
    let daemon = bench.host.daemon()?;
    let import = ["image", "import", "--name", "peak"];
    bench.host.run(&import.iter().chain(source).copied().collect::<Vec<_>>())?;
    let memory = Memory::of(daemon.pid()).context("the daemon is gone")?;
    println!("    {what:<36} {:>4} MiB", memory.resident >> 10);
    bench.host.run(&["image", "rm", "peak", "--force"])?;
    daemon.terminate()
}

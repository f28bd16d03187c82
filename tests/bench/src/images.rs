//! qcow2 to raw against `qemu-img convert`, on a 2 GiB ext4 file system with real files.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use witvirt_harness::host::Host;
use witvirt_harness::{root, tools};

use crate::measure::{pairs, report, timed};

/// Bytes of real files on the disk.
const CONTENT: u64 = 1400 << 20;

/// Prints ratios; above 1 ours is faster.
pub fn run() -> Result<()> {
    let directory = root().join("target/bench");
    fs::create_dir_all(&directory)?;
    let raw = source(&directory)?;
    let host = Host::new("")?;
    allow(&host, &directory)?;
    let (ours, theirs) = (directory.join("ours.raw"), directory.join("theirs.raw"));
    for (name, options) in
        [("plain", &[][..]), ("zlib", &["-c"][..]), ("zstd", &["-c", "-o", "compression_type=zstd"][..])]
    {
        let image = directory.join(format!("{name}.qcow2"));
        if !image.is_file() {
            tools::run(
                Command::new("qemu-img").args(["convert", "-O", "qcow2"]).args(options).arg(&raw).arg(&image),
            )?;
        }
        let fresh = |target: &Path| -> Result<()> {
            let _ = fs::remove_file(target);
            tools::run(&mut Command::new("sync")).map(drop)
        };
        let (mine, peers) = pairs(
            5,
            || {
                fresh(&ours)?;
                let (from, to) = (image.to_string_lossy(), ours.to_string_lossy());
                Ok(timed(|| {
                    host.run(&[
                        "image",
                        "convert",
                        &from,
                        &to,
                        "--format",
                        "qcow2",
                        "--to",
                        "raw",
                        "--no-sync",
                    ])
                })?
                .0)
            },
            || {
                fresh(&theirs)?;
                let mut convert = Command::new("qemu-img");
                convert.args(["convert", "-f", "qcow2", "-O", "raw"]).arg(&image).arg(&theirs);
                Ok(timed(|| tools::run(&mut convert))?.0)
            },
        )?;
        tools::run(Command::new("cmp").arg(&ours).arg(&raw)).context("our copy differs from the source")?;
        let ratio = peers.as_secs_f64() / mine.as_secs_f64();
        report(&format!("qcow2 {name} -> raw, qemu-img's time over ours"), line(ratio, mine, peers));
    }
    for file in [ours, theirs] {
        fs::remove_file(file)?;
    }
    Ok(())
}

fn line(ratio: f64, mine: Duration, peers: Duration) -> String {
    format!("{ratio:.2}x (ours {mine:.2?}, qemu-img {peers:.2?}, same bytes)")
}

fn allow(host: &Host, directory: &Path) -> Result<()> {
    let config = fs::read_to_string(host.config())?;
    let config =
        config.replace("allowed-directories = [", &format!("allowed-directories = [{directory:?}, "));
    host.write_config(&config)
}

/// A 2 GiB ext4 file system with files of this host.
fn source(directory: &Path) -> Result<PathBuf> {
    let raw = directory.join("source.raw");
    if raw.is_file() {
        return Ok(raw);
    }
    let tree = directory.join("tree");
    let _ = fs::remove_dir_all(&tree);
    fs::create_dir_all(&tree)?;
    let mut left = CONTENT;
    for place in ["/usr/bin", "/usr/lib", "/usr/share", "/usr/local"] {
        fill(Path::new(place), &tree, &mut left)?;
    }
    ensure!(left < CONTENT / 2, "this host has too few files below /usr for a benchmark");
    let partial = directory.join("source.partial");
    let mke2fs = tools::find("mke2fs").context("no mke2fs")?;
    tools::run(Command::new(mke2fs).args(["-q", "-t", "ext4", "-d"]).arg(&tree).arg(&partial).arg("2G"))?;
    fs::remove_dir_all(tree)?;
    fs::rename(partial, &raw)?;
    Ok(raw)
}

fn fill(from: &Path, tree: &Path, left: &mut u64) -> Result<()> {
    let mut pending = vec![from.to_owned()];
    while let Some(directory) = pending.pop() {
        let target = tree.join(directory.strip_prefix("/").unwrap_or(&directory));
        fs::create_dir_all(&target)?;
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            let kind = entry.file_type()?;
            if kind.is_dir() {
                pending.push(entry.path());
            }
            let length = entry.metadata().map_or(0, |data| data.len());
            if kind.is_file()
                && length <= *left
                && fs::copy(entry.path(), target.join(entry.file_name())).is_ok()
            {
                *left -= length;
            }
        }
    }
    Ok(())
}

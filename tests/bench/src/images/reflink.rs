//! Conversions on an XFS of one's own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use witvirt_harness::tools;

use super::convert::{Bench, Conversion, fresh};
use super::format::QCOW2;
use super::source::SMALL;
use crate::measure::usage;

/// How much of the disk is written when plain qcow2 becomes raw.
pub fn run(directory: &Path) -> Result<()> {
    let xfs = match Xfs::new(directory, 6 << 30) {
        Ok(xfs) => xfs,
        Err(error) => {
            println!("  skipped: XFS on a loop device: {error:#}");
            return Ok(());
        }
    };
    let image = xfs.path().join("image");
    fs::copy(QCOW2.image(&SMALL, directory)?, &image)?;
    let bench = Bench::new(xfs.path(), "")?;
    let raw = SMALL.raw(directory)?;
    let conversion = Conversion::to_raw(QCOW2, &image, &raw);
    let target = xfs.path().join("ours");
    fresh(&target)?;
    let before = xfs.used()?;
    // Flushed, so that all of it is counted.
    let ours = usage(&mut bench.ours(&conversion, &target, &[]))?;
    let written = xfs.used()?.saturating_sub(before);
    println!(
        "  {:<31} {} KiB of blocks for {} MiB of data, in {:.2?}",
        "qcow2 -> raw on XFS, reflink",
        written >> 10,
        fs::metadata(&image)?.len() >> 20,
        ours.wall
    );
    bench.compare(&conversion)
}

/// A mounted XFS in a file. Dropped, it is gone.
struct Xfs {
    file: PathBuf,
    mount: PathBuf,
}

impl Xfs {
    /// Of `size` bytes, in a file of `directory`. Takes root and a loop device.
    fn new(directory: &Path, size: u64) -> Result<Self> {
        let xfs = Self { file: directory.join("xfs.file"), mount: directory.join("xfs") };
        let _ = fs::remove_file(&xfs.file);
        fs::File::create(&xfs.file)?.set_len(size)?;
        fs::create_dir_all(&xfs.mount)?;
        let mkfs = tools::find("mkfs.xfs").context("no mkfs.xfs (Debian: apt install xfsprogs)")?;
        tools::run(Command::new(mkfs).args(["-q", "-m", "reflink=1"]).arg(&xfs.file))?;
        tools::run(Command::new("mount").args(["-o", "loop"]).arg(&xfs.file).arg(&xfs.mount))?;
        Ok(xfs)
    }

    /// Where it is mounted.
    fn path(&self) -> &Path {
        &self.mount
    }

    /// Bytes of blocks in use.
    fn used(&self) -> Result<u64> {
        tools::run(Command::new("sync").arg("-f").arg(&self.mount))?;
        let output =
            tools::run(Command::new("df").args(["--block-size=1", "--output=used"]).arg(&self.mount))?;
        output.lines().last().unwrap_or_default().trim().parse().context("df speaks in riddles")
    }
}

impl Drop for Xfs {
    fn drop(&mut self) {
        // Not mounted, it says so; nothing else can be done about it here.
        let _ = Command::new("umount").arg("--quiet").arg(&self.mount).status();
        let _ = fs::remove_dir(&self.mount);
        let _ = fs::remove_file(&self.file);
    }
}

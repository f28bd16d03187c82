//! An XFS of one's own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use witvirt_harness::tools;

/// A mounted XFS in a file. Dropped, it is gone.
pub struct Xfs {
    file: PathBuf,
    mount: PathBuf,
}

impl Xfs {
    /// Of `size` bytes, in a file of `directory`. Takes root and a loop device.
    pub fn new(directory: &Path, size: u64) -> Result<Self> {
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
    pub fn path(&self) -> &Path {
        &self.mount
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

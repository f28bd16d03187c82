//! The disks that everything is measured with: file systems with files of this host, kept for the next time.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use witvirt_harness::{guest, tools};

/// A disk and what is on it.
pub struct Disk {
    name: &'static str,
    /// As mke2fs(8) writes it.
    size: &'static str,
    /// Bytes of files.
    content: u64,
}

/// 2 GiB. The guest of the tests boots from it.
pub const LARGE: Disk = Disk { name: "large", size: "2G", content: 1400 << 20 };

/// For what takes qemu-img half a minute a GiB.
pub const SMALL: Disk = Disk { name: "small", size: "512M", content: 340 << 20 };

impl Disk {
    /// The raw disk, made where it is missing.
    pub fn raw(&self, directory: &Path) -> Result<PathBuf> {
        let raw = directory.join(format!("{}.raw", self.name));
        if raw.is_file() {
            return Ok(raw);
        }
        let tree = directory.join("tree");
        let _ = fs::remove_dir_all(&tree);
        guest::furnish(&tree)?;
        let mut left = self.content;
        for place in ["/usr/bin", "/usr/lib", "/usr/share", "/usr/local"] {
            fill(Path::new(place), &tree, &mut left)?;
        }
        ensure!(left < self.content / 2, "this host has too few files below /usr for a benchmark");
        let partial = directory.join("disk.partial");
        let _ = fs::remove_file(&partial);
        let mut mke2fs = Command::new(tools::find("mke2fs").context("no mke2fs")?);
        mke2fs.args(["-q", "-t", "ext4", "-E", "root_owner=0:0", "-d"]).arg(&tree).arg(&partial);
        tools::run(mke2fs.arg(self.size))?;
        fs::remove_dir_all(tree)?;
        fs::rename(partial, &raw)?;
        Ok(raw)
    }

    /// An image of it, made where it is missing: by `make`, given the raw disk and the file to be written.
    pub fn image(
        &self,
        directory: &Path,
        what: &str,
        make: impl FnOnce(&Path, &Path) -> Result<()>,
    ) -> Result<PathBuf> {
        let image = directory.join(format!("{}-{}", self.name, what.replace(' ', "-")));
        if !image.is_file() {
            let partial = directory.join("image.partial");
            let _ = fs::remove_file(&partial);
            make(&self.raw(directory)?, &partial)?;
            fs::rename(partial, &image)?;
        }
        Ok(image)
    }
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

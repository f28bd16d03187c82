//! The formats, as both programs are told to write them, and what is aimed at.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use witvirt_harness::tools;

use super::source::Disk;

/// An image format.
pub struct Format {
    /// In the table.
    pub name: &'static str,
    /// Its registry name, and QEMU's.
    pub format: &'static str,
    /// `image convert --option`.
    pub ours: &'static [&'static str],
    /// `qemu-img convert`.
    pub theirs: &'static [&'static str],
    /// How many times as fast reading has to be.
    pub read: Option<f64>,
    /// How many times as fast writing has to be.
    pub write: Option<f64>,
}

const fn format(name: &'static str, format: &'static str) -> Format {
    Format { name, format, ours: &[], theirs: &[], read: Some(1.0), write: None }
}

/// Every format that qemu-img writes too.
pub const FORMATS: [Format; 9] = [
    Format { write: Some(1.0), ..format("qcow2", "qcow2") },
    Format {
        ours: &["compression=zlib"],
        theirs: &["-c"],
        read: Some(3.5),
        write: Some(4.0),
        ..format("qcow2 zlib", "qcow2")
    },
    Format {
        ours: &["compression=zstd"],
        theirs: &["-c", "-o", "compression_type=zstd"],
        read: Some(3.0),
        write: Some(3.0),
        ..format("qcow2 zstd", "qcow2")
    },
    Format {
        ours: &["subformat=streamOptimized"],
        theirs: &["-o", "subformat=streamOptimized"],
        read: Some(4.5),
        write: Some(5.0),
        ..format("vmdk streamOptimized", "vmdk")
    },
    Format { read: Some(1.7), ..format("vmdk monolithicSparse", "vmdk") },
    format("vdi", "vdi"),
    Format { theirs: &["-o", "force_size=on"], ..format("vpc dynamic", "vpc") },
    format("vhdx", "vhdx"),
    format("qed", "qed"),
];

/// Plain qcow2.
pub const QCOW2: &Format = &FORMATS[0];

/// qcow2 with zlib clusters.
pub const ZLIB: &Format = &FORMATS[1];

/// qcow2 with zstd clusters.
pub const ZSTD: &Format = &FORMATS[2];

/// vmdk with deflated grains.
pub const STREAM_OPTIMIZED: &Format = &FORMATS[3];

impl Format {
    /// An image that qemu-img made of a disk.
    pub fn image(&self, disk: &Disk, directory: &Path) -> Result<PathBuf> {
        disk.image(directory, self.name, |raw, target| {
            let mut convert = Command::new("qemu-img");
            convert.args(["convert", "-W", "-m", "16", "-f", "raw", "-O", self.format]).args(self.theirs);
            tools::run(convert.arg(raw).arg(target)).map(drop)
        })
    }

    /// Whether qemu-img takes long to write it.
    pub fn is_deflated(&self) -> bool {
        [ZLIB.name, STREAM_OPTIMIZED.name].contains(&self.name)
    }
}

//! The formats of Parallels: expanding images (.hds, ploop) and .hdd bundles. Reads.
//!
//! Written from QEMU's `docs/interop/parallels` (the image file) and `docs/interop/prl-xml` (the descriptor).
//!
//! **Image files** have the signature "WithoutFreeSpace" (places in sectors) or "WithouFreSpacExt" (places in clusters) and
//! version 2.
//! - One that was not closed (in use) is read: its table is checked where it is met. A fact and a finding of `check` say so.
//! - The beginning of the data and the flag "empty" of the header do not matter to a reader; a place before the end of the
//!   table is an error. What lies past the end of the file is an error, where QEMU reads zeros. So is a table with fewer
//!   entries than the disk has clusters, which QEMU reads as zeros, too.
//! - The format extension (dirty bitmaps) is skipped; `check` looks at its structure and its MD5 checksum.
//! - An image file does not say whether it lies over another one. A snapshot's file alone is not the disk: name the bundle.
//!
//! **Bundles** are read by their `DiskDescriptor.xml`, the primary file. The files that it names for the top snapshot and
//! for those below it are references of role "extent"; the chain inside a bundle is resolved here. The top is `TopGUID`, else
//! the predefined GUID; without snapshots, each storage has one image. Split disks (several storages) are read, although
//! QEMU's document leaves them out: storages have to follow each other from sector 0 to the end of the disk.
//! - "Plain" images are raw and only at the bottom of a chain; "Compressed" ones are expanding images, whose cluster size has
//!   to be the storage's and whose size has to be at least the storage's.
//! - Refused: padding, encryption, sectors other than 512 bytes, document types and so entities, loops of snapshots, parts
//!   that are shorter than their storage.
//! - Names are passed on verbatim. Absolute ones, as linked clones have them, are for the host to allow.
//!
//! The glue is one module, built for WebAssembly only; the others are pure, generic over [`ReadAt`], and build, test
//! and fuzz natively.

mod bundle;
mod check;
pub mod descriptor;
pub mod expanding;
mod extension;
#[cfg(target_family = "wasm")]
mod glue;
pub mod image;
pub mod probe;

use witvirt_sdk::core::extent::Probe;
use witvirt_sdk::disk::{Format, ReadAt};
use witvirt_sdk::{Info, Plugin};

pub use witvirt_sdk::{Error, ErrorKind};

/// The format's registry name.
pub const FORMAT: &str = "parallels";
/// Another name for it.
pub const ALIAS: &str = "hdd";

/// The plugin.
pub struct Parallels;

impl Plugin for Parallels {
    fn describe() -> Info {
        let description = "Parallels disks: reads expanding images (.hds) and bundles (.hdd) with split disks and snapshots";
        Info::new(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"), description)
    }
}

impl Format for Parallels {
    const NAMES: &[&str] = &[FORMAT, ALIAS];
    type Image<R: ReadAt> = image::Image<R>;

    fn probe(head: &[u8], _: &[u8], _: u64) -> Option<Probe> {
        probe::probe(head)
    }
}

//! The qcow2 format: reads version 2 and 3 images, writes version 3 images and overlays.
//!
//! Written from QEMU's `docs/interop/qcow2.txt`; limits that the document leaves open are those of QEMU's driver
//! (L1 table 32 MiB, refcount table 8 MiB, 65,536 snapshots, clusters of 512 bytes to 2 MiB).
//!
//! Read: all cluster sizes, extended L2 entries (subclusters), zlib and zstd clusters (handed to the host as "deflate-raw"
//! and "zstd"), zero clusters, backing images and external data files as references that the host resolves or refuses,
//! images marked dirty or with lazy refcounts (a reader needs no refcounts), internal snapshots and bitmaps (skipped: the
//! active state is what counts).
//!
//! Refused, by name:
//! - encryption, LUKS and the legacy AES-CBC;
//! - incompatible feature bits other than dirty, external data file, compression type and extended L2;
//! - images marked corrupt;
//! - version 1 (the older "qcow" format) and versions after 3;
//! - compression types other than zlib and zstd;
//! - tables above the limits, outside the file, unaligned or overlapping, reserved bits that are set, data past the end of
//!   the file (QEMU reads that as zeros; here missing data is an error);
//! - an L1 table that names more L2 tables than the file can hold;
//! - names of backing and data files that are not UTF-8 or have control characters.
//!
//! The glue is one module, built for WebAssembly only; the others are pure, generic over [`ReadAt`], and build, test
//! and fuzz natively.

pub mod check;
mod entry;
mod extension;
mod facts;
#[cfg(target_family = "wasm")]
mod glue;
pub mod header;
pub mod image;
pub mod layout;
mod map;
pub mod probe;

use witvirt_sdk::core::extent::Probe;
use witvirt_sdk::disk::{Format, ReadAt, WritableFormat};
use witvirt_sdk::{Info, Plugin};

pub use witvirt_sdk::{Error, ErrorKind};

/// The format's registry name.
pub const FORMAT: &str = "qcow2";

/// The plugin.
pub struct Qcow2;

impl Plugin for Qcow2 {
    fn describe() -> Info {
        let description = "qcow2 disk images: reads versions 2 and 3, writes version 3 and overlays; refuses encryption, \
             unknown incompatible features, and images that are marked corrupt or cut short";
        Info::new(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"), description)
    }
}

impl Format for Qcow2 {
    const NAMES: &[&str] = &[FORMAT];
    type Image<R: ReadAt> = image::Image<R>;

    fn probe(head: &[u8], tail: &[u8], size: u64) -> Option<Probe> {
        probe::probe(head, tail, size)
    }
}

impl WritableFormat for Qcow2 {
    type Writer = layout::Writer;
}

/// Codec names of the contract.
pub mod codec {
    /// Deflate without header; qcow2 wants a window of at most 4 KiB (12 bits).
    pub const DEFLATE_RAW: &str = "deflate-raw";
    /// Zstandard, one frame a cluster.
    pub const ZSTD: &str = "zstd";
}

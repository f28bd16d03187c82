//! Apple sparse disk images (`.sparseimage`): reads them.
//!
//! No official document exists. The facts come from libmodi's "Mac OS disk image types" (the header) and from how apfs-fuse
//! and mac_apt read images with more than 1,008 bands (the index nodes). Numbers are big endian, sectors 512 bytes:
//!
//! - A header of 4,096 bytes: `sprs`, version 3, sectors in a band, flags, low half of the disk's length in sectors, offset
//!   of the next index node (u64; 0: none), length of the disk in sectors (u64), 28 bytes of zeros, 1,008 band numbers.
//! - Behind it the bands that it lists, one after the other. A number is the place of the band on the disk, from 1; 0 is a
//!   free slot. Bands that nobody lists read as zeros.
//! - An index node of 4,096 bytes: `sprs`, its number, flags, offset of the next one (u64), 36 bytes of zeros, 1,010 band
//!   numbers; its bands follow it.
//!
//! No image by Apple was at hand to check against: the tests read what they made themselves by these facts.
//!
//! Refused, by name: other versions, bands listed twice, past the end of the disk or of the file, index nodes that do not
//! ascend in the file, more than 4,194,304 stored bands (4 TiB of the usual 1 MiB). Encrypted images have another
//! signature, which the plugin for `.dmg` names.
//!
//! The glue is one module, built for WebAssembly only; the others are pure, generic over [`ReadAt`], and build, test
//! and fuzz natively.

#[cfg(target_family = "wasm")]
mod glue;
pub mod header;
pub mod image;
mod index;
pub mod probe;

use witvirt_sdk::core::extent::Probe;
use witvirt_sdk::disk::{Format, ReadAt};
use witvirt_sdk::{Info, Plugin};

pub use witvirt_sdk::{Error, ErrorKind};

/// The format's registry name.
pub const FORMAT: &str = "sparseimage";

/// Bytes of a sector.
pub const SECTOR: u64 = 512;

/// The plugin.
pub struct SparseImage;

impl Plugin for SparseImage {
    fn describe() -> Info {
        let description = "Apple sparse disk images (.sparseimage): reads version 3; refuses other versions, bands that are \
             listed twice, and what lies past the end of the file";
        Info::new(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"), description)
    }
}

impl Format for SparseImage {
    const NAMES: &[&str] = &[FORMAT];
    type Image<R: ReadAt> = image::Image<R>;

    fn probe(head: &[u8], _: &[u8], _: u64) -> Option<Probe> {
        probe::probe(head)
    }
}

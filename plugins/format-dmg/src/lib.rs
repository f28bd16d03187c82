//! Apple disk images (`.dmg`, UDIF): reads them.
//!
//! No official document exists. The facts come from libmodi's "Mac OS disk image types" and were compared with QEMU's
//! `block/dmg.c`: a trailer of 512 bytes ("koly") names an XML property list, whose `resource-fork` → `blkx` entries each
//! hold a table ("mish") of runs of sectors.
//!
//! Read: UDRO and UDxx (as they are), UDZO (zlib), UDBZ (bzip2), ULFO (LZFSE), ULMO (an .xz stream a run), all handed to
//! the host's codecs, UDCO (ADC, decoded here), zero runs and runs that the image's maker ignored, several tables, a data
//! fork that starts later, images whose tables are in a binary resource fork instead of a property list.
//!
//! Refused, by name: encrypted images (`encrcdsa`, and the older kind with `cdsaencr` at the end), images in segments
//! (`.dmgpart`), images without tables, codecs that nobody documents (KenCode), property lists with a document type of
//! their own (entities), runs that decode to more than 64 MiB or lie past the end of the file, runs that overlap, and
//! sectors that no run covers: QEMU fails to read those as well, other readers invent zeros.
//!
//! The trailer's checksum of the data fork and the checksum over the tables' checksums are compared by `check`; a table's
//! own checksum is over decoded bytes, which only the host sees, so it is not.
//!
//! The tables are small by nature (a hundred bytes a mebibyte of disk) and are held in memory: property lists above 32 MiB
//! are refused.
//!
//! The glue is one module, built for WebAssembly only; the others are pure, generic over [`ReadAt`], and build, test
//! and fuzz natively.

pub mod adc;
mod base64;
mod check;
mod facts;
#[cfg(target_family = "wasm")]
mod glue;
pub mod image;
pub mod plist;
pub mod probe;
pub mod resource;
pub mod run;
pub mod trailer;

use witvirt_sdk::core::extent::Probe;
use witvirt_sdk::disk::{Format, ReadAt};
use witvirt_sdk::{Info, Plugin};

pub use witvirt_sdk::{Error, ErrorKind};

/// The format's registry name.
pub const FORMAT: &str = "dmg";

/// Bytes of a sector.
pub const SECTOR: u64 = 512;

/// The plugin.
pub struct Dmg;

impl Plugin for Dmg {
    fn describe() -> Info {
        let description = "Apple disk images (.dmg): reads UDRO, UDZO, UDBZ, ULFO, ULMO and UDCO; refuses encrypted images, \
             segments, and what lies past the end of the file";
        Info::new(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"), description)
    }
}

impl Format for Dmg {
    const NAMES: &[&str] = &[FORMAT];
    type Image<R: ReadAt> = image::Image<R>;

    fn probe(head: &[u8], tail: &[u8], _: u64) -> Option<Probe> {
        probe::probe(head, tail)
    }
}

//! Apple Sparse Image Format (ASIF, macOS 26): reads it.
//!
//! No official document exists. The facts come from two analyses that agree on the layout: dissect.hypervisor's `asif.py`
//! and the "ASIF binary specification" of github.com/huven/asif-format, which also says what the flags of an entry and the
//! bitmaps mean. Numbers are big endian.
//!
//! A header names two directories; the one with the higher version is in force. Its entries are the chunk numbers of
//! tables. A table is a row of groups, a group the entries of `4 × block size` chunks and then that of a bitmap chunk. An
//! entry's low 55 bits are a chunk number; its two high bits say whether the chunk holds nothing (00, number 0), all of its
//! blocks (01) or some (11): then the bitmap has two bits for each block, 01 stored and 00 never written, which reads as
//! zeros. Readers that ignore the bitmap read whatever lies in such blocks.
//!
//! No image by Apple was at hand to check against: the tests read what they made themselves by these facts.
//!
//! Refused, by name: other versions, images in several segments, entries and bitmap states that nobody has seen (reserved
//! bits, status 10, status 00 with a chunk, block states 10 and 11), tables that are named twice, and everything that lies
//! past the end of the file. The metadata (a property list behind the disk's last byte) is not read.
//!
//! The glue is one module, built for WebAssembly only; the others are pure, generic over [`ReadAt`], and build, test
//! and fuzz natively.

mod directory;
mod entry;
#[cfg(target_family = "wasm")]
mod glue;
pub mod header;
pub mod image;
pub mod probe;

use witvirt_sdk::core::extent::Probe;
use witvirt_sdk::disk::{Format, ReadAt};
use witvirt_sdk::{Info, Plugin};

pub use witvirt_sdk::{Error, ErrorKind};

/// The format's registry name.
pub const FORMAT: &str = "asif";

/// The plugin.
pub struct Asif;

impl Plugin for Asif {
    fn describe() -> Info {
        let description = "Apple sparse images of macOS 26 (ASIF): reads version 1; refuses other versions, images in several \
             segments, and what lies past the end of the file";
        Info::new(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"), description)
    }
}

impl Format for Asif {
    const NAMES: &[&str] = &[FORMAT];
    type Image<R: ReadAt> = image::Image<R>;

    fn probe(head: &[u8], _: &[u8], _: u64) -> Option<Probe> {
        probe::probe(head)
    }
}

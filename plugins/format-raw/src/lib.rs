//! The raw format: guest byte n is file byte n.
//!
//! Raw has no signature, so nothing probes as raw: whoever wants it says so. A guest sees whole sectors of 512 bytes, so a
//! file of another length appears rounded up and its last sector ends in zeros, as in QEMU. Holes of the file are the
//! host's business: it copies them as holes.

#[cfg(target_family = "wasm")]
mod glue;
pub mod image;

use witvirt_sdk::core::extent::Probe;
use witvirt_sdk::disk::{Format, ReadAt};
use witvirt_sdk::{Info, Plugin};

/// The format's registry name.
pub const FORMAT: &str = "raw";

/// The plugin.
pub struct RawDisk;

impl Plugin for RawDisk {
    fn describe() -> Info {
        let description = "raw disk images: reads files of any length, rounded up to sectors of 512 bytes";
        Info::new(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"), description)
    }
}

impl Format for RawDisk {
    const NAMES: &[&str] = &[FORMAT];
    type Image<R: ReadAt> = image::Image<R>;

    fn probe(_: &[u8], _: &[u8], _: u64) -> Option<Probe> {
        None
    }
}

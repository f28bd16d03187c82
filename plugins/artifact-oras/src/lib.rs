//! Disk images that somebody pushed as plain files (`oras push HOST/NAME:TAG disk.qcow2`): one layer for each file, with the
//! file's name as title.
//!
//! Facts: OCI image-spec `annotations.md` (`org.opencontainers.image.title`) and `manifest.md` (artifacts); oras-project/oras-go
//! `content/file` (a directory is a tar.gz with the annotation `io.deis.oras.content.unpack`). What a file is (a compressed
//! image, an image of some format, a tar) is recognised by the host, as for a file of the user's.
//!
//! Of several files, the one is taken that the user names; unnamed, the only one whose name ends as a disk image's. Two such
//! are an error that lists them.

mod file;
#[cfg(target_family = "wasm")]
mod glue;
mod read;

use witvirt_sdk::{Info, Plugin};

/// The layout's registry name.
pub const LAYOUT: &str = "oras";

/// The plugin: [`witvirt_sdk::artifact::Reader`].
pub struct Oras;

impl Plugin for Oras {
    fn describe() -> Info {
        let description = "disk images that were pushed as plain files: reads";
        Info::new(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"), description)
    }
}

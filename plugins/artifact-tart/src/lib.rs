//! Virtual machines that tart pushes: the disk in chunks of 512 MiB, each a layer in Apple's LZ4 framing, the NVRAM and the
//! machine's config.
//!
//! Facts: cirruslabs/tart `Sources/tart/OCI/Manifest.swift` (media types, annotations, the label of the image config that
//! says the disk's format), `OCI/Layerizer/DiskV2.swift` (each layer decodes on its own, in the order of the manifest),
//! `OCI/Layerizer/DiskV1.swift` (one LZ4 stream cut into layers of 500 MB), `VMConfig.swift` (the config).
//!
//! tart itself no longer reads disk.v1; it is read here since it is the same framing over all layers at once. Overlays of ASIF
//! disks (`disk.asif.overlay.v1`) are refused: nothing documents what lies below them.

mod config;
#[cfg(target_family = "wasm")]
mod glue;
mod read;

use witvirt_sdk::{Info, Plugin};

/// The layout's registry name.
pub const LAYOUT: &str = "tart";

/// The plugin: [`witvirt_sdk::artifact::Reader`].
pub struct Tart;

impl Plugin for Tart {
    fn describe() -> Info {
        let description = "virtual machines that tart pushes: reads NVRAM and disks, in chunks (disk.v2) or one stream (disk.v1)";
        Info::new(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"), description)
    }
}

pub(crate) mod words {
    pub(crate) const PREFIX: &str = "application/vnd.cirruslabs.tart.";
    pub(crate) const CONFIG: &str = "application/vnd.cirruslabs.tart.config.v1";
    pub(crate) const DISK_V1: &str = "application/vnd.cirruslabs.tart.disk.v1";
    pub(crate) const DISK_V2: &str = "application/vnd.cirruslabs.tart.disk.v2";
    pub(crate) const NVRAM: &str = "application/vnd.cirruslabs.tart.nvram.v1";
    pub(crate) const DISK_SIZE: &str = "org.cirruslabs.tart.uncompressed-disk-size";
    pub(crate) const SIZE: &str = "org.cirruslabs.tart.uncompressed-size";
    pub(crate) const DIGEST: &str = "org.cirruslabs.tart.uncompressed-content-digest";
    pub(crate) const FORMAT_LABEL: &str = "org.cirruslabs.tart.disk.format";
}

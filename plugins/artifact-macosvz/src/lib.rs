//! Artifacts of macOS-vz-kubelet: the disk, the auxiliary storage and the description of a macOS virtual machine, each one
//! layer, whole.
//!
//! Facts: agoda-com/macOS-vz-kubelet `pkg/oci` (media types, titles, annotations; a titled layer of another media type is an
//! error, an untitled one is not looked at) and `example/oci_manifest.json`, `example/config.json`. A layer with the annotations
//! of both the uncompressed digest and size is gzip, any other is stored as it is.

mod description;
#[cfg(target_family = "wasm")]
mod glue;
mod publish;
mod read;

use witvirt_sdk::{Info, Plugin};

/// The layout's registry name.
pub const LAYOUT: &str = "macosvz";

/// The plugin: [`witvirt_sdk::artifact::Reader`] and [`witvirt_sdk::artifact::Publisher`].
pub struct MacosVz;

impl Plugin for MacosVz {
    fn describe() -> Info {
        let description = "macOS machines in artifacts, as macOS-vz-kubelet reads them: reads and publishes";
        Info::new(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"), description)
    }
}

pub(crate) mod words {
    pub(crate) const ARTIFACT: &str = "application/vnd.agoda.macosvz.artifact";
    pub(crate) const PREFIX: &str = "application/vnd.agoda.macosvz.";
    pub(crate) const DISK: &str = "application/vnd.agoda.macosvz.disk.image.v1";
    pub(crate) const AUX: &str = "application/vnd.agoda.macosvz.aux.image.v1";
    pub(crate) const CONFIG: &str = "application/vnd.agoda.macosvz.config.v1+json";
    pub(crate) const CONTENT_DIGEST: &str = "com.agoda.macosvz.content.uncompressed-digest";
    pub(crate) const CONTENT_SIZE: &str = "com.agoda.macosvz.content.uncompressed-size";
    pub(crate) const DISK_FILE: &str = "disk.img";
    pub(crate) const AUX_FILE: &str = "aux.img";
    pub(crate) const CONFIG_FILE: &str = "config.json";
}

//! KubeVirt's containerDisk: a container image whose filesystem holds one disk image below `/disk`, owned by the user that
//! QEMU runs as (107).
//!
//! Facts: KubeVirt `docs/container-register-disks.md` and `pkg/container-disk` (the directory `/disk`, exactly one file in
//! it, or the file that `path` names); CDI `doc/image-from-registry.md` (layers are tars that are searched for `disk/`) and its
//! environment variables `INSTANCETYPE_KUBEVIRT_IO_*`, which become labels; OCI image-spec `config.md` and `layer.md`.
//!
//! Where layers cover one another, the uppermost that holds a disk counts. KubeVirt sees the union of all layers and refuses
//! two files in `/disk`; here only two files in one layer are refused, so that a derived image that adds a newer disk under
//! another name is read as its author means it. Whiteouts are not followed for the same reason.

#[cfg(target_family = "wasm")]
mod glue;
mod image;
mod publish;
mod read;

use witvirt_sdk::{Info, Plugin};

/// The layout's registry name.
pub const LAYOUT: &str = "containerdisk";

/// The plugin: [`witvirt_sdk::artifact::Reader`] and [`witvirt_sdk::artifact::Publisher`].
pub struct ContainerDisk;

impl Plugin for ContainerDisk {
    fn describe() -> Info {
        let description =
            "disk images in container images, as KubeVirt and CDI read them: reads and publishes";
        Info::new(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"), description)
    }
}

//! The VDI format of VirtualBox: reads dynamic, static and differencing images of version 1.1, writes dynamic and static
//! ones.
//!
//! No document specifies VDI; the facts are those of VirtualBox's `VDICore.h` and `VDI.cpp` and of QEMU's `block/vdi.c`. A
//! file is a header, a map of one little-endian word for each block of the disk, and blocks (1 MiB with every known writer).
//!
//! Where the two readers differ:
//! - blocks of other sizes than 1 MiB (any power of two from 512 bytes) and extra bytes before each block are read, as by
//!   VirtualBox; QEMU refuses the first and misreads the second;
//! - map and data may begin at any byte, as for VirtualBox; QEMU wants multiples of 512;
//! - the data must not begin inside the map, and the map not inside the header, as for VirtualBox;
//! - a disk whose size is no multiple of 512 is rounded up, as by QEMU;
//! - blocks may be placed anywhere in the file, also twice and behind the last block that the header counts, as for QEMU's
//!   reader; `check` reports them;
//! - a block that lies past the end of the file is an error; QEMU reads zeros;
//! - null UUIDs are accepted, as by QEMU.
//!
//! Differencing images (type 4) name their parent by UUID alone: the reference is `uuid:<linkage>`, the facts are `id` (the
//! UUID that the image was created with) and `parent-id` (its linkage). These two are compared: the parent has to be the
//! image whose `id` is the child's `parent-id`, byte for byte. The UUIDs of the last modification are shown, as
//! `modification-id` and, in the child, `parent-modification-id`, and are not compared: where they differ, the parent was
//! written to after the child was made, and the disk is not what it was then. A block that is free in a differencing image
//! falls through to the parent, a zero block does not. QEMU opens type 4 with null UUIDs as if it had no parent; here that
//! is an error.
//!
//! Refused, by name: version 0.2 and versions other than 1.1, undo images (type 3), other sectors than 512 bytes, a
//! parent named by a base image.
//!
//! The glue is one module, built for WebAssembly only; the others are pure, generic over [`ReadAt`], and build, test
//! and fuzz natively.

mod check;
mod facts;
#[cfg(target_family = "wasm")]
mod glue;
pub mod header;
pub mod image;
pub mod layout;
pub mod probe;

use witvirt_sdk::core::extent::Probe;
use witvirt_sdk::disk::{Format, ReadAt, WritableFormat};
use witvirt_sdk::{Info, Plugin};

pub use witvirt_sdk::{Error, ErrorKind};

/// The format's registry name.
pub const FORMAT: &str = "vdi";

/// The plugin.
pub struct Vdi;

impl Plugin for Vdi {
    fn describe() -> Info {
        let description = "VDI disk images: reads dynamic, static and differencing images of version 1.1, writes dynamic and \
             static ones";
        Info::new(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"), description)
    }
}

impl Format for Vdi {
    const NAMES: &[&str] = &[FORMAT];
    type Image<R: ReadAt> = image::Image<R>;

    fn probe(head: &[u8], _: &[u8], _: u64) -> Option<Probe> {
        probe::probe(head)
    }
}

impl WritableFormat for Vdi {
    type Writer = layout::Writer;
}

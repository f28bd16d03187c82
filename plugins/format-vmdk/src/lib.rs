//! The VMDK format: reads all its file-backed kinds, writes monolithicSparse and streamOptimized images.
//!
//! Written from VMware's "Virtual Disk Format 5.0" (technical note), libyal's description of the format (COWD, oddities of
//! streams) and the facts that QEMU's driver goes by (seSparse, which nobody has documented).
//!
//! Read: monolithicSparse, monolithicFlat, twoGbMaxExtentSparse, twoGbMaxExtentFlat, streamOptimized (directory at the
//! front, found by the footer, by the markers, or not at all), vmfs, vmfsSparse (COWD), seSparse; descriptors embedded or in
//! a file of their own; versions 1 to 3; zeroed grains; parents. Files of extents are references of role "extent", names
//! verbatim: the host decides what may be opened. Identities are the facts "id" (CID) and "parent-id" (parentCID).
//!
//! Refused, by name:
//! - fullDevice, partitionedDevice, vmfsRaw, vmfsRDM and relatives: views of devices;
//! - extents without their descriptor (parts of split images, COWD, seSparse): what they miss reads as zeros or as a parent
//!   that they do not name. QEMU opens the last two as disks of their own;
//! - descriptors that contradict themselves (two lines of one key, a parent without a parentCID, two extents that overlap in a
//!   file) or the headers of their extents, and footers that contradict their header. QEMU looks at none of these;
//! - seSparse extents with a journal to replay, flags, compressions and versions that are not known;
//! - tables and grains outside the file or over other structures, files shorter than the descriptor says, streams without
//!   an end: QEMU reads much of that as zeros; here missing data is an error;
//! - more than 4,096 extents, descriptors above 1 MiB, grain directories above 32 MiB.
//!
//! Where programs differ:
//! - a sparse extent's header may hold the descriptor's length rounded up to whole grains, as VirtualBox writes it; the disk is
//!   as long as the descriptor says (QEMU: as the header says);
//! - RDONLY and ZERO extents are read (QEMU skips both), NOACCESS ones are refused;
//! - the flag for redundant tables says whether there are any; the primary ones are read, as QEMU does, and
//!   [`image::Image`]'s check compares both;
//! - an embedded descriptor's name for its extent is not looked at: it is the file itself, which may have been renamed;
//! - markers of compressed grains are looked at only where the next grain does not follow (and by the check): a zlib stream
//!   says itself where it ends, and its checksum whether it is the right one.
//!
//! The glue is one module, built for WebAssembly only; the others are pure, generic over [`ReadAt`], and build, test
//! and fuzz natively.

mod check;
mod decode;
pub mod descriptor;
mod facts;
#[cfg(target_family = "wasm")]
mod glue;
pub mod image;
pub mod layout;
mod map;
pub mod probe;
pub mod sector;
pub mod sparse;

use witvirt_sdk::core::extent::Probe;
use witvirt_sdk::disk::{Format, ReadAt, WritableFormat};
use witvirt_sdk::{Info, Plugin};

pub use witvirt_sdk::{Error, ErrorKind};

/// The format's registry name.
pub const FORMAT: &str = "vmdk";

/// The plugin.
pub struct Vmdk;

impl Plugin for Vmdk {
    fn describe() -> Info {
        let description = "VMDK disk images: reads every kind that is stored in files, writes monolithicSparse and \
             streamOptimized; refuses views of devices and images that contradict themselves";
        Info::new(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"), description)
    }
}

impl Format for Vmdk {
    const NAMES: &[&str] = &[FORMAT];
    type Image<R: ReadAt> = image::Image<R>;

    fn probe(head: &[u8], tail: &[u8], size: u64) -> Option<Probe> {
        probe::probe(head, tail, size)
    }
}

impl WritableFormat for Vmdk {
    type Writer = layout::Writer;
}

/// Codec names of the contract.
pub mod codec {
    /// RFC 1950, which the host decodes.
    pub const ZLIB: &str = "zlib";
    /// For plans: zlib for every chunk, filled up to a whole one, whether or not it becomes smaller.
    pub const ZLIB_ALWAYS: &str = "zlib-always";
    /// RFC 1950 of at least as many bytes as wanted, which the plugin decodes: the last grain of an extent.
    pub const LAST_GRAIN: &str = "vmdk-last-grain";
}

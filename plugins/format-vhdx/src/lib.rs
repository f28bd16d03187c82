//! The VHDX format of Hyper-V: reads fixed, dynamic and differencing images, writes dynamic ones.
//!
//! Written from Microsoft's [MS-VHDX]. All numbers are little-endian. The first MiB has the signature, two headers, of which
//! the one with the higher sequence number counts, and two equal tables of regions; then come, in any order and aligned to
//! MiB, the log, the region of metadata items, the block allocation table (BAT), and blocks of payload and of sector bitmaps.
//!
//! The log: where the header names one, its active sequence (2.3.3) is replayed in memory: reads of the file see what the
//! log would have written, and payload that it patches becomes literal bytes in the map. Entries that are torn or of another
//! log are not part of the sequence. The source is never written to. Bounds: logs up to 64 MiB (Hyper-V and QEMU make 1 MiB),
//! and as many patches as fit 2^18 ranges.
//!
//! Payload states: 0 (not present) falls through to the parent, or reads as zeros where there is none; 1 (undefined),
//! 2 (zero), 3 (unmapped) and 5 (unmapped in drafts of the specification, as QEMU has it) read as zeros, also above a parent;
//! 6 (fully present) is data; 7 (partially present) is what the sector bitmap says: a set bit is this image's sector, a clear
//! one the parent's. 4, and 7 without a parent, are errors.
//!
//! Where readers differ:
//! - QEMU refuses a log to replay when it may not write, and differencing images; here both are read;
//! - a header that names a log without a valid sequence is refused, as the specification says; QEMU goes on;
//! - a file that is shorter than its log says it was flushed to, and a block that lies past the end of the file or on a
//!   region, is an error; QEMU reads zeros;
//! - the size of the log and the places of all regions are checked to be aligned and apart, as by QEMU.
//!
//! A differencing image names its parent by the first of these paths that its locator has: `relative_path`, `volume_path`,
//! `absolute_win32_path`. Backslashes become slashes. The fact `id` is the GUID of the last write to the data of an image,
//! `parent-id` the one that the parent had when the child was made (`parent_linkage`). Where the locator has a second one
//! (`parent_linkage2`, while a merge is under way) it is shown as `parent-id-2`.
//!
//! Refused, by name: versions of header and log that are not known, unknown regions and metadata items that are marked
//! required, disks of more than 64 TiB, blocks that are no power of two from 1 to 256 MiB, sectors of other sizes than 512
//! and 4096 bytes.
//!
//! The glue is one module, built for WebAssembly only; the others are pure, generic over [`ReadAt`], and build, test
//! and fuzz natively.

mod bat;
mod check;
pub mod crc32c;
mod facts;
#[cfg(target_family = "wasm")]
mod glue;
pub mod guid;
pub mod header;
pub mod image;
pub mod layout;
mod log;
pub mod metadata;
mod parent;
pub mod probe;
mod region;

use witvirt_sdk::core::extent::Probe;
use witvirt_sdk::disk::{Format, ReadAt, WritableFormat};
use witvirt_sdk::{Info, Plugin};

pub use witvirt_sdk::{Error, ErrorKind};

/// The format's registry name.
pub const FORMAT: &str = "vhdx";

/// The plugin.
pub struct Vhdx;

impl Plugin for Vhdx {
    fn describe() -> Info {
        let description = "vhdx disk images: reads fixed, dynamic and differencing ones and replays their logs in memory, \
             writes dynamic ones; refuses unknown required features, and images cut short";
        Info::new(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"), description)
    }
}

impl Format for Vhdx {
    const NAMES: &[&str] = &[FORMAT];
    type Image<R: ReadAt> = image::Image<R>;

    fn probe(head: &[u8], _: &[u8], _: u64) -> Option<Probe> {
        probe::probe(head)
    }
}

impl WritableFormat for Vhdx {
    type Writer = layout::Writer;
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

fn corrupt(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Corrupt, message)
}

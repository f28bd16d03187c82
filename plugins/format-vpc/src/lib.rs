//! The VHD format of Virtual PC, Hyper-V and Azure (QEMU calls it "vpc"): reads fixed, dynamic and differencing images,
//! writes fixed and dynamic ones.
//!
//! Written from Microsoft's "Virtual Hard Disk Image Format Specification" 1.0; what it leaves open (whose size counts, the
//! encoding of the parent's paths) is as in QEMU's `block/vpc.c` and libvhdi's document. All numbers are big-endian. A fixed
//! image is the disk and a footer of 512 bytes; the others are a copy of the footer, a header, a table of one 32-bit sector
//! number for each block of the disk, blocks (a bitmap of their sectors, then their data), and the footer.
//!
//! How big the disk is: footers have a size and a geometry (cylinders, heads, sectors) that comes to a little less. The
//! geometry counts where the creator is "vpc " or "qemu" and it is not the largest one; else the size. QEMU has the same rule,
//! but takes the geometry for every creator that it does not know, too, which cuts the end off the disks of other programs.
//!
//! Where the two readers differ otherwise:
//! - the footer at the end is the one that counts, as the specification has it. QEMU takes the copy at the start, and the one
//!   at the end only where there is none. Where both are there and say different things, or one of them does not have the
//!   right checksum, the image is refused (QEMU takes either). A fixed image whose disk begins with another image's footer is
//!   read when the user says that it is a VHD, and not recognised otherwise;
//! - a footer of 511 bytes at the end (versions of Virtual PC before 2004) is read;
//! - a dynamic image that has lost its footer at the end is read, and `check` says so;
//! - differencing images: a set bit of a sector's bitmap is this image's sector, a clear one the parent's. QEMU ignores the
//!   parent. In a dynamic image the bitmaps are ignored, as by QEMU: the blocks are whole;
//! - blocks may have any power of two from 512 bytes to 256 MiB;
//! - a block that lies past the end of the file, or on the header or table, is an error; QEMU reads zeros.
//!
//! The parent of a differencing image is a reference named by the first of these that there is: the relative Windows path
//! (W2ru), the absolute one (W2ku), the file URL (MacX), the name in the header. Backslashes become slashes. The fact `id` is
//! the image's UUID, `parent-id` the one that its parent has to have. The times of modification are not compared: the ones
//! of the parent are those of its file, which a copy does not keep.
//!
//! Refused, by name: other versions than 1, other types than 2, 3 and 4, disks of more than 2040 GiB, a parent whose name has
//! control characters or is no text.
//!
//! The glue is one module, built for WebAssembly only; the others are pure, generic over [`ReadAt`], and build, test
//! and fuzz natively.

mod check;
mod facts;
pub mod footer;
mod geometry;
#[cfg(target_family = "wasm")]
mod glue;
pub mod header;
mod identity;
pub mod image;
pub mod layout;
mod parent;
pub mod probe;

use witvirt_sdk::core::extent::Probe;
use witvirt_sdk::disk::{Format, ReadAt, WritableFormat};
use witvirt_sdk::{Info, Plugin};

pub use witvirt_sdk::{Error, ErrorKind};

/// The format's registry name: QEMU's.
pub const FORMAT: &str = "vpc";
/// What everybody else calls it.
pub const ALIAS: &str = "vhd";

/// The plugin.
pub struct Vpc;

impl Plugin for Vpc {
    fn describe() -> Info {
        let description = "vhd (vpc) disk images: reads fixed, dynamic and differencing ones, writes fixed and dynamic ones; \
             refuses images with a wrong checksum, with two footers that disagree, or cut short";
        Info::new(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"), description)
    }
}

impl Format for Vpc {
    const NAMES: &[&str] = &[FORMAT, ALIAS];
    type Image<R: ReadAt> = image::Image<R>;

    fn probe(head: &[u8], tail: &[u8], size: u64) -> Option<Probe> {
        probe::probe(head, tail, size)
    }
}

impl WritableFormat for Vpc {
    type Writer = layout::Writer;
}

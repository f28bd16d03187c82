//! The QED format: reads and writes images and overlays.
//!
//! Written from QEMU's `docs/interop/qed_spec`: a header, an L1 table that names L2 tables that name clusters, all
//! little-endian.
//!
//! - An image that is marked as needing a check (it was not closed) is read: its tables are checked where they are met, so
//!   a broken entry is an error and never wrong data. The fact `need-check` and a finding of `check` say so. QEMU repairs
//!   such an image when it opens it for writing, and reads it as it is otherwise.
//! - A backing image is raw where the header says that its format must not be probed; else its format is not known, and the
//!   reference has no hint: somebody has to state it.
//! - Cluster and table sizes are those of the document: 4 KiB to 64 MiB, 1 to 16 clusters; both powers of two. QEMU opens no image
//!   with tables of one cluster (it takes their end for an overflow), nor one whose tables could map 2^64 bytes; both are
//!   read and not written.
//! - Unknown feature bits are refused; unknown compatible and autoclear bits are ignored, as the document asks.
//! - Tables have to lie in the file wholly, as the document says (QEMU asks only for their first and last cluster to begin
//!   in it). A data cluster may end with the disk's last byte. What lies past the end of the file is an error; QEMU reads
//!   zeros.
//! - An L1 table that names more L2 tables than the file can hold, tables inside the header or the L1 table, names of
//!   backing images that are not UTF-8 or have control characters are refused.
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
pub const FORMAT: &str = "qed";

/// The plugin.
pub struct Qed;

impl Plugin for Qed {
    fn describe() -> Info {
        let description = "QED disk images: reads and writes images and overlays; refuses unknown features and what lies past \
             the end of the file";
        Info::new(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"), description)
    }
}

impl Format for Qed {
    const NAMES: &[&str] = &[FORMAT];
    type Image<R: ReadAt> = image::Image<R>;

    fn probe(head: &[u8], _: &[u8], _: u64) -> Option<Probe> {
        probe::probe(head)
    }
}

impl WritableFormat for Qed {
    type Writer = layout::Writer;
}

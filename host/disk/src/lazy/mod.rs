//! Disks whose image is still on its way.
//!
//! ```text
//! guest ── qcow2 overlay ── NBD ──> LazyImage ── DiskReader ── map windows, decoding
//!                                      │              │
//!                               fills and keeps       v
//!                                      └───────> Arriving ── chunks of 1 MiB ──> source, journal in the store
//!                                                     ├──── ranges ────> Blob (HTTP, registry)
//!                                                     └──── whole pieces, verified and decoded ────> Blobs (registry)
//! ```
//!
//! What arrives is the image file as it is on the server: each byte of it is fetched once, whoever wanted it and in
//! whatever order, and kept in the store with a checksum. Guests' reads come first; a background thread fetches the rest
//! when they are quiet. A server that does not answer fails nothing: reads wait, for as long as their client does, and go
//! on where they were. After a kill -9 or a power cut the next process goes on with what is there.
//!
//! An artifact in pieces that decode independently (tart's disks) arrives piece by piece: nothing of one is read before its
//! digests were compared. What a server has in one object is read unverified until the end, where a digest is known only of
//! all of it; a tar's member is a window of it. Anything else cannot be read in the middle, and is imported first.
//!
//! Once all of it is there, it is imported as any other file is: its SHA-256 is compared with what the user gave, its
//! content is decoded, hashed and published, and machines start from the plain base from then on. So the digest of the
//! source is known only at the end; that it is of the very bytes that the guest has read is certain.

mod arriving;
mod choose;
mod claim;
mod file;
mod image;
mod journal;
mod piece;
mod reader;
mod record;
mod remote;
mod units;

pub(crate) use arriving::Arriving;
pub(crate) use choose::{Place, locate, reason_against, units_of};
pub(crate) use file::ImageFile;
pub(crate) use image::Parts;
pub use image::{LazyImage, LazyPhase, LazyStatus, Pace};
pub(crate) use journal::Journal;
pub(crate) use reader::DiskReader;
pub use record::LazyRequest;
pub(crate) use record::{LazyRecord, id_of};
pub use remote::{Connect, Waiting};
pub(crate) use remote::{Identification, Remote};

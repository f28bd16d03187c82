//! The data path: sources, extent validation, movers and the image store.
//!
//! No foreign format is parsed here. Format plugins ([`witvirt_core::format`]) say where the bytes of a guest's disk lie;
//! this crate checks every word of it ([`map`]), resolves the files an image names inside directories that the operator
//! allowed ([`source`]), checks what plugins make of artifacts in registries ([`artifact`]), moves the bytes (`copy`) and
//! keeps the result under the digest of what a guest sees ([`Store`], [`content`]).
//!
//! Everything blocks: run it off the async threads.

pub mod artifact;
mod blob;
mod codec;
pub mod content;
mod copy;
mod digests;
mod error;
mod import_source;
pub mod iso;
mod lazy;
mod limits;
pub mod map;
pub mod nbd;
mod progress;
mod record;
mod request;
pub mod source;
mod space;
mod store;
mod stream;
mod sys;

pub use blob::Blob;
pub use digests::{Algorithm, Checksum, InvalidChecksum};
pub use error::{Error, ErrorKind, Result};
pub use import_source::{ArtifactDisk, ArtifactFile, ArtifactPiece, ImportSource, Upload};
pub use lazy::{Connect, LazyImage, LazyPhase, LazyRequest, LazyStatus, Pace, Waiting};
pub use limits::Limits;
pub use progress::{Progress, ProgressStatus};
pub use record::{ImageRecord, ImageState, ImageSummary, KeptFile, MOST_ORIGINS, Origin, Seal, SourceRecord};
pub use request::{
    Access, CheckReport, ConvertRequest, ConvertSource, Converted, DiskHandle, DiskKind, DiskRecord,
    ImageInfo, ImportRequest, Imported, Reading, Removed, SourceFile,
};
pub use source::{AllowedDirs, FileSource, Source};
pub use store::{CollectRules, Collected, ImageUser, Lazily, LazyAccess, Store, StoreOptions, StoredDisk};
pub use stream::{InvalidUnpack, Transport, Unpack, Whiteouts};

//! Objects behind a network: what the store needs of them, so that it knows no protocol.

use std::fmt::Debug;
use std::io::Read;

use witvirt_core::Digest;

use crate::error::Result;

/// A remote object: one sequence of bytes that must not change while it is read. Implemented for HTTP servers and OCI
/// registries by `witvirt-fetch`.
///
/// Every call blocks and is bounded in time: an implementation retries what is worth it, with growing pauses, and gives
/// up with [`crate::ErrorKind::Unavailable`]. That kind alone means that the same call may succeed later.
pub trait Blob: Send + Sync + Debug {
    /// Its name in messages (a URL without credentials, a digest in a repository), without control characters.
    fn label(&self) -> &str;

    /// Length in bytes; `None` when the server does not say.
    fn size(&self) -> Option<u64>;

    /// Whether [`Blob::read`] works: the server honours ranges and the size is known.
    fn ranges(&self) -> bool;

    /// What changes when the bytes do: a strong entity tag, a modification time, a digest. Equal versions of the same label
    /// are the same bytes; `None`: it cannot be told, and a download cannot be resumed by another process.
    fn version(&self) -> Option<&str>;

    /// SHA-256 of the bytes, where the place it comes from promises one (a registry does). Whoever reads verifies it.
    fn digest(&self) -> Option<Digest>;

    /// Fills `buffer` from `offset` (bytes); returns how many bytes were read, fewer only at the end of the object.
    ///
    /// # Errors
    /// `Unavailable` when the server cannot be reached for now; `Changed` when the object is another one by now;
    /// `Unsupported` without ranges.
    fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<usize>;

    /// The bytes from `offset` (bytes; not 0 only with ranges) to the end, in order. A connection that is cut is taken up
    /// again where it ended, where the server honours ranges. Errors are wrapped [`crate::Error`]s.
    ///
    /// # Errors
    /// As [`Blob::read`].
    fn stream(&self, offset: u64) -> Result<Box<dyn Read + Send>>;
}

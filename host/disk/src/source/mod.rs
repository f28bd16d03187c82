//! What images are read from. Files are opened once, below directories that the operator allowed, never by a path that a
//! link could bend; what comes from elsewhere implements [`Source`] too.

use std::fs::File;
use std::sync::atomic::{AtomicU64, Ordering};

use witvirt_core::source::ByteSource;

use crate::error::{Doing, Error, ErrorKind, Result};

mod allowed;
mod file;
mod lock;
mod window;

pub use allowed::{AllowedDirs, Located};
pub use file::FileSource;

pub(crate) use allowed::{show, unshow};
pub(crate) use window::{Cursor, Window};

/// Which file or object a source is, whatever its names: device and inode, or a number of this process with the device
/// `u64::MAX`.
pub type Identity = (u64, u64);

/// An identity that no file has.
pub(crate) fn fresh_identity() -> Identity {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    (u64::MAX, NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Bytes of an image, wherever they come from: what the map, the movers and the plugins read.
pub trait Source: ByteSource + std::fmt::Debug {
    /// Its name in messages, without control characters.
    fn label(&self) -> &str;

    /// Which one it is.
    fn identity(&self) -> Identity;

    /// Compares it with what it was when it was opened.
    ///
    /// # Errors
    /// `Changed` when what was read is not of one moment.
    fn verify_unchanged(&self) -> Result<()>;

    /// The first byte at or after `offset` that is stored, or the size. A source without holes answers `offset`.
    fn next_data(&self, offset: u64) -> u64 {
        offset.min(self.size())
    }

    /// The first byte at or after `offset` that is in a hole, or the size.
    fn next_hole(&self, _offset: u64) -> u64 {
        self.size()
    }

    /// The open file that holds the bytes, and where in it they begin: what a mover may clone from.
    fn file(&self) -> Option<(&File, u64)> {
        None
    }

    /// Says that the movers are done with `length` bytes from `offset`: a source that keeps what has arrived may let go of
    /// them.
    fn consumed(&self, _offset: u64, _length: u64) {}

    /// Fills `buffer` from `offset` with an encoded run, whose length is an upper bound
    /// (`witvirt:disk/format.encoded`): where the source ends less than 512 bytes before, the rest are zeros.
    ///
    /// # Errors
    /// As [`Source::read_exact_at`].
    fn read_encoded_at(&self, buffer: &mut [u8], offset: u64) -> Result<()> {
        self.read_exact_at(buffer, offset)
    }

    /// Fills `buffer` from `offset`.
    ///
    /// # Errors
    /// `Corrupt`, with where bytes are missing, when the source ends before; whatever reading reports.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> Result<()> {
        let label = self.label();
        let end = offset.saturating_add(buffer.len() as u64);
        let read = self.read_at(buffer, offset).doing(|| format!("read {label} at byte {offset}"))?;
        if read == buffer.len() {
            return Ok(());
        }
        let message = format!("{label} ends at byte {}, data up to byte {end} is missing", self.size());
        Err(Error::new(ErrorKind::Corrupt, message))
    }
}

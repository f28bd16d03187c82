//! Room on the store's filesystem, for imports of which nobody knows beforehand how much they write.

use std::fs::File;

use crate::error::{Doing, Error, ErrorKind, Result};

/// How often free space is looked at, in bytes written.
const EVERY: u64 = 32 << 20;

/// Most that has to stay free, in bytes.
const MOST: u64 = 16 << 30;

/// Counts what is written, and stops before the filesystem is full: machines write their overlays there too.
#[derive(Debug, Default)]
pub(crate) struct Room {
    unseen: u64,
}

impl Room {
    /// `bytes` more were written to `file`'s filesystem.
    ///
    /// # Errors
    /// `NoSpace` when less would be left than a fiftieth of the filesystem, or 16 GiB where that is less.
    pub(crate) fn take(&mut self, file: &File, bytes: u64) -> Result<()> {
        self.unseen = self.unseen.saturating_add(bytes);
        if self.unseen < EVERY {
            return Ok(());
        }
        self.unseen = 0;
        let stat = rustix::fs::fstatvfs(file).doing(|| "look for free space".into())?;
        let available = stat.f_bavail.saturating_mul(stat.f_frsize);
        let kept = kept(stat.f_blocks.saturating_mul(stat.f_frsize));
        if available >= kept.saturating_add(EVERY) {
            return Ok(());
        }
        let (available, kept) = (witvirt_core::ByteSize(available), witvirt_core::ByteSize(kept));
        let message = format!(
            "not enough space: {available} are left on the store's filesystem, of which {kept} are kept free for machines"
        );
        Err(Error::new(ErrorKind::NoSpace, message))
    }
}

/// What stays free of a filesystem of `total` bytes.
fn kept(total: u64) -> u64 {
    (total / 50).min(MOST)
}

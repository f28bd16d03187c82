//! Reading a plugin's file.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags};
use sha2::{Digest as _, Sha256};
use witvirt_core::{ByteSize, Digest};

/// Bytes that are read and hashed in one go.
const PIECE: u64 = 64 << 10;

/// Why a plugin's file was not read.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The operating system's reason.
    #[error("cannot open it")]
    Open(#[source] std::io::Error),
    /// The operating system's reason.
    #[error("cannot read it")]
    Read(#[source] std::io::Error),
    /// The last component of the path is a symbolic link.
    #[error(
        "it is a symbolic link, which could be turned elsewhere after a check; give the path of the file itself"
    )]
    Symlink,
    /// A directory, a device, a pipe.
    #[error("it is not a regular file")]
    NotRegular,
    /// Over the bound.
    #[error("it has {size}, more than the {limit} that a component may have")]
    TooLarge {
        /// What it has.
        size: ByteSize,
        /// What it may have.
        limit: ByteSize,
    },
}

/// The bytes of a regular file that is no symbolic link, at most `limit` of them, and their SHA-256.
pub(crate) fn read(path: &Path, limit: ByteSize) -> Result<(Vec<u8>, Digest), FileError> {
    // NONBLOCK: a pipe put in the plugin's place must not hang the daemon.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = rustix::fs::open(path, flags, Mode::empty()).map_err(|error| match error {
        rustix::io::Errno::LOOP => FileError::Symlink,
        error => FileError::Open(error.into()),
    })?;
    let stat = rustix::fs::fstat(&file).map_err(|error| FileError::Open(error.into()))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(FileError::NotRegular);
    }
    let size = u64::try_from(stat.st_size).unwrap_or(u64::MAX);
    if size > limit.get() {
        return Err(FileError::TooLarge { size: ByteSize(size), limit });
    }
    let mut file = File::from(file).take(limit.get() + 1);
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
    let mut hasher = Sha256::new();
    // In pieces, so that each is hashed while the processor's cache has it.
    loop {
        let start = bytes.len();
        let count = (&mut file).take(PIECE).read_to_end(&mut bytes).map_err(FileError::Read)?;
        if count == 0 {
            break;
        }
        hasher.update(&bytes[start..]);
    }
    if bytes.len() as u64 > limit.get() {
        return Err(FileError::TooLarge { size: ByteSize(bytes.len() as u64), limit });
    }
    Ok((bytes, Digest::from_bytes(hasher.finalize().into())))
}

//! A file that was opened to be read.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, PoisonError};

use rustix::fs::{FileType, SeekFrom};
use witvirt_core::source::ByteSource;

use super::{Identity, Source, lock};
use crate::error::{Doing, Error, ErrorKind, Result, SourceChanged};

/// A regular file or block device, with the size and times it had when it was opened. It holds QEMU's read locks.
#[derive(Debug)]
pub struct FileSource {
    file: File,
    label: String,
    size: u64,
    stamp: Option<Stamp>,
    identity: Identity,
    sparse: bool,
    /// The stored range that was met last: images name one place again and again, and each question is a system call.
    stored: Mutex<Range<u64>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    size: u64,
    mtime: (i64, u64),
    ctime: (i64, u64),
}

impl FileSource {
    /// Takes an open file. `label` stands for it in messages; it is escaped here.
    ///
    /// # Errors
    /// `Denied` when it is neither a regular file nor a block device; `InUse` when another process writes it.
    pub fn new(file: impl Into<OwnedFd>, label: &str) -> Result<Self> {
        let mut source = Self::unlocked(file, label)?;
        source.lock()?;
        Ok(source)
    }

    /// A file of the store itself: sealed and read only, so that nobody has to be locked out of it.
    pub(crate) fn unlocked(file: impl Into<OwnedFd>, label: &str) -> Result<Self> {
        let file = File::from(file.into());
        let label = label.escape_debug().to_string();
        let stat = rustix::fs::fstat(&file).doing(|| format!("stat {label}"))?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        let identity = (stat.st_dev, stat.st_ino);
        match kind {
            FileType::RegularFile => {
                let size = stat.st_size.unsigned_abs();
                let sparse = stat.st_blocks.unsigned_abs().saturating_mul(512) < size;
                let stamp = Some(Stamp::of(&stat));
                Ok(Self { stamp, file, label, size, identity, sparse, stored: Mutex::default() })
            }
            FileType::BlockDevice => {
                let size = rustix::fs::seek(&file, SeekFrom::End(0))
                    .doing(|| format!("find the size of {label}"))?;
                let identity = (stat.st_rdev, u64::MAX);
                Ok(Self { stamp: None, file, label, size, identity, sparse: false, stored: Mutex::default() })
            }
            other => Err(Error::new(
                ErrorKind::Denied,
                format!("{label} is a {}: only regular files and block devices are read", kind_name(other)),
            )),
        }
    }

    /// The end of the stored range that `offset` is in, where that is known.
    fn known(&self, offset: u64) -> Option<u64> {
        let stored = self.stored.lock().unwrap_or_else(PoisonError::into_inner);
        stored.contains(&offset).then_some(stored.end)
    }

    fn lock(&mut self) -> Result<()> {
        if lock::lock_for_reading(&self.file).doing(|| format!("lock {}", self.label))? {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::InUse,
            format!("{} is being written by another process (a running machine?): stop it first", self.label),
        ))
    }
}

impl ByteSource for FileSource {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let available = self.size.saturating_sub(offset).min(buffer.len() as u64) as usize;
        let mut filled = 0;
        while filled < available {
            match self.file.read_at(&mut buffer[filled..available], offset + filled as u64) {
                Ok(0) => {
                    let message = format!(
                        "{} shrank below the {} bytes it had when it was opened",
                        self.label, self.size
                    );
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, SourceChanged(message)));
                }
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }
}

impl Source for FileSource {
    fn label(&self) -> &str {
        &self.label
    }

    fn identity(&self) -> Identity {
        self.identity
    }

    fn verify_unchanged(&self) -> Result<()> {
        let Some(stamp) = self.stamp else { return Ok(()) };
        let stat = rustix::fs::fstat(&self.file).doing(|| format!("stat {}", self.label))?;
        if Stamp::of(&stat) == stamp {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Changed,
            format!("{} changed while it was read: try again when nobody writes it", self.label),
        ))
    }

    fn next_data(&self, offset: u64) -> u64 {
        if !self.sparse || offset >= self.size {
            return offset.min(self.size);
        }
        if self.known(offset).is_some() {
            return offset;
        }
        match rustix::fs::seek(&self.file, SeekFrom::Data(offset)) {
            Ok(data) => data.clamp(offset, self.size),
            Err(rustix::io::Errno::NXIO) => self.size,
            Err(_) => offset,
        }
    }

    fn next_hole(&self, offset: u64) -> u64 {
        if !self.sparse || offset >= self.size {
            return self.size;
        }
        if let Some(hole) = self.known(offset) {
            return hole;
        }
        let found = rustix::fs::seek(&self.file, SeekFrom::Hole(offset));
        let hole = found.map_or(self.size, |hole| hole.clamp(offset, self.size));
        *self.stored.lock().unwrap_or_else(PoisonError::into_inner) = offset..hole;
        hole
    }

    fn file(&self) -> Option<(&File, u64)> {
        Some((&self.file, 0))
    }
}

impl Stamp {
    fn of(stat: &rustix::fs::Stat) -> Self {
        Self {
            size: stat.st_size.unsigned_abs(),
            mtime: (stat.st_mtime, stat.st_mtime_nsec),
            ctime: (stat.st_ctime, stat.st_ctime_nsec),
        }
    }
}

pub(super) fn kind_name(kind: FileType) -> &'static str {
    match kind {
        FileType::Directory => "directory",
        FileType::Symlink => "symbolic link",
        FileType::Fifo => "FIFO",
        FileType::Socket => "socket",
        FileType::CharacterDevice => "character device",
        _ => "file of an unknown kind",
    }
}

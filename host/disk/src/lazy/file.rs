//! The image file inside what arrives: all of it, or a member of an archive.

use std::fs::File;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use witvirt_core::source::ByteSource;

use super::arriving::{Arriving, Gone};
use super::remote::lock;
use crate::error::{Error, ErrorKind, Result};
use crate::source::{Identity, Source};

/// Bytes `start .. start + size` of what arrives.
#[derive(Debug, Clone)]
pub(crate) struct ImageFile {
    arriving: Arc<Arriving>,
    start: u64,
    size: u64,
}

impl ImageFile {
    /// All of it.
    pub(crate) fn whole(arriving: Arc<Arriving>) -> Self {
        let size = arriving.size();
        Self { arriving, start: 0, size }
    }

    /// A part, of which nothing lies behind the end.
    pub(crate) fn window(arriving: Arc<Arriving>, start: u64, size: u64) -> Self {
        let start = start.min(arriving.size());
        let size = size.min(arriving.size() - start);
        Self { arriving, start, size }
    }

    pub(crate) fn start(&self) -> u64 {
        self.start
    }

    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    pub(super) fn label(&self) -> &str {
        self.arriving.label()
    }

    /// As [`Arriving::read`].
    pub(super) fn read(&self, buffer: &mut [u8], offset: u64, gone: Gone<'_>) -> Result<()> {
        self.arriving.read(buffer, self.place(offset, buffer.len() as u64)?, gone)
    }

    /// As [`Arriving::want`].
    pub(super) fn want(&self, missing: Missing, gone: Gone<'_>) -> Result<()> {
        self.arriving.want(self.place(missing.offset, missing.length)?, missing.length, gone)
    }

    fn place(&self, offset: u64, length: u64) -> Result<u64> {
        let inside = offset.checked_add(length).is_some_and(|end| end <= self.size);
        inside.then(|| self.start + offset).ok_or_else(|| {
            let message = format!(
                "{} ends at byte {}, {length} bytes at {offset} are missing",
                self.label(),
                self.size
            );
            Error::new(ErrorKind::Corrupt, message)
        })
    }
}

/// What a plugin wanted to read and was not here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Missing {
    pub(super) offset: u64,
    pub(super) length: u64,
}

/// What there is of the file, for plugins and readers of archives: it never waits.
#[derive(Debug)]
pub(super) struct Present {
    file: ImageFile,
    identity: Identity,
    missed: Mutex<Option<Missing>>,
}

impl Present {
    pub(super) fn new(file: ImageFile) -> Self {
        static COUNTER: AtomicU64 = AtomicU64::new(1 << 48);
        let identity = (u64::MAX, COUNTER.fetch_add(1, Ordering::Relaxed));
        Self { file, identity, missed: Mutex::default() }
    }

    /// What was wanted last and not here, once.
    pub(super) fn take_missed(&self) -> Option<Missing> {
        lock(&self.missed).take()
    }
}

impl ByteSource for Present {
    fn size(&self) -> u64 {
        self.file.size
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<usize> {
        let length = self.size().saturating_sub(offset).min(buffer.len() as u64);
        if length == 0 {
            return Ok(0);
        }
        if self.file.arriving.try_read(&mut buffer[..length as usize], self.file.start + offset)? {
            return Ok(length as usize);
        }
        *lock(&self.missed) = Some(Missing { offset, length });
        Err(std::io::Error::new(std::io::ErrorKind::WouldBlock, "these bytes have not arrived yet"))
    }
}

impl Source for Present {
    fn label(&self) -> &str {
        self.file.label()
    }

    fn identity(&self) -> Identity {
        self.identity
    }

    fn verify_unchanged(&self) -> Result<()> {
        // What has arrived is of one version of the object.
        Ok(())
    }

    fn file(&self) -> Option<(&File, u64)> {
        Some((self.file.arriving.file(), self.file.start))
    }
}

//! The face that the image store sees.

use std::fmt;
use std::io;
use std::sync::Arc;

use bytes::{Buf as _, Bytes};
use witvirt_core::Digest;
use witvirt_disk::{Blob, Error, ErrorKind, Result};

use super::reader::{Reader, Remote};
use crate::runtime::Runtime;

/// An object on a server.
pub(crate) struct RemoteBlob {
    remote: Arc<Remote>,
    version: Option<String>,
    runtime: Runtime,
}

impl RemoteBlob {
    pub(crate) fn new(remote: Remote, runtime: Runtime) -> Self {
        let version = remote.digest.map(|digest| digest.to_string()).or_else(|| remote.facts.version());
        Self { remote: Arc::new(remote), version, runtime }
    }

    fn no_ranges(&self) -> Error {
        let message = format!("{}: the server serves no parts of it", self.remote.label);
        Error::new(ErrorKind::Unsupported, message)
    }
}

impl Blob for RemoteBlob {
    fn label(&self) -> &str {
        &self.remote.label
    }

    fn size(&self) -> Option<u64> {
        self.remote.facts.size
    }

    fn ranges(&self) -> bool {
        self.remote.facts.ranges
    }

    fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }

    fn digest(&self) -> Option<Digest> {
        self.remote.digest
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        let size = self.size().filter(|_| self.ranges()).ok_or_else(|| self.no_ranges())?;
        let end = offset.saturating_add(buffer.len() as u64).min(size);
        if offset >= end {
            return Ok(0);
        }
        let mut reader = Reader::new(self.remote.clone(), offset, Some(end));
        self.runtime.block_on(async {
            let mut filled = 0;
            while let Some(bytes) = reader.chunk().await? {
                buffer[filled..filled + bytes.len()].copy_from_slice(&bytes);
                filled += bytes.len();
            }
            Ok(filled)
        })
    }

    fn stream(&self, offset: u64) -> Result<Box<dyn io::Read + Send>> {
        if offset > 0 && !self.ranges() {
            return Err(self.no_ranges());
        }
        let reader = Reader::new(self.remote.clone(), offset, self.size());
        Ok(Box::new(Stream { reader, rest: Bytes::new(), runtime: self.runtime.clone() }))
    }
}

impl fmt::Debug for RemoteBlob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteBlob")
            .field("label", &self.remote.label)
            .field("size", &self.size())
            .field("ranges", &self.ranges())
            .finish_non_exhaustive()
    }
}

/// The bytes in order.
struct Stream {
    reader: Reader,
    rest: Bytes,
    runtime: Runtime,
}

impl io::Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        if self.rest.is_empty() {
            let Some(bytes) = self.runtime.block_on(self.reader.chunk())? else { return Ok(0) };
            self.rest = bytes;
        }
        let count = buffer.len().min(self.rest.len());
        buffer[..count].copy_from_slice(&self.rest[..count]);
        self.rest.advance(count);
        Ok(count)
    }
}

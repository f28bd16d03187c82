//! A part of another source as a source of its own: the member of an archive, without a copy of it.

use std::fs::File;
use std::io;
use std::sync::Arc;

use witvirt_core::source::ByteSource;

use super::{Identity, Source, fresh_identity};
use crate::error::Result;

/// Bytes `start .. start + size` of another source.
#[derive(Debug)]
pub(crate) struct Window {
    whole: Arc<dyn Source>,
    label: String,
    identity: Identity,
    start: u64,
    size: u64,
}

impl Window {
    /// `name` is added to the label of `whole`, inside which the window lies.
    pub(crate) fn new(whole: Arc<dyn Source>, name: &str, start: u64, size: u64) -> Self {
        let label = format!("{} ({})", whole.label(), name.escape_debug());
        // An archive that is cut has less than its headers say; then the window is as short.
        let start = start.min(whole.size());
        let size = size.min(whole.size() - start);
        Self { whole, label, identity: fresh_identity(), start, size }
    }

    fn inside(&self, at: u64) -> u64 {
        at.saturating_sub(self.start).min(self.size)
    }
}

impl ByteSource for Window {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let available = self.size.saturating_sub(offset).min(buffer.len() as u64) as usize;
        self.whole.read_at(&mut buffer[..available], self.start.saturating_add(offset))
    }
}

impl Source for Window {
    fn label(&self) -> &str {
        &self.label
    }

    fn identity(&self) -> Identity {
        self.identity
    }

    fn verify_unchanged(&self) -> Result<()> {
        self.whole.verify_unchanged()
    }

    fn next_data(&self, offset: u64) -> u64 {
        if offset >= self.size {
            return self.size;
        }
        self.inside(self.whole.next_data(self.start + offset))
    }

    fn next_hole(&self, offset: u64) -> u64 {
        if offset >= self.size {
            return self.size;
        }
        self.inside(self.whole.next_hole(self.start + offset))
    }

    fn file(&self) -> Option<(&File, u64)> {
        self.whole.file().map(|(file, base)| (file, base + self.start))
    }
}

/// Reads a source in order.
pub(crate) struct Cursor {
    source: Arc<dyn Source>,
    at: u64,
}

impl Cursor {
    pub(crate) fn new(source: Arc<dyn Source>) -> Self {
        Self { source, at: 0 }
    }
}

impl io::Read for Cursor {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read_at(buffer, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

impl crate::stream::Skip for Cursor {
    fn skip(&mut self, bytes: u64) -> io::Result<()> {
        self.at = self.at.saturating_add(bytes).min(self.source.size());
        Ok(())
    }
}

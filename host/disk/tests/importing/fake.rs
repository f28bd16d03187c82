//! A remote object without a network.

use std::io::{self, Read};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use witvirt_core::Digest;
use witvirt_disk::{Blob, Error, ErrorKind, Progress, Result};

/// Bytes behind a server that can be made to misbehave.
#[derive(Debug)]
pub struct FakeBlob {
    pub bytes: Vec<u8>,
    pub label: String,
    pub ranges: bool,
    pub size: Option<u64>,
    pub version: Option<String>,
    pub digest: Option<Digest>,
    /// Streams end with `Unavailable` at this byte.
    pub cut: AtomicU64,
    /// What streams cancel where they would end otherwise.
    pub cancels: Mutex<Option<Arc<Progress>>>,
    /// Streams end quietly at this byte.
    pub short: u64,
    /// Ranges from this byte on are of other bytes.
    pub lies_from: u64,
    /// Ranges from this byte on are right again.
    pub lies_to: u64,
    /// Bytes that were given out.
    pub served: AtomicU64,
    /// Where ranges were asked for.
    pub asked: Mutex<Vec<(u64, usize)>>,
    /// Where streams were begun.
    pub begun: Mutex<Vec<u64>>,
    /// How long a stream waits before each piece it gives.
    pub delay: std::time::Duration,
}

impl FakeBlob {
    /// A well-behaved server that honours ranges.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self {
            label: "http://fake/image".into(),
            ranges: true,
            size: Some(bytes.len() as u64),
            version: Some("\"one\"".into()),
            digest: None,
            cut: AtomicU64::new(u64::MAX),
            cancels: Mutex::default(),
            short: u64::MAX,
            lies_from: u64::MAX,
            lies_to: u64::MAX,
            served: AtomicU64::new(0),
            asked: Mutex::default(),
            begun: Mutex::default(),
            delay: std::time::Duration::ZERO,
            bytes,
        }
    }

    /// One that can only be read from the beginning.
    pub fn without_ranges(bytes: Vec<u8>) -> Self {
        Self { ranges: false, ..Self::new(bytes) }
    }

    pub fn served(&self) -> u64 {
        self.served.load(Ordering::Relaxed)
    }
}

/// What an import takes: the same object, to be looked at afterwards.
#[derive(Debug, Clone)]
pub struct Shared(pub Arc<FakeBlob>);

impl Blob for Shared {
    fn label(&self) -> &str {
        &self.0.label
    }

    fn size(&self) -> Option<u64> {
        self.0.size
    }

    fn ranges(&self) -> bool {
        self.0.ranges
    }

    fn version(&self) -> Option<&str> {
        self.0.version.as_deref()
    }

    fn digest(&self) -> Option<Digest> {
        self.0.digest
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        assert!(self.0.ranges, "a range was asked of a server that has none");
        let from = (offset as usize).min(self.0.bytes.len());
        let to = (from + buffer.len()).min(self.0.bytes.len());
        buffer[..to - from].copy_from_slice(&self.0.bytes[from..to]);
        if (self.0.lies_from..self.0.lies_to).contains(&offset) {
            buffer[..to - from].iter_mut().for_each(|byte| *byte ^= 0x55);
        }
        self.0.served.fetch_add((to - from) as u64, Ordering::Relaxed);
        self.0.asked.lock().unwrap().push((offset, buffer.len()));
        Ok(to - from)
    }

    fn stream(&self, offset: u64) -> Result<Box<dyn Read + Send>> {
        assert!(self.0.ranges || offset == 0);
        self.0.begun.lock().unwrap().push(offset);
        Ok(Box::new(FakeStream { blob: Arc::clone(&self.0), at: offset }))
    }
}

struct FakeStream {
    blob: Arc<FakeBlob>,
    at: u64,
}

impl Read for FakeStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        std::thread::sleep(self.blob.delay);
        let mut cut = self.blob.cut.load(Ordering::Relaxed);
        let cancelled = self.blob.cancels.lock().unwrap().clone().filter(|_| self.at >= cut);
        if let Some(progress) = cancelled {
            progress.cancel();
            cut = u64::MAX;
        }
        if self.at >= cut {
            return Err(Error::new(ErrorKind::Unavailable, "the fake server is gone").into());
        }
        let end = (self.blob.bytes.len() as u64).min(cut).min(self.blob.short);
        let count = end.saturating_sub(self.at).min(buffer.len() as u64).min(50_000) as usize;
        let from = self.at as usize;
        buffer[..count].copy_from_slice(&self.blob.bytes[from..from + count]);
        self.at += count as u64;
        self.blob.served.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

/// An import of it, for everything else to be set.
pub fn request(blob: &Arc<FakeBlob>) -> witvirt_disk::ImportRequest {
    witvirt_disk::ImportRequest::of(witvirt_disk::ImportSource::Blob(Arc::new(Shared(Arc::clone(blob)))))
}

//! From table entries to long runs.

use witvirt_sdk::core::extent::{Encoded, ExtentKind, Page};
use witvirt_sdk::disk::Runs;

/// A page in the making, of a disk with or without a parent.
#[derive(Debug)]
pub(crate) struct PageRuns {
    runs: Runs,
    /// Whether there is a parent below.
    parent: bool,
}

impl PageRuns {
    pub fn new(start: u64, max: u32, parent: bool) -> Self {
        Self { runs: Runs::new(start, max), parent }
    }

    pub fn position(&self) -> u64 {
        self.runs.position()
    }

    pub fn into_page(self, end: u64) -> Page {
        self.runs.into_page(end)
    }

    /// What is not in this image. False when the page is full; then nothing was added. The same is true of the others.
    pub fn push_unallocated(&mut self, length: u64) -> bool {
        self.runs.push(length, if self.parent { ExtentKind::Parent } else { ExtentKind::Unallocated })
    }

    pub fn push_zero(&mut self, length: u64) -> bool {
        self.runs.push(length, ExtentKind::Zero)
    }

    pub fn push_data(&mut self, length: u64, source: u32, offset: u64) -> bool {
        self.runs.push(length, ExtentKind::Data { source, offset })
    }

    pub fn push_encoded(&mut self, length: u64, encoded: Encoded) -> bool {
        self.runs.push(length, ExtentKind::Encoded(encoded))
    }
}

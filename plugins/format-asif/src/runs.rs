//! A page in the making.

use witvirt_sdk::core::extent::{Extent, ExtentKind};

/// Ascending, contiguous, joined where neighbours continue each other.
#[derive(Debug)]
pub(crate) struct Runs {
    extents: Vec<Extent>,
    max: usize,
    position: u64,
}

impl Runs {
    pub fn new(start: u64, max: usize) -> Self {
        Self { extents: Vec::new(), max, position: start }
    }

    /// Where the next run starts.
    pub fn position(&self) -> u64 {
        self.position
    }

    pub fn into_extents(self) -> Vec<Extent> {
        self.extents
    }

    /// Adds a run that is stored at `offset`, or nowhere. False when the page is full; then nothing was added.
    pub fn push(&mut self, length: u64, offset: Option<u64>) -> bool {
        let kind = match offset {
            Some(offset) => ExtentKind::Data { source: 0, offset },
            None => ExtentKind::Unallocated,
        };
        let full = self.extents.len() == self.max;
        match self.extents.last_mut() {
            Some(last) if continues(last, &kind) => last.length += length,
            _ if full => return false,
            _ => self.extents.push(Extent { start: self.position, length, kind }),
        }
        self.position += length;
        true
    }
}

fn continues(last: &Extent, next: &ExtentKind) -> bool {
    match (&last.kind, next) {
        (ExtentKind::Unallocated, ExtentKind::Unallocated) => true,
        (ExtentKind::Data { offset, .. }, ExtentKind::Data { offset: next, .. }) => {
            offset + last.length == *next
        }
        _ => false,
    }
}

//! A page of the map in the making.

use witvirt_sdk::core::extent::{Extent, ExtentKind};

/// Ascending, contiguous extents, joined where neighbours continue each other.
#[derive(Debug)]
pub(crate) struct Runs {
    extents: Vec<Extent>,
    max: usize,
    /// Where the next run starts.
    position: u64,
}

impl Runs {
    pub fn new(start: u64, max: usize) -> Self {
        Self { extents: Vec::new(), max, position: start }
    }

    pub fn position(&self) -> u64 {
        self.position
    }

    pub fn into_extents(self) -> Vec<Extent> {
        self.extents
    }

    /// False when the page is full; then nothing was added.
    pub fn push(&mut self, length: u64, kind: ExtentKind) -> bool {
        if let Some(last) = self.extents.last_mut()
            && continues(last, &kind)
        {
            last.length += length;
        } else if self.extents.len() < self.max {
            self.extents.push(Extent { start: self.position, length, kind });
        } else {
            return false;
        }
        self.position += length;
        true
    }
}

fn continues(last: &Extent, next: &ExtentKind) -> bool {
    match (&last.kind, next) {
        (ExtentKind::Zero, ExtentKind::Zero)
        | (ExtentKind::Parent, ExtentKind::Parent)
        | (ExtentKind::Unallocated, ExtentKind::Unallocated) => true,
        (ExtentKind::Data { source: a, offset }, ExtentKind::Data { source: b, offset: next }) => {
            a == b && offset + last.length == *next
        }
        _ => false,
    }
}

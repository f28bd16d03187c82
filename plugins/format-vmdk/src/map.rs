//! From table entries to long runs.

use witvirt_sdk::core::extent::{Encoded, Extent, ExtentKind};

/// A page in the making: ascending, contiguous, joined where neighbours continue each other.
#[derive(Debug)]
pub(crate) struct Runs {
    extents: Vec<Extent>,
    max: usize,
    /// Where the next run starts, in bytes of the disk.
    position: u64,
    /// Whether there is a parent below.
    parent: bool,
}

impl Runs {
    pub fn new(start: u64, max: usize, parent: bool) -> Self {
        Self { extents: Vec::new(), max, position: start, parent }
    }

    pub fn position(&self) -> u64 {
        self.position
    }

    pub fn into_extents(self) -> Vec<Extent> {
        self.extents
    }

    /// What is not in this image. False when the page is full; then nothing was added. The same is true of the others.
    pub fn push_unallocated(&mut self, length: u64) -> bool {
        self.push(length, if self.parent { ExtentKind::Parent } else { ExtentKind::Unallocated })
    }

    pub fn push_zero(&mut self, length: u64) -> bool {
        self.push(length, ExtentKind::Zero)
    }

    pub fn push_data(&mut self, length: u64, source: u32, offset: u64) -> bool {
        self.push(length, ExtentKind::Data { source, offset })
    }

    pub fn push_encoded(&mut self, length: u64, encoded: Encoded) -> bool {
        self.push(length, ExtentKind::Encoded(encoded))
    }

    fn push(&mut self, length: u64, kind: ExtentKind) -> bool {
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

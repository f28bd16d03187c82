//! A page of the map in the making.

use witvirt_core::extent::{Extent, ExtentKind, Page};

/// The most extents of a page, whatever the host asks for: with their codec names they stay below 2 MiB.
const MAX_EXTENTS: u32 = 16_384;

/// Ascending, contiguous extents, joined where neighbours continue each other.
#[derive(Debug)]
pub struct Runs {
    extents: Vec<Extent>,
    max: usize,
    /// Where the next run starts.
    position: u64,
}

impl Runs {
    /// A page from guest byte `start`; `max` is what the host asks for.
    pub fn new(start: u64, max: u32) -> Self {
        Self { extents: Vec::new(), max: max.clamp(1, MAX_EXTENTS) as usize, position: start }
    }

    /// Guest byte where the next run starts.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Adds `length` bytes (not 0). False when the page is full; then nothing was added.
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

    /// The page, of a range that ends at guest byte `end`.
    pub fn into_page(self, end: u64) -> Page {
        let next = (self.position < end).then_some(self.position);
        Page { extents: self.extents, next }
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

#[cfg(test)]
mod tests {
    use witvirt_core::extent::ExtentKind;

    use super::{MAX_EXTENTS, Runs};

    fn data(source: u32, offset: u64) -> ExtentKind {
        ExtentKind::Data { source, offset }
    }

    #[test]
    fn joins_what_continues() {
        let mut runs = Runs::new(5, 100);
        for (length, kind) in [
            (1, ExtentKind::Zero),
            (2, ExtentKind::Zero),
            (3, data(0, 10)),
            (4, data(0, 13)),
            (5, data(1, 17)),
            (6, data(1, 23)),
            (7, ExtentKind::Literal(vec![0; 7])),
            (7, ExtentKind::Literal(vec![0; 7])),
        ] {
            assert!(runs.push(length, kind));
        }
        let page = runs.into_page(40);
        let places: Vec<_> = page.extents.iter().map(|extent| (extent.start, extent.length)).collect();
        assert_eq!(places, [(5, 3), (8, 7), (15, 5), (20, 6), (26, 7), (33, 7)]);
        assert_eq!(page.next, None);
    }

    #[test]
    fn a_full_page_takes_only_what_continues() {
        for (max, full) in [(0, 1), (1, 1), (2, 2), (u32::MAX, MAX_EXTENTS as usize)] {
            let mut runs = Runs::new(0, max);
            let more =
                (0..).map(|index| index * 2).take_while(|offset| runs.push(1, data(0, *offset))).count();
            assert_eq!(more, full);
            assert!(runs.push(9, data(0, 2 * full as u64 - 1)));
            assert_eq!(runs.position(), full as u64 + 9);
            assert_eq!(runs.into_page(u64::MAX).next, Some(full as u64 + 9));
        }
    }
}

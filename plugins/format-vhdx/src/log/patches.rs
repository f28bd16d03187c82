//! What the log writes: ranges of the file, the latest on top.

use std::collections::BTreeMap;

use super::PAGE;
use crate::{Error, ErrorKind};

/// Some 30 MiB.
const MAX_RANGES: usize = 1 << 18;

/// What a range of the file is to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patch {
    /// Zeros.
    Zero,
    /// One page: 8 bytes, then those of a sector of the log without its first 8 and last 4, then 4 bytes.
    Page {
        /// Of the sector, in the file.
        log_offset: u64,
        /// First bytes of the page.
        leading: [u8; 8],
        /// Its last bytes.
        trailing: [u8; 4],
    },
}

/// What a piece of the replayed file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Piece {
    /// As in the file.
    Stored,
    /// Zeros.
    Zero,
    /// A part of a page out of the log.
    Patched,
}

/// Ranges that do not overlap, by their first byte: end and content.
#[derive(Debug, Default)]
pub(crate) struct Patches {
    ranges: BTreeMap<u64, (u64, Patch)>,
}

impl Patches {
    /// Puts a patch over what is there. Bounds are multiples of [`PAGE`].
    ///
    /// # Errors
    /// `limit` when there are too many ranges.
    pub fn insert(&mut self, start: u64, end: u64, patch: Patch) -> Result<(), Error> {
        debug_assert!(start.is_multiple_of(PAGE) && end.is_multiple_of(PAGE));
        if start >= end {
            return Ok(());
        }
        if let Some((&below, &(below_end, content))) = self.ranges.range(..start).next_back()
            && below_end > start
        {
            self.ranges.insert(below, (start, content));
            if below_end > end {
                self.ranges.insert(end, (below_end, content));
            }
        }
        while let Some((&covered, &(covered_end, content))) = self.ranges.range(start..end).next() {
            self.ranges.remove(&covered);
            if covered_end > end {
                self.ranges.insert(end, (covered_end, content));
            }
        }
        self.ranges.insert(start, (end, patch));
        if self.ranges.len() > MAX_RANGES {
            return Err(Error::new(ErrorKind::Limit, "the log changes too many places of the file")
                .with("limit", MAX_RANGES));
        }
        Ok(())
    }

    /// What covers byte `at`, and up to where (at most `end`) that holds.
    pub fn at(&self, at: u64, end: u64) -> (u64, Option<Patch>) {
        if let Some((_, &(until, patch))) = self.ranges.range(..=at).next_back()
            && until > at
        {
            return (until.min(end), Some(patch));
        }
        let next = self.ranges.range(at..end).next().map_or(end, |(start, _)| *start);
        (next, None)
    }
}

#[cfg(test)]
mod tests {
    use super::{Patch, Patches};

    fn page(log_offset: u64) -> Patch {
        Patch::Page { log_offset, leading: [0; 8], trailing: [0; 4] }
    }

    #[test]
    fn the_latest_is_on_top() {
        const P: u64 = 4096;
        let mut patches = Patches::default();
        patches.insert(2 * P, 10 * P, Patch::Zero).unwrap();
        patches.insert(4 * P, 5 * P, page(1)).unwrap();
        patches.insert(4 * P, 5 * P, page(2)).unwrap();
        patches.insert(9 * P, 12 * P, Patch::Zero).unwrap();
        patches.insert(0, 3 * P, Patch::Zero).unwrap();
        patches.insert(7 * P, 7 * P, page(3)).unwrap();
        let mut found = Vec::new();
        let mut at = 0;
        while at < 20 * P {
            let (until, patch) = patches.at(at, 20 * P);
            found.push((at / P, until / P, patch));
            at = until;
        }
        let zero = Some(Patch::Zero);
        assert_eq!(
            found,
            [(0, 3, zero), (3, 4, zero), (4, 5, Some(page(2))), (5, 9, zero), (9, 12, zero), (12, 20, None)]
        );
        assert_eq!(patches.at(4 * P + 5, 4 * P + 9), (4 * P + 9, Some(page(2))));
        // One over everything.
        patches.insert(0, 20 * P, Patch::Zero).unwrap();
        assert_eq!(patches.at(0, u64::MAX), (20 * P, zero));
    }
}

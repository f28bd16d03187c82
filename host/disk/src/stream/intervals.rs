//! A set of bytes, as ranges.

use std::collections::BTreeMap;

/// Most ranges that are kept apart: a map made to fragment the set costs precision, not memory.
const MOST: usize = 64 << 10;

/// Disjoint ranges, none touching another.
#[derive(Debug, Default, Clone)]
pub(crate) struct Intervals {
    /// Start to end.
    ranges: BTreeMap<u64, u64>,
}

impl Intervals {
    /// Adds `start .. end`, and what lies between it and ranges that are no more than `slack` bytes away. Returns the range
    /// that it became a part of; `None` when it is empty or there are too many already.
    pub(crate) fn add(&mut self, mut start: u64, mut end: u64, slack: u64) -> Option<(u64, u64)> {
        if start >= end {
            return None;
        }
        if let Some((before, reach)) =
            self.ranges.range(..=start).next_back().map(|(start, end)| (*start, *end))
            && reach.saturating_add(slack) >= start
        {
            (start, end) = (before, end.max(reach));
        }
        let near = end.saturating_add(slack);
        while let Some((next, reach)) =
            self.ranges.range(start..=near).next().map(|(start, end)| (*start, *end))
        {
            self.ranges.remove(&next);
            end = end.max(reach);
        }
        if self.ranges.len() >= MOST {
            return None;
        }
        self.ranges.insert(start, end);
        Some((start, end))
    }

    /// Whether any byte of `start .. end` is in it.
    pub(crate) fn touches(&self, start: u64, end: u64) -> bool {
        self.ranges.range(..end).next_back().is_some_and(|(_, reach)| *reach > start)
    }

    /// What of `start .. end` is not in it.
    pub(crate) fn gaps(&self, start: u64, end: u64) -> Vec<(u64, u64)> {
        let mut gaps = Vec::new();
        let mut at = self.ranges.range(..=start).next_back().map_or(start, |(_, reach)| start.max(*reach));
        for (next, reach) in self.ranges.range(start..) {
            if at >= end || *next >= end {
                break;
            }
            if *next > at {
                gaps.push((at, *next));
            }
            at = at.max(*reach);
        }
        if at < end {
            gaps.push((at, end));
        }
        gaps
    }

    /// Just past its last byte.
    pub(crate) fn end(&self) -> u64 {
        self.ranges.last_key_value().map_or(0, |(_, end)| *end)
    }
}

#[cfg(test)]
mod tests {
    use super::Intervals;

    #[test]
    fn ranges_grow_together() {
        let mut set = Intervals::default();
        assert_eq!(set.add(10, 20, 0), Some((10, 20)));
        assert_eq!(set.add(30, 40, 0), Some((30, 40)));
        assert_eq!(set.add(5, 5, 0), None);
        assert!(set.touches(19, 30) && !set.touches(20, 30) && set.touches(0, 100) && !set.touches(40, 41));
        assert_eq!(set.add(22, 28, 2), Some((10, 40)));
        assert_eq!(set.add(12, 13, 0), Some((10, 40)));
        assert_eq!((set.add(40, 41, 0), set.end()), (Some((10, 41)), 41));
        assert_eq!(set.gaps(5, 50), [(5, 10), (41, 50)]);
        assert_eq!(set.gaps(11, 40), []);
        assert_eq!(set.gaps(7, 3), []);
        assert_eq!(set.add(0, 100, 0), Some((0, 100)));
    }

    #[test]
    fn equal_to_a_bitmap() {
        let mut state = 7u64;
        let mut set = Intervals::default();
        let mut bits = [false; 400];
        for _ in 0..300 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let (start, length) = ((state >> 40) % 380, (state >> 20) % 9);
            set.add(start, start + length, 0);
            bits[start as usize..(start + length) as usize].fill(true);
            for (at, bit) in bits.iter().enumerate() {
                assert_eq!(set.touches(at as u64, at as u64 + 1), *bit, "{at}");
            }
        }
    }
}

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

    /// Takes `start .. end` out again; false when it would be in too many pieces then, and stays as it is.
    pub(crate) fn remove(&mut self, start: u64, end: u64) -> bool {
        while let Some((from, to)) = self.first(start, end) {
            let (begin, reach) = self.around(from).unwrap_or((from, to));
            if begin < from && to < reach && self.ranges.len() >= MOST {
                return false;
            }
            self.ranges.remove(&begin);
            for (begin, reach) in [(begin, from), (to, reach)] {
                if begin < reach {
                    self.ranges.insert(begin, reach);
                }
            }
        }
        true
    }

    /// The first bytes of `start .. end` that are in it without a gap.
    pub(crate) fn first(&self, start: u64, end: u64) -> Option<(u64, u64)> {
        let around = self.around(start);
        let (begin, reach) =
            around.or_else(|| self.ranges.range(start..).next().map(|(start, end)| (*start, *end)))?;
        let (begin, reach) = (begin.max(start), reach.min(end));
        (begin < reach).then_some((begin, reach))
    }

    /// The range that `at` is in.
    fn around(&self, at: u64) -> Option<(u64, u64)> {
        let (begin, reach) = self.ranges.range(..=at).next_back()?;
        (*reach > at).then_some((*begin, *reach))
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
        assert_eq!(set.add(40, 41, 0), Some((10, 41)));
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
            let adds = !(state >> 55).is_multiple_of(3);
            if adds {
                set.add(start, start + length, 0);
            } else {
                assert!(set.remove(start, start + length));
            }
            bits[start as usize..(start + length) as usize].fill(adds);
            let first = bits[100..].iter().position(|bit| *bit).map(|at| at as u64 + 100);
            assert_eq!(set.first(100, 400).map(|(start, _)| start), first);
            for (at, bit) in bits.iter().enumerate() {
                assert_eq!(set.touches(at as u64, at as u64 + 1), *bit, "{at}");
            }
        }
    }
}

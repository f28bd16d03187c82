//! What of an image file is fetched, verified and remembered as one. Pure.

/// What is fetched of an object as one, in bytes.
pub(crate) const CHUNK: u64 = 1 << 20;

/// The parts of an image file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Units {
    /// Of a file that is stored as it is: [`CHUNK`] each, the last one shorter.
    Even {
        /// Bytes of the file.
        size: u64,
    },
    /// Of one that is stored in pieces which decode independently: those.
    Pieces {
        /// Bytes of the file.
        size: u64,
        /// First byte and length of each, ascending, none of them empty or overlapping; between them are zeros.
        ranges: Vec<(u64, u64)>,
    },
}

impl Units {
    /// Bytes of the file.
    pub(crate) fn size(&self) -> u64 {
        match self {
            Self::Even { size } | Self::Pieces { size, .. } => *size,
        }
    }

    /// Bytes that have to arrive.
    pub(crate) fn bytes(&self) -> u64 {
        match self {
            Self::Even { size } => *size,
            Self::Pieces { ranges, .. } => ranges.iter().map(|(_, length)| length).sum(),
        }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> u64 {
        match self {
            Self::Even { size } => size.div_ceil(CHUNK),
            Self::Pieces { ranges, .. } => ranges.len() as u64,
        }
    }

    /// Whether they decode independently, and arrive as a whole or not at all.
    pub(super) fn are_pieces(&self) -> bool {
        matches!(self, Self::Pieces { .. })
    }

    /// The first byte of one and its length; of one that there is not, nothing.
    pub(super) fn range(&self, index: u64) -> (u64, u64) {
        match self {
            Self::Even { size } => {
                let start = (index.saturating_mul(CHUNK)).min(*size);
                (start, CHUNK.min(size - start))
            }
            Self::Pieces { size, ranges } => ranges.get(index as usize).copied().unwrap_or((*size, 0)),
        }
    }

    /// Those that hold bytes of `start .. end`, which lies inside the file: the first one and the one behind the last.
    pub(super) fn touching(&self, start: u64, end: u64) -> (u64, u64) {
        if start >= end {
            return (0, 0);
        }
        match self {
            Self::Even { .. } => (start / CHUNK, (end - 1) / CHUNK + 1),
            Self::Pieces { ranges, .. } => {
                let first = ranges.partition_point(|(at, length)| at + length <= start);
                let last = ranges.partition_point(|(at, _)| *at < end);
                (first as u64, last.max(first) as u64)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{CHUNK, Units};

    proptest! {
        /// Every byte of a range lies in a unit that is named, or in none at all.
        #[test]
        fn touching_names_all_of_them_and_no_others(
            gaps in proptest::collection::vec((0..3u64, 1..9u64), 0..12),
            tail in 0..4u64, from in 0..60u64, length in 0..60u64, even in any::<bool>(),
        ) {
            let mut at = 0;
            let ranges: Vec<(u64, u64)> = gaps.iter().map(|(gap, length)| {
                let start = at + gap;
                at = start + length;
                (start, *length)
            }).collect();
            let scale = if even { CHUNK / 2 } else { 1 };
            let size = (at + tail) * scale;
            let units = match even {
                true => Units::Even { size },
                false => Units::Pieces { size, ranges },
            };
            let (start, end) = ((from * scale).min(size), ((from + length) * scale).min(size));
            let (first, last) = units.touching(start, end);
            for index in 0..units.count() {
                let (at, length) = units.range(index);
                prop_assert!(length > 0 && at + length <= size);
                let touches = at < end && start < at + length && start < end;
                prop_assert_eq!(touches, (first..last).contains(&index), "{} of {:?}", index, units);
            }
            let sum: u64 = (0..units.count()).map(|index| units.range(index).1).sum();
            prop_assert_eq!(sum, units.bytes());
        }
    }
}

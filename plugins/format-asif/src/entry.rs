//! Entries of tables, and states of blocks.

/// Bits of a chunk number.
const NUMBER: u64 = (1 << 55) - 1;

/// What an entry for a data chunk says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entry {
    /// Nothing was written.
    Empty,
    /// All blocks are stored, in this chunk.
    Whole(u64),
    /// Some blocks are stored; the bitmap says which.
    Partial(u64),
}

impl Entry {
    /// None for what nobody has seen.
    pub fn new(raw: u64) -> Option<Self> {
        let number = raw & NUMBER;
        // Two bits of status, seven that are reserved.
        match (raw >> 62, raw >> 55 & 0x7f, number) {
            (0, 0, 0) => Some(Self::Empty),
            // Chunk 0 holds the header and the directories.
            (_, _, 0) => None,
            (0b01, 0, number) => Some(Self::Whole(number)),
            (0b11, 0, number) => Some(Self::Partial(number)),
            _ => None,
        }
    }
}

/// The chunk that a directory entry or the entry of a bitmap names; `Some(None)` for none, none for reserved bits. The two
/// high bits have no known meaning here and are not looked at.
pub(crate) fn plain(raw: u64) -> Option<Option<u64>> {
    if raw >> 55 & 0x7f != 0 {
        return None;
    }
    let number = raw & NUMBER;
    Some((number != 0).then_some(number))
}

/// Whether the block at `index` of a bitmap is stored; none for states that nobody has seen, or past the end.
pub(crate) fn is_stored(bitmap: &[u8], index: usize) -> Option<bool> {
    match bitmap.get(index / 4)? >> (2 * (index % 4)) & 3 {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{Entry, is_stored, plain};

    #[test]
    fn entries() {
        assert_eq!(Entry::new(0), Some(Entry::Empty));
        assert_eq!(Entry::new(5 | 1 << 62), Some(Entry::Whole(5)));
        assert_eq!(Entry::new(5 | 3 << 62), Some(Entry::Partial(5)));
        for raw in [5, 5 | 2 << 62, 1 << 62, 3 << 62, 5 | 1 << 62 | 1 << 55, 5 | 1 << 61, u64::MAX] {
            assert_eq!(Entry::new(raw), None, "{raw:#x}");
        }
        assert_eq!(plain(0), Some(None));
        assert_eq!(plain(7 | 1 << 63), Some(Some(7)));
        assert_eq!(plain(7 | 1 << 55), None);
        assert_eq!(plain(7 | 1 << 61), None);
    }

    #[test]
    fn blocks() {
        let bitmap = [0b0100_0001, 0b1000];
        let states: Vec<_> = (0..9).map(|index| is_stored(&bitmap, index)).collect();
        assert_eq!(
            states,
            [
                Some(true),
                Some(false),
                Some(false),
                Some(true),
                Some(false),
                None,
                Some(false),
                Some(false),
                None
            ]
        );
    }
}

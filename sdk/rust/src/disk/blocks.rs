//! Which blocks of the disk are in the file: a bit each, in the order in which they were added.

/// Bits for the blocks up to the last one that was inserted. Blocks come in ascending order, so the place of a block in the
/// file is the number of blocks before it.
#[derive(Debug, Default)]
pub struct Blocks {
    words: Vec<u64>,
    count: u64,
    /// Where the last answer of [`Blocks::rank`] was: a word and how many blocks come before it.
    rank: (usize, u64),
}

impl Blocks {
    /// Adds a block behind all others.
    pub fn insert(&mut self, block: u64) {
        let word = (block / 64) as usize;
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        if let Some(word) = self.words.get_mut(word) {
            *word |= 1 << (block % 64);
        }
        self.count += 1;
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// How many come before a block that is in the file. Cheap when asked in ascending order.
    pub fn rank(&mut self, block: u64) -> Option<u64> {
        let index = (block / 64) as usize;
        let word = self.words.get(index).copied()?;
        if word >> (block % 64) & 1 == 0 {
            return None;
        }
        let (mut at, mut before) = if self.rank.0 <= index { self.rank } else { (0, 0) };
        while at < index {
            before += self.words.get(at).map_or(0, |word| u64::from(word.count_ones()));
            at += 1;
        }
        self.rank = (at, before);
        let below = word & ((1 << (block % 64)) - 1);
        Some(before + u64::from(below.count_ones()))
    }
}

#[cfg(test)]
mod tests {
    use super::Blocks;

    #[test]
    fn ranks() {
        let mut blocks = Blocks::default();
        let members = [0, 1, 63, 64, 200, 201, 1000];
        for block in members {
            blocks.insert(block);
        }
        assert_eq!(blocks.count(), 7);
        for (rank, block) in members.into_iter().enumerate() {
            assert_eq!(blocks.rank(block), Some(rank as u64));
        }
        assert_eq!(blocks.rank(0), Some(0), "backwards, too");
        for absent in [2, 62, 65, 199, 202, 999, 1001, 1 << 40] {
            assert_eq!(blocks.rank(absent), None);
        }
    }
}

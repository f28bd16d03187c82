//! Finite state entropy: bits that are read from the end, and the tables that they walk.

/// Bits of a payload, the last first.
pub(super) struct Bits<'a> {
    /// What is not in `word` yet.
    bytes: &'a [u8],
    /// The next bits are its lowest `held`, the first of them highest.
    word: u64,
    held: u32,
}

impl<'a> Bits<'a> {
    /// `unused` bits (0 to 7) at the end of the last byte are none.
    pub fn new(bytes: &'a [u8], unused: u32) -> Option<Self> {
        let mut bits = Self { bytes, word: 0, held: 0 };
        bits.refill();
        bits.held = bits.held.checked_sub(unused)?;
        Some(bits)
    }

    /// Makes sure that 56 bits can be pulled, or all that are left.
    #[inline]
    pub fn refill(&mut self) {
        let count = (63 - self.held) as usize / 8;
        if let Some((rest, last)) = self.bytes.split_last_chunk::<8>() {
            let last = u64::from_le_bytes(*last);
            // The shifts are by less than 64 even when nothing is taken.
            self.word = self.word << (8 * count) | last >> 1 >> (63 - 8 * count);
            self.bytes = &self.bytes[..rest.len() + 8 - count];
            self.held += 8 * count as u32;
            return;
        }
        let kept = self.bytes.len() - count.min(self.bytes.len());
        for byte in self.bytes[kept..].iter().rev() {
            self.word = self.word << 8 | u64::from(*byte);
            self.held += 8;
        }
        self.bytes = &self.bytes[..kept];
    }

    /// The next `count` bits (at most 32), the first read highest; none when they are not there.
    #[inline]
    pub fn pull(&mut self, count: u32) -> Option<u32> {
        self.held = self.held.checked_sub(count)?;
        Some((self.word >> self.held & ((1 << count) - 1)) as u32)
    }
}

/// What a state stands for and where it leads.
#[derive(Debug, Clone, Copy, Default)]
struct State {
    /// The smallest value of the symbol.
    base: u32,
    /// The next state without the bits that are added to it.
    next: u16,
    /// Bits of the next state.
    bits: u8,
    /// Bits that are added to the value; they follow those of the state.
    extra: u8,
}

/// A table of `N` states, a power of two up to 1,024.
#[derive(Debug)]
pub(super) struct Table<const N: usize>([State; N]);

impl<const N: usize> Default for Table<N> {
    fn default() -> Self {
        Self([State::default(); N])
    }
}

impl<const N: usize> Table<N> {
    /// Fills the table: symbol `i` has `weights[i]` states. The weights add up to `N`, or to 0 where nothing is coded.
    /// `values` gives each symbol its smallest value and its extra bits.
    pub fn fill(&mut self, weights: &[u16], values: impl Iterator<Item = (u32, u8)>) -> Option<()> {
        let total: u32 = weights.iter().map(|weight| u32::from(*weight)).sum();
        if total != N as u32 {
            self.0.fill(State::default());
            return (total == 0).then_some(());
        }
        let mut states = self.0.iter_mut();
        for (&weight, (base, extra)) in weights.iter().zip(values) {
            if weight == 0 {
                continue;
            }
            let weight = u32::from(weight);
            // N <= weight << shift < 2 N: the first states of a symbol take `shift` bits, the others one less.
            let shift = weight.leading_zeros() - (N as u32).leading_zeros();
            let longer = ((2 * N as u32) >> shift) - weight;
            for index in 0..weight {
                let (bits, next) = if index < longer {
                    (shift, ((weight + index) << shift) - N as u32)
                } else {
                    (shift - 1, (index - longer) << (shift - 1))
                };
                *states.next()? = State { base, next: next as u16, bits: bits as u8, extra };
            }
        }
        Some(())
    }

    /// The value of `state`, which becomes the next one.
    #[inline]
    pub fn step(&self, state: &mut u16, bits: &mut Bits<'_>) -> Option<u32> {
        let entry = self.0[usize::from(*state) % N];
        let pulled = bits.pull(u32::from(entry.bits) + u32::from(entry.extra))?;
        *state = entry.next + (pulled >> entry.extra) as u16;
        Some(entry.base + (pulled & ((1 << entry.extra) - 1)))
    }
}

/// Smallest values of symbols that follow each other without gaps, from their extra bits.
pub(super) fn values(extra: impl Iterator<Item = u8>) -> impl Iterator<Item = (u32, u8)> {
    let mut next = 0;
    extra.map(move |bits| {
        let base = next;
        next += 1 << bits;
        (base, bits)
    })
}

#[cfg(test)]
mod tests {
    use super::{Bits, Table, values};

    #[test]
    fn bits_come_from_the_end() {
        let bytes: Vec<u8> = (1..=10).collect();
        let mut bits = Bits::new(&bytes, 4).unwrap();
        assert_eq!(bits.pull(4), Some(10));
        assert_eq!(bits.pull(8), Some(9));
        bits.refill();
        assert_eq!(bits.pull(32), Some(0x0807_0605));
        bits.refill();
        assert_eq!(bits.pull(0), Some(0));
        assert_eq!(bits.pull(31), Some(0x0403_0201 >> 1));
        assert_eq!(bits.pull(2), None);
        assert!(Bits::new(&[], 1).is_none());
    }

    #[test]
    fn states_lead_into_the_table_whatever_the_weights() {
        let mut seed = 1u32;
        for _ in 0..200 {
            let mut weights = [0u16; 20];
            for _ in 0..64 {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                weights[((seed >> 16) * (seed >> 24) / 256 % 20) as usize] += 1;
            }
            let mut table = Table::<64>::default();
            table.fill(&weights, values([0; 20].into_iter())).unwrap();
            for state in table.0 {
                assert!(u32::from(state.next) + (1 << state.bits) <= 64, "{weights:?}");
            }
        }
        assert!(Table::<64>::default().fill(&[60, 3], values([0, 0].into_iter())).is_none());
        assert!(Table::<64>::default().fill(&[60, 5], values([0, 0].into_iter())).is_none());
        assert!(Table::<64>::default().fill(&[0, 0], values([0, 0].into_iter())).is_some());
    }
}

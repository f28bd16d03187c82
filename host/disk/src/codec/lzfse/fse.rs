//! Blocks of entropy coded literals, lengths and distances.

use super::entropy::{Bits, Table, values};
use super::le32;
use crate::codec::lz4::{copy_literals, copy_match};

const LENGTH_SYMBOLS: usize = 20;
const DISTANCE_SYMBOLS: usize = 64;
const LITERAL_SYMBOLS: usize = 256;
const SYMBOLS: usize = 2 * LENGTH_SYMBOLS + DISTANCE_SYMBOLS + LITERAL_SYMBOLS;

const MAX_LITERALS: usize = 40_000;
const MAX_TRIPLES: usize = 10_000;

const HEADER_1: usize = 772;
const HEADER_2: usize = 32;

/// Tables and literals of a block.
#[derive(Debug)]
pub(in crate::codec) struct Decoder {
    literal: Table<1024>,
    literals: Table<64>,
    matched: Table<64>,
    distance: Table<256>,
    bytes: Vec<u8>,
}

impl Default for Decoder {
    fn default() -> Self {
        Self {
            literal: Table::default(),
            literals: Table::default(),
            matched: Table::default(),
            distance: Table::default(),
            bytes: vec![0; MAX_LITERALS + 3],
        }
    }
}

/// The header of a block, unpacked.
struct Header {
    /// Its length in bytes, weights included.
    length: usize,
    /// How many literals there are, how long they are stored, and how many bits at the end are unused.
    literals: usize,
    literal_bytes: usize,
    literal_unused: u32,
    literal_states: [u16; 4],
    /// Likewise the triples.
    triples: usize,
    triple_bytes: usize,
    triple_unused: u32,
    /// Of the lengths of literals, of matches, and of distances.
    triple_states: [u16; 3],
    weights: [u16; SYMBOLS],
}

impl Decoder {
    /// Decodes a block; see `super::stored`.
    pub(super) fn block(&mut self, input: &[u8], output: &mut [u8], at: usize) -> Option<usize> {
        let header = if input.starts_with(b"bvx1") { Header::plain(input)? } else { Header::packed(input)? };
        let literals_end = header.length + header.literal_bytes;
        let end = literals_end + header.triple_bytes;
        self.fill_tables(&header.weights)?;
        let literals = input.get(header.length..literals_end)?;
        self.read_literals(&header, Bits::new(literals, header.literal_unused)?)?;
        let triples = input.get(literals_end..end)?;
        self.read_triples(&header, Bits::new(triples, header.triple_unused)?, output, at)?;
        Some(end)
    }

    fn fill_tables(&mut self, weights: &[u16; SYMBOLS]) -> Option<()> {
        let short = || std::iter::repeat_n(0, 16);
        let (literals, rest) = weights.split_at(LENGTH_SYMBOLS);
        let (matched, rest) = rest.split_at(LENGTH_SYMBOLS);
        let (distance, literal) = rest.split_at(DISTANCE_SYMBOLS);
        self.literals.fill(literals, values(short().chain([2, 3, 5, 8])))?;
        self.matched.fill(matched, values(short().chain([3, 5, 8, 11])))?;
        self.distance.fill(distance, values((0..DISTANCE_SYMBOLS as u8).map(|symbol| symbol / 4)))?;
        self.literal.fill(literal, values(std::iter::repeat_n(0, LITERAL_SYMBOLS)))
    }

    /// Four states take turns.
    fn read_literals(&mut self, header: &Header, mut bits: Bits<'_>) -> Option<()> {
        let mut states = header.literal_states;
        for bytes in self.bytes.get_mut(..header.literals.next_multiple_of(4))?.chunks_exact_mut(4) {
            // Of at most 10 bits each.
            bits.refill();
            for (byte, state) in bytes.iter_mut().zip(&mut states) {
                *byte = self.literal.step(state, &mut bits)? as u8;
            }
        }
        Some(())
    }

    fn read_triples(
        &self,
        header: &Header,
        mut bits: Bits<'_>,
        output: &mut [u8],
        mut at: usize,
    ) -> Option<()> {
        let mut unread = header.literals;
        let [mut literals_state, mut matched_state, mut distance_state] = header.triple_states;
        let mut distance = 0;
        for _ in 0..header.triples {
            // Of at most 14, 17 and 23 bits.
            bits.refill();
            let literals = self.literals.step(&mut literals_state, &mut bits)? as usize;
            let matched = self.matched.step(&mut matched_state, &mut bits)? as usize;
            match self.distance.step(&mut distance_state, &mut bits)? as usize {
                0 => {}
                other => distance = other,
            }
            if literals > unread {
                return None;
            }
            copy_literals(&self.bytes, header.literals - unread, output, at, literals)?;
            unread -= literals;
            at += literals;
            if matched > 0 {
                copy_match(output, at, distance, matched)?;
                at += matched;
            }
        }
        (at == output.len()).then_some(())
    }
}

impl Header {
    fn checked(self) -> Option<Self> {
        let sound = self.literals <= MAX_LITERALS
            && self.triples <= MAX_TRIPLES
            && self.literal_unused < 8
            && self.triple_unused < 8
            && self.literal_states.iter().all(|state| *state < 1024)
            && self.triple_states[..2].iter().all(|state| *state < 64)
            && self.triple_states[2] < 256;
        sound.then_some(self)
    }

    /// Of `bvx1`: fields in a row, bits unused as negative numbers, weights of 16 bits.
    fn plain(input: &[u8]) -> Option<Self> {
        let header = input.get(..HEADER_1)?;
        let word = |at| le32(header, at);
        let half = |at: usize| u16::from_le_bytes([header[at], header[at + 1]]);
        let mut weights = [0; SYMBOLS];
        for (index, weight) in weights.iter_mut().enumerate() {
            *weight = half(50 + 2 * index);
        }
        Self {
            length: HEADER_1,
            literals: word(12)? as usize,
            triples: word(16)? as usize,
            literal_bytes: word(20)? as usize,
            triple_bytes: word(24)? as usize,
            literal_unused: word(28)?.wrapping_neg(),
            literal_states: [half(32), half(34), half(36), half(38)],
            triple_unused: word(40)?.wrapping_neg(),
            triple_states: [half(44), half(46), half(48)],
            weights,
        }
        .checked()
    }

    /// Of `bvx2`: three words of packed fields, bits unused as 7 less, weights in prefix codes.
    fn packed(input: &[u8]) -> Option<Self> {
        let word = |at: usize| Some(u64::from(le32(input, at)?) | u64::from(le32(input, at + 4)?) << 32);
        let (first, second, third) = (word(8)?, word(16)?, word(24)?);
        let field = |word: u64, at: u32, bits: u32| word >> at & ((1 << bits) - 1);
        let state = |word, at| field(word, at, 10) as u16;
        let length = field(third, 0, 32) as usize;
        Self {
            length,
            literals: field(first, 0, 20) as usize,
            literal_bytes: field(first, 20, 20) as usize,
            triples: field(first, 40, 20) as usize,
            literal_unused: 7 - field(first, 60, 3) as u32,
            literal_states: [state(second, 0), state(second, 10), state(second, 20), state(second, 30)],
            triple_bytes: field(second, 40, 20) as usize,
            triple_unused: 7 - field(second, 60, 3) as u32,
            triple_states: [state(third, 32), state(third, 42), state(third, 52)],
            weights: weights(input.get(HEADER_2..length)?)?,
        }
        .checked()
    }
}

/// Weights in prefix codes, from the lowest bit on: 0 is `00`, 1 `10`, 2 and 3 `x01` (three bits), 4 to 7 `xx011`, 8 to 23
/// `xxxx0111`, larger ones ten bits on `1111`. No bytes mean that nothing is coded.
fn weights(bytes: &[u8]) -> Option<[u16; SYMBOLS]> {
    let mut weights = [0; SYMBOLS];
    if bytes.is_empty() {
        return Some(weights);
    }
    let mut bytes = bytes.iter();
    let (mut word, mut held) = (0u32, 0);
    for weight in &mut weights {
        while held < 14 {
            let Some(byte) = bytes.next() else { break };
            word |= u32::from(*byte) << held;
            held += 8;
        }
        let (value, length) = match word & 15 {
            15 => (24 + (word >> 4 & 0x3ff), 14),
            7 => (8 + (word >> 4 & 15), 8),
            3 | 11 => (4 + (word >> 3 & 3), 5),
            1 | 5 | 9 | 13 => (2 + (word >> 2 & 1), 3),
            other => (other >> 1 & 1, 2),
        };
        if length > held {
            return None;
        }
        *weight = value as u16;
        word >>= length;
        held -= length;
    }
    Some(weights)
}

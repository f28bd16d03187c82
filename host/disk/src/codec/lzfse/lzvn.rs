//! LZVN blocks: opcodes of one to three bytes, each followed by up to three literals of its own.

use super::le32;
use crate::codec::lz4::copy_match;

const HEADER: usize = 12;

/// What an opcode asks for; a distance of `None` repeats the one before.
struct Step {
    /// Length of the opcode in bytes.
    opcode: usize,
    literals: usize,
    matched: usize,
    distance: Option<usize>,
}

/// Decodes a block; see `super::stored`.
pub(super) fn block(input: &[u8], output: &mut [u8], mut at: usize) -> Option<usize> {
    let stored = le32(input, 8)? as usize;
    let payload = input.get(HEADER..)?.get(..stored)?;
    let mut read = 0;
    let mut distance = 0;
    loop {
        let rest = payload.get(read..)?;
        match *rest.first()? {
            0x06 => break,
            0x0e | 0x16 => {
                read += 1;
                continue;
            }
            _ => {}
        }
        let step = step(rest)?;
        distance = step.distance.unwrap_or(distance);
        let literals = rest.get(step.opcode..step.opcode + step.literals)?;
        output.get_mut(at..at + literals.len())?.copy_from_slice(literals);
        at += literals.len();
        if step.matched > 0 {
            copy_match(output, at, distance, step.matched)?;
            at += step.matched;
        }
        read += step.opcode + step.literals;
    }
    (at == output.len()).then_some(HEADER + stored)
}

fn step(code: &[u8]) -> Option<Step> {
    let byte = |index: usize| code.get(index).map(|byte| usize::from(*byte));
    let first = byte(0)?;
    let run = |opcode, literals, matched| Some(Step { opcode, literals, matched, distance: None });
    match first {
        // 1110LLLL, and with L = 0 another byte of it
        0xe0 => return run(2, byte(1)? + 16, 0),
        0xe1..=0xef => return run(1, first & 15, 0),
        // 1111MMMM, likewise
        0xf0 => return run(2, 0, byte(1)? + 16),
        0xf1..=0xff => return run(1, 0, first & 15),
        // 101LLMMM DDDDDDMM DDDDDDDD
        0xa0..=0xbf => {
            let word = byte(1)? | byte(2)? << 8;
            let matched = ((first & 7) << 2 | word & 3) + 3;
            return Some(Step { opcode: 3, literals: first >> 3 & 3, matched, distance: Some(word >> 2) });
        }
        0x70..=0x7f | 0xd0..=0xdf => return None,
        _ => {}
    }
    // LLMMMDDD DDDDDDDD; where DDD is 6 the distance before, where it is 7 one of 16 bits
    let (literals, matched) = (first >> 6, (first >> 3 & 7) + 3);
    match first & 7 {
        6 if literals == 0 => None,
        6 => Some(Step { opcode: 1, literals, matched, distance: None }),
        7 => Some(Step { opcode: 3, literals, matched, distance: Some(byte(1)? | byte(2)? << 8) }),
        high => Some(Step { opcode: 2, literals, matched, distance: Some(high << 8 | byte(1)?) }),
    }
}

//! LZ4 blocks: bare ones, and those in the framing of Apple's libcompression.
//!
//! The framing is a sequence of blocks, numbers little endian: `bv41`, decoded length (u32), stored length (u32) and an LZ4
//! block; `bv4-`, length (u32) and bytes as they are; `bv4$` ends it. Two things set Apple's blocks apart: matches reach
//! back into the blocks before (64 KiB, the reach of an offset), and a block may end with a match, where LZ4's own rules ask
//! for literals.

use super::{damaged, le32, too_long};

/// Decodes `input`, which is one block and nothing else; the length of what came out.
pub(super) fn decode_block(input: &[u8], output: &mut [u8]) -> Result<usize, String> {
    use lz4_flex::block::DecompressError;
    let wanted = output.len();
    lz4_flex::block::decompress_into(input, output).map_err(|error| match error {
        DecompressError::OutputTooSmall { .. } => too_long(wanted),
        _ => damaged(),
    })
}

/// Decodes blocks up to the end mark; the length of what came out.
pub(super) fn decode_apple(mut input: &[u8], output: &mut [u8]) -> Result<usize, String> {
    let mut done = 0;
    loop {
        let (length, stored, header) = match input.get(..4) {
            Some(b"bv4$") => return Ok(done),
            Some(b"bv4-") => {
                let length = le32(input, 4).ok_or_else(damaged)?;
                (length, length, 8)
            }
            Some(b"bv41") => {
                let length = le32(input, 4).ok_or_else(damaged)?;
                (length, le32(input, 8).ok_or_else(damaged)?, 12)
            }
            Some(_) => return Err("a block has none of the marks bv41, bv4- and bv4$".to_owned()),
            None => return Err(damaged()),
        };
        let payload = input.get(header..).and_then(|rest| rest.get(..stored as usize)).ok_or_else(damaged)?;
        let end = done + length as usize;
        if end > output.len() {
            return Err(too_long(output.len()));
        }
        if header == 8 {
            output[done..end].copy_from_slice(payload);
        } else {
            sequences(payload, &mut output[..end], done).ok_or_else(damaged)?;
        }
        done = end;
        input = &input[header + stored as usize..];
    }
}

/// Fills `output` from `at` with exactly what the sequences of `input` say; matches may reach into what lies before.
pub(crate) fn sequences(input: &[u8], output: &mut [u8], mut at: usize) -> Option<()> {
    let mut read = 0;
    while read < input.len() {
        let token = input[read];
        read += 1;
        let literals = length(input, &mut read, token >> 4)?;
        copy_literals(input, read, output, at, literals)?;
        read += literals;
        at += literals;
        if read == input.len() {
            break;
        }
        let offset = usize::from(u16::from_le_bytes([*input.get(read)?, *input.get(read + 1)?]));
        read += 2;
        let matched = length(input, &mut read, token & 15)?.checked_add(4)?;
        copy_match(output, at, offset, matched)?;
        at += matched;
    }
    (at == output.len()).then_some(())
}

/// A length of four bits, and the bytes that follow when they are all set.
fn length(input: &[u8], read: &mut usize, nibble: u8) -> Option<usize> {
    let mut length = usize::from(nibble);
    let mut more = nibble == 15;
    while more {
        let byte = *input.get(*read)?;
        *read += 1;
        length = length.checked_add(usize::from(byte))?;
        more = byte == 255;
    }
    Some(length)
}

/// Bytes that are copied at once where there is room: more than are wanted, but nothing behind them is written yet.
const WIDE: usize = 16;

/// Copies `length` bytes from `read` of `input` to `at`.
#[inline]
pub(super) fn copy_literals(
    input: &[u8],
    read: usize,
    output: &mut [u8],
    at: usize,
    length: usize,
) -> Option<()> {
    if length <= WIDE
        && let Some(from) = input.get(read..read.checked_add(WIDE)?)
        && let Some(to) = output.get_mut(at..at.checked_add(WIDE)?)
    {
        to.copy_from_slice(from);
        return Some(());
    }
    let from = input.get(read..read.checked_add(length)?)?;
    output.get_mut(at..at.checked_add(length)?)?.copy_from_slice(from);
    Some(())
}

/// Repeats `length` bytes from `offset` before `at`, which may overlap what is written.
#[inline]
pub(super) fn copy_match(output: &mut [u8], at: usize, offset: usize, length: usize) -> Option<()> {
    let from = at.checked_sub(offset).filter(|_| offset > 0)?;
    let end = at.checked_add(length).filter(|end| *end <= output.len())?;
    if offset >= WIDE && end + WIDE <= output.len() {
        let mut copied = 0;
        while copied < length {
            let wide: [u8; WIDE] = output.get(from + copied..)?.first_chunk().copied()?;
            *output.get_mut(at + copied..)?.first_chunk_mut()? = wide;
            copied += WIDE;
        }
        return Some(());
    }
    // Each turn repeats what is there already, twice as much every time.
    let mut copied = 0;
    while copied < length {
        let count = (offset + copied).min(length - copied);
        output.copy_within(from..from + count, at + copied);
        copied += count;
    }
    Some(())
}

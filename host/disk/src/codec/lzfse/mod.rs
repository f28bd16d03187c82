//! Apple's LZFSE: blocks up to an end mark, each in one of four ways.
//!
//! Facts from Apple's reference implementation (github.com/lzfse/lzfse, `lzfse_internal.h`). Numbers are little endian; a
//! block starts with a mark and the length that it decodes to (u32):
//!
//! | mark | block |
//! | --- | --- |
//! | `bvx-` | the bytes as they are |
//! | `bvxn` | stored length (u32), LZVN: opcodes without entropy coding |
//! | `bvx1`, `bvx2` | literals and (literal length, match length, distance) triples, each entropy coded; in `bvx2` the header is packed |
//! | `bvx$` | the end; it has no length |
//!
//! Matches reach back to the first byte of the stream.

mod entropy;
mod fse;
mod lzvn;

use super::{damaged, le32, too_long};

pub(super) use self::fse::Decoder;

impl Decoder {
    /// Decodes blocks up to the end mark; the length of what came out.
    pub(in crate::codec) fn decode(&mut self, mut input: &[u8], output: &mut [u8]) -> Result<usize, String> {
        let mut done = 0;
        loop {
            let mark = input.get(..4).ok_or_else(damaged)?;
            if mark == b"bvx$" {
                return Ok(done);
            }
            let length = le32(input, 4).ok_or_else(damaged)? as usize;
            let end = done + length;
            if end > output.len() {
                return Err(too_long(output.len()));
            }
            let output = &mut output[..end];
            let read = match mark {
                b"bvx-" => stored(input, output, done),
                b"bvxn" => lzvn::block(input, output, done),
                b"bvx1" | b"bvx2" => self.block(input, output, done),
                _ => return Err("a block has none of the marks of LZFSE".to_owned()),
            };
            input = input.get(read.ok_or_else(damaged)?..).ok_or_else(damaged)?;
            done = end;
        }
    }
}

/// A block of bytes as they are. Like the other kinds: fills `output` from `at`, and says how long the block is.
fn stored(input: &[u8], output: &mut [u8], at: usize) -> Option<usize> {
    let into = output.get_mut(at..)?;
    let end = 8 + into.len();
    into.copy_from_slice(input.get(8..end)?);
    Some(end)
}

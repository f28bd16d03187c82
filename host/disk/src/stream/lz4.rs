//! LZ4 in the frames of Apple's `compression_stream`, as tart stores disks: block after block, each decoded with what the 64
//! KiB before it were.

use std::io::{self, Read};

use crate::codec::lz4_sequences;

/// Largest block, stored or decoded, in bytes: libcompression makes 64 KiB, tart's own are up to that too.
const MAX_BLOCK: usize = 8 << 20;

/// How far back a match reaches, in bytes.
const REACH: usize = 64 << 10;

/// Decodes blocks up to the end mark, after which nothing may follow.
pub(crate) struct Lz4AppleReader<R> {
    input: R,
    stored: Vec<u8>,
    /// What was decoded: the reach of the next block, and what was not read yet.
    decoded: Vec<u8>,
    at: usize,
    ended: bool,
    most: usize,
}

impl<R: Read> Lz4AppleReader<R> {
    /// `window`: most bytes of a block, stored and decoded together.
    pub(crate) fn new(input: R, window: usize) -> Self {
        let most = window.min(2 * MAX_BLOCK);
        Self { input, stored: Vec::new(), decoded: Vec::new(), at: 0, ended: false, most }
    }

    /// Decodes a block; false at the end mark.
    fn block(&mut self) -> io::Result<bool> {
        let mut mark = [0; 4];
        self.input.read_exact(&mut mark)?;
        let packed = match &mark {
            b"bv4$" => return self.end(),
            b"bv41" => true,
            b"bv4-" => false,
            _ => return Err(damaged("a block has none of the marks bv41, bv4- and bv4$")),
        };
        let length = self.number()?;
        let stored = if packed { self.number()? } else { length };
        if length + if packed { stored } else { 0 } > self.most {
            return Err(io::Error::new(io::ErrorKind::OutOfMemory, "a block is too long"));
        }
        let keep = self.decoded.len().min(REACH);
        self.decoded.drain(..self.decoded.len() - keep);
        self.at = keep;
        self.decoded.resize(keep + length, 0);
        if !packed {
            self.input.read_exact(&mut self.decoded[keep..])?;
            return Ok(true);
        }
        self.stored.resize(stored, 0);
        self.input.read_exact(&mut self.stored)?;
        lz4_sequences(&self.stored, &mut self.decoded, keep)
            .ok_or_else(|| damaged("a block does not decode to its length"))?;
        Ok(true)
    }

    fn number(&mut self) -> io::Result<usize> {
        let mut bytes = [0; 4];
        self.input.read_exact(&mut bytes)?;
        let number = u32::from_le_bytes(bytes) as usize;
        if number > MAX_BLOCK {
            return Err(damaged("a block is longer than 8 MiB"));
        }
        Ok(number)
    }

    fn end(&mut self) -> io::Result<bool> {
        if self.input.read(&mut [0])? > 0 {
            return Err(damaged("bytes follow its end mark"));
        }
        Ok(false)
    }
}

impl<R: Read> Read for Lz4AppleReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at == self.decoded.len() && !self.ended {
            self.ended = !self.block()?;
        }
        let count = buffer.len().min(self.decoded.len() - self.at);
        buffer[..count].copy_from_slice(&self.decoded[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}

fn damaged(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

//! Sources of bytes.

use std::cell::Cell;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use witvirt_core::format::Write;
use witvirt_sdk::disk::ReadAt;
use witvirt_sdk::{Error, ErrorKind};

/// A file as a source.
#[derive(Debug)]
pub struct FileSource(pub File);

impl FileSource {
    /// Opens a file that has to be there.
    pub fn open(path: &Path) -> Self {
        Self(File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
    }
}

impl ReadAt for FileSource {
    fn size(&self) -> u64 {
        self.0.metadata().unwrap().len()
    }

    fn read_at(&self, offset: u64, len: u32) -> Result<Vec<u8>, Error> {
        let mut bytes = vec![0; u64::from(len).min(self.size().saturating_sub(offset)) as usize];
        self.0
            .read_exact_at(&mut bytes, offset)
            .map_err(|error| Error::new(ErrorKind::Io, error.to_string()))?;
        Ok(bytes)
    }
}

/// A file of which only some pieces exist, as a large one with holes does: what is between them reads as zeros. Counts what
/// is read.
#[derive(Debug)]
pub struct Pieces {
    size: u64,
    /// In the order of their offsets, without overlap.
    pieces: Vec<Write>,
    reads: Cell<u64>,
    bytes: Cell<u64>,
    largest: Cell<u32>,
}

impl Pieces {
    /// Of `size` bytes. The pieces must not overlap.
    pub fn new(size: u64, pieces: impl IntoIterator<Item = Write>) -> Self {
        let mut pieces: Vec<Write> = pieces.into_iter().collect();
        pieces.sort_by_key(|piece| piece.offset);
        let apart = |pair: &[Write]| end(&pair[0]) <= pair[1].offset;
        assert!(pieces.windows(2).all(apart), "no byte of a file is written twice");
        Self { size, pieces, reads: Cell::new(0), bytes: Cell::new(0), largest: Cell::new(0) }
    }

    /// All of it.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.size as usize];
        for piece in &self.pieces {
            bytes[piece.offset as usize..end(piece) as usize].copy_from_slice(&piece.bytes);
        }
        bytes
    }

    /// How many reads there were.
    pub fn reads(&self) -> u64 {
        self.reads.get()
    }

    /// How many bytes they asked for together.
    pub fn bytes(&self) -> u64 {
        self.bytes.get()
    }

    /// How many bytes the largest of them asked for.
    pub fn largest(&self) -> u32 {
        self.largest.get()
    }

    /// Starts counting again.
    pub fn forget(&self) {
        self.reads.set(0);
        self.bytes.set(0);
        self.largest.set(0);
    }
}

fn end(piece: &Write) -> u64 {
    piece.offset + piece.bytes.len() as u64
}

impl ReadAt for Pieces {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, len: u32) -> Result<Vec<u8>, Error> {
        self.reads.set(self.reads.get() + 1);
        self.bytes.set(self.bytes.get() + u64::from(len));
        self.largest.set(self.largest.get().max(len));
        let mut bytes = vec![0; u64::from(len).min(self.size.saturating_sub(offset)) as usize];
        let stop = offset + bytes.len() as u64;
        let first = self.pieces.partition_point(|piece| end(piece) <= offset);
        for piece in self.pieces[first..].iter().take_while(|piece| piece.offset < stop) {
            let (from, to) = (piece.offset.max(offset), end(piece).min(stop));
            let source = &piece.bytes[(from - piece.offset) as usize..(to - piece.offset) as usize];
            bytes[(from - offset) as usize..(to - offset) as usize].copy_from_slice(source);
        }
        Ok(bytes)
    }
}

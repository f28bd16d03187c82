//! Maps of large disks: how many reads they take.

use std::cell::Cell;
use std::time::Instant;

use format_vhdx::Error;
use format_vhdx::image::Image;
use format_vhdx::layout::Writer;
use witvirt_sdk::core::format::{Chunk, Write};
use witvirt_sdk::disk::{ImageReader, ImageWriter, ReadAt};

/// A file of which only the metadata exists; counts reads and bytes.
struct Metadata {
    size: u64,
    /// In the order of their offsets.
    pieces: Vec<Write>,
    reads: Cell<u64>,
    largest: Cell<u32>,
}

impl ReadAt for Metadata {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, len: u32) -> Result<Vec<u8>, Error> {
        self.reads.set(self.reads.get() + 1);
        self.largest.set(self.largest.get().max(len));
        let mut bytes = vec![0; u64::from(len).min(self.size.saturating_sub(offset)) as usize];
        let end = offset + bytes.len() as u64;
        for piece in &self.pieces {
            let from = piece.offset.max(offset);
            let to = (piece.offset + piece.bytes.len() as u64).min(end);
            if from < to {
                let source = &piece.bytes[(from - piece.offset) as usize..(to - piece.offset) as usize];
                bytes[(from - offset) as usize..(to - offset) as usize].copy_from_slice(source);
            }
        }
        Ok(bytes)
    }
}

fn laid_out(size: u64, options: &str, every: u64) -> Metadata {
    let mut writer = Writer::create("vhdx", size, options, None).unwrap();
    for mib in (0..size >> 20).step_by(every as usize) {
        writer
            .allocate(&Chunk { start: mib << 20, length: 1 << 20, stored: 1 << 20, encoded: false })
            .unwrap();
    }
    let mut pieces = Vec::new();
    loop {
        let ending = writer.finish().unwrap();
        pieces.extend(ending.writes);
        if !ending.next {
            pieces.sort_by_key(|piece| piece.offset);
            let (reads, largest) = (Cell::new(0), Cell::new(0));
            return Metadata { size: ending.size, pieces, reads, largest };
        }
    }
}

/// Runs and reads of the whole map.
fn mapped(what: &str, source: &Metadata) -> (u64, u64) {
    let start = Instant::now();
    let mut image = Image::open(source).unwrap();
    let (mut runs, mut at) = (0, Some(0));
    while let Some(next) = at {
        let page = image.extents(next, u64::MAX, u32::MAX).unwrap();
        runs += page.extents.len() as u64;
        at = page.next;
    }
    let reads = source.reads.get();
    assert!(source.largest.get() <= 1 << 20);
    eprintln!("{what}: {runs} runs, {reads} reads, {:?}", start.elapsed());
    (runs, reads)
}

#[test]
fn sixty_four_tebibytes_almost_empty() {
    let source = laid_out(64 << 40, "{}", 1 << 20);
    let (runs, reads) = mapped("64 TiB", &source);
    assert_eq!(runs, 128);
    assert!(reads < 40, "{reads}");
}

#[test]
fn one_tebibyte_in_small_blocks() {
    let source = laid_out(1 << 40, "{\"block-size\": 1048576}", 2);
    let (runs, reads) = mapped("1 TiB in fragments", &source);
    assert_eq!(runs, 1 << 20);
    assert!(reads < 300, "{reads}");
    assert_eq!(Image::open(&source).unwrap().check().unwrap(), []);
}

#[test]
fn data_in_a_row() {
    let source = laid_out(256 << 30, "{}", 1);
    let (runs, reads) = mapped("256 GiB in a row", &source);
    assert_eq!(runs, 1, "one extent");
    assert!(reads < 40, "{reads}");
}

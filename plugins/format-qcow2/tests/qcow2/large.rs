//! Maps of large disks: how many reads they take, and how many runs they have.

use std::cell::Cell;
use std::time::Instant;

use format_qcow2::Error;
use format_qcow2::image::Image;
use format_qcow2::layout::Writer;
use witvirt_sdk::core::extent::Extent;
use witvirt_sdk::core::format::{Chunk, Write};
use witvirt_sdk::disk::{ImageReader, ImageWriter, ReadAt};

/// A file of which only the metadata exists; counts reads and bytes.
struct Metadata {
    size: u64,
    /// In the order of their offsets.
    pieces: Vec<Write>,
    reads: Cell<u64>,
    bytes: Cell<u64>,
}

impl ReadAt for Metadata {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, len: u32) -> Result<Vec<u8>, Error> {
        self.reads.set(self.reads.get() + 1);
        self.bytes.set(self.bytes.get() + u64::from(len));
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

fn laid_out(size: u64, options: &str, chunks: impl Iterator<Item = Chunk>) -> Metadata {
    let mut writer = Writer::create("qcow2", size, options, None).unwrap();
    for chunk in chunks {
        writer.allocate(&chunk).unwrap();
    }
    let mut pieces = Vec::new();
    loop {
        let ending = writer.finish().unwrap();
        pieces.extend(ending.writes);
        if !ending.next {
            pieces.sort_by_key(|piece| piece.offset);
            return Metadata { size: ending.size, pieces, reads: Cell::new(0), bytes: Cell::new(0) };
        }
    }
}

/// How a map was read.
struct Cost {
    runs: usize,
    reads: u64,
    bytes: u64,
}

/// Follows the whole map; prints what it took.
fn mapped(what: &str, source: &Metadata) -> Cost {
    let start = Instant::now();
    let mut image = Image::open(source).unwrap();
    let (mut runs, mut at) = (0, Some(0));
    while let Some(next) = at {
        let page = image.extents(next, u64::MAX, u32::MAX).unwrap();
        let mut expected = next;
        for Extent { start, length, .. } in &page.extents {
            assert_eq!(*start, expected);
            expected += length;
        }
        runs += page.extents.len();
        at = page.next;
    }
    let cost = Cost { runs, reads: source.reads.get(), bytes: source.bytes.get() };
    eprintln!("{what}: {runs} runs, {} reads, {} bytes, {:?}", cost.reads, cost.bytes, start.elapsed());
    cost
}

#[test]
fn two_gibibytes_compressed() {
    let chunk = |index: u64| Chunk {
        start: index << 16,
        length: 65536,
        stored: 20_000 + index % 1000,
        encoded: true,
    };
    let source = laid_out(2 << 30, "{\"compression\": \"zlib\"}", (0..1 << 15).map(chunk));
    let cost = mapped("2 GiB compressed", &source);
    assert_eq!(cost.runs, 1 << 15);
    assert!(cost.reads < 10 && cost.bytes < 1 << 20, "{} reads, {} bytes", cost.reads, cost.bytes);
}

#[test]
fn a_hundred_and_twenty_eight_gibibytes_in_fragments() {
    let chunk = |index: u64| Chunk { start: index << 17, length: 65536, stored: 65536, encoded: false };
    let source = laid_out(128 << 30, "{}", (0..1 << 20).map(chunk));
    let cost = mapped("128 GiB in fragments", &source);
    assert_eq!(cost.runs, 1 << 21);
    assert!(cost.reads < 300 && cost.bytes < 20 << 20, "{} reads, {} bytes", cost.reads, cost.bytes);
}

#[test]
fn sixty_four_tebibytes_almost_empty() {
    let chunk = |index: u64| Chunk { start: index << 40, length: 65536, stored: 65536, encoded: false };
    let source = laid_out(64 << 40, "{}", (0..64).map(chunk));
    let cost = mapped("64 TiB", &source);
    assert_eq!(cost.runs, 128);
    assert!(cost.reads < 120 && cost.bytes < 10 << 20, "{} reads, {} bytes", cost.reads, cost.bytes);
}

#[test]
fn small_clusters_in_a_row() {
    let chunk = |index: u64| Chunk { start: index << 9, length: 512, stored: 512, encoded: false };
    let source = laid_out(256 << 20, "{\"cluster-size\": 512}", (0..1 << 19).map(chunk));
    let cost = mapped("256 MiB in clusters of 512 bytes", &source);
    assert_eq!(cost.runs, 1);
    assert!(cost.reads < 40, "8192 tables in {} reads", cost.reads);
}

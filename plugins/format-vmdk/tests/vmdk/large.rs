//! Maps of large disks: how many reads they take, how many runs they have, and how long a page takes.

use std::cell::Cell;
use std::time::{Duration, Instant};

use format_vmdk::Error;
use format_vmdk::image::Image;
use format_vmdk::layout::Writer;
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
        let first = self.pieces.partition_point(|piece| piece.offset + piece.bytes.len() as u64 <= offset);
        for piece in self.pieces[first..].iter().take_while(|piece| piece.offset < end) {
            let from = piece.offset.max(offset);
            let to = (piece.offset + piece.bytes.len() as u64).min(end);
            let source = &piece.bytes[(from - piece.offset) as usize..(to - piece.offset) as usize];
            bytes[(from - offset) as usize..(to - offset) as usize].copy_from_slice(source);
        }
        Ok(bytes)
    }
}

fn laid_out(size: u64, options: &str, chunks: impl Iterator<Item = Chunk>) -> Metadata {
    let mut writer = Writer::create("vmdk", size, options, None).unwrap();
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
    pages: u32,
    time: Duration,
    reads: u64,
    bytes: u64,
}

/// Follows the whole map as the host does; prints what it took.
fn mapped(what: &str, source: &Metadata) -> Cost {
    let mut image = Image::open(source).unwrap();
    let start = Instant::now();
    let (mut runs, mut pages, mut at) = (0, 0, Some(0));
    while let Some(next) = at {
        let page = image.extents(next, u64::MAX, 4096).unwrap();
        runs += page.extents.len();
        pages += 1;
        at = page.next;
    }
    let time = start.elapsed();
    let cost = Cost { runs, pages, time, reads: source.reads.get(), bytes: source.bytes.get() };
    eprintln!("{what}: {runs} runs, {pages} pages, {} reads, {} bytes, {time:?}", cost.reads, cost.bytes);
    cost
}

const STREAM: &str = "{\"subformat\": \"streamOptimized\"}";

#[test]
fn sixteen_gibibytes_compressed() {
    let chunk = |index: u64| Chunk {
        start: index << 16,
        length: 65536,
        stored: 20_000 + index % 1000,
        encoded: true,
    };
    let source = laid_out(16 << 30, STREAM, (0..1 << 18).map(chunk));
    let cost = mapped("16 GiB compressed", &source);
    assert_eq!(cost.runs, 1 << 18);
    // One for each table of 512 grains, and one for the marker before it.
    assert!(cost.reads < 1100 && cost.bytes < 3 << 19, "{} reads, {} bytes", cost.reads, cost.bytes);
    // A fifth of it with nothing else to do.
    assert!(cost.time / cost.pages < Duration::from_millis(5), "{:?} for {} pages", cost.time, cost.pages);
}

#[test]
fn a_quarter_of_a_tebibyte_in_fragments() {
    let chunk = |index: u64| Chunk { start: index << 18, length: 65536, stored: 65536, encoded: false };
    let source = laid_out(1 << 38, "{}", (0..1 << 18).map(chunk));
    let cost = mapped("256 GiB in fragments of 256 KiB", &source);
    assert!(cost.runs >= 1 << 19);
    assert!(cost.reads < 2000, "{} reads", cost.reads);
    assert!(cost.time / cost.pages < Duration::from_millis(5), "{:?} for {} pages", cost.time, cost.pages);
}

#[test]
fn a_quarter_of_a_tebibyte_in_one_piece() {
    let chunk = |index: u64| Chunk { start: index << 16, length: 65536, stored: 65536, encoded: false };
    let source = laid_out(1 << 38, "{}", (0..1 << 22).map(chunk));
    let cost = mapped("256 GiB in one piece", &source);
    assert!(cost.runs <= 1 + cost.pages as usize, "{} runs", cost.runs);
    assert!(cost.time < Duration::from_secs(2), "{:?}", cost.time);
}

#[test]
fn eight_tebibytes_almost_empty() {
    let chunk = |index: u64| Chunk { start: index << 37, length: 65536, stored: 65536, encoded: false };
    let source = laid_out(8 << 40, "{}", (0..64).map(chunk));
    let cost = mapped("8 TiB", &source);
    assert!(cost.reads < 700, "{} reads", cost.reads);
    assert!(cost.time < Duration::from_secs(5), "{:?}", cost.time);
}

//! Maps of large disks: how many reads they take.

use std::cell::Cell;

use format_vpc::Error;
use format_vpc::image::Image;
use format_vpc::layout::Writer;
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

#[test]
fn two_tebibytes_with_every_second_block() {
    let size = 2040u64 << 30;
    let mut writer = Writer::create("vpc", size, "{}", None).unwrap();
    let blocks = size >> 21;
    for block in (0..blocks).step_by(2) {
        let chunk = Chunk { start: block << 21, length: 2 << 20, stored: 2 << 20, encoded: false };
        writer.allocate(&chunk).unwrap();
    }
    let mut pieces = Vec::new();
    let size = loop {
        let ending = writer.finish().unwrap();
        // Bitmaps do not matter to the reader.
        pieces.extend(ending.writes.into_iter().filter(|write| write.bytes.iter().any(|byte| *byte != 0xff)));
        if !ending.next {
            break ending.size;
        }
    };
    pieces.sort_by_key(|piece| piece.offset);
    let source = Metadata { size, pieces, reads: Cell::new(0), bytes: Cell::new(0) };
    let mut image = Image::open(&source).unwrap();
    let (mut runs, mut at) = (0, Some(0));
    while let Some(next) = at {
        let page = image.extents(next, u64::MAX, u32::MAX).unwrap();
        runs += page.extents.len() as u64;
        at = page.next;
    }
    assert_eq!(runs, blocks);
    let (reads, bytes) = (source.reads.get(), source.bytes.get());
    eprintln!("2040 GiB: {runs} runs, {reads} reads, {bytes} bytes");
    assert!(reads < 60 && bytes < 5 << 20, "{reads} reads, {bytes} bytes");
    assert_eq!(image.check().unwrap(), []);
}

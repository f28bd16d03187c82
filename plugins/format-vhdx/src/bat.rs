//! Entries of the block allocation table.

use crate::metadata::Metadata;
use crate::{Error, MIB, corrupt};

/// Bits of the state of an entry.
const STATE: u64 = 7;
/// Bits of the offset in bytes: the entry counts MiB from bit 20 on.
const OFFSET: u64 = !(MIB - 1);

/// What a payload block is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Payload {
    /// Not in this file.
    Absent,
    /// Zeros, whatever the parent has.
    Zero,
    /// At this offset of the file, in bytes.
    Present(u64),
    /// At this offset where the sector bitmap has a bit.
    Partial(u64),
}

impl Payload {
    /// `None` for a state that does not exist.
    pub fn parse(entry: u64) -> Option<Self> {
        match entry & STATE {
            0 => Some(Self::Absent),
            // 5 is "unmapped" in drafts of the specification.
            1 | 2 | 3 | 5 => Some(Self::Zero),
            6 => Some(Self::Present(entry & OFFSET)),
            7 => Some(Self::Partial(entry & OFFSET)),
            _ => None,
        }
    }
}

/// The offset of a block of sector bitmaps in bytes; `None` when it is not there.
pub(crate) fn bitmap_offset(entry: u64) -> Option<u64> {
    (entry & STATE == 6).then_some(entry & OFFSET)
}

/// How the table is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    pub block_size: u64,
    /// Payload blocks of the disk.
    pub blocks: u64,
    /// Payload blocks for each block of sector bitmaps.
    pub ratio: u64,
    pub sector: u64,
    has_parent: bool,
}

impl Shape {
    /// For a region of `length` bytes.
    pub fn new(metadata: &Metadata, length: u64) -> Result<Self, Error> {
        let sector = u64::from(metadata.logical_sector);
        let shape = Self::of(metadata.virtual_size, metadata.block_size, sector, metadata.has_parent);
        if shape.entries() * 8 > length {
            return Err(corrupt("the block allocation table is too small for the disk")
                .with("entries", length / 8)
                .with("needed", shape.entries()));
        }
        Ok(shape)
    }

    /// A block of sector bitmaps has 2^23 bits.
    pub fn of(virtual_size: u64, block_size: u64, sector: u64, has_parent: bool) -> Self {
        let blocks = virtual_size.div_ceil(block_size);
        Self { block_size, blocks, ratio: (sector << 23) / block_size, sector, has_parent }
    }

    /// Entries of the table.
    pub fn entries(self) -> u64 {
        if self.has_parent {
            self.blocks.div_ceil(self.ratio) * (self.ratio + 1)
        } else {
            self.blocks + self.blocks.saturating_sub(1) / self.ratio
        }
    }

    /// Index of the entry of a payload block.
    pub fn payload_index(self, block: u64) -> u64 {
        block + block / self.ratio
    }

    /// Index of the entry of the block of sector bitmaps that a payload block needs.
    pub fn bitmap_index(self, block: u64) -> u64 {
        (block / self.ratio + 1) * (self.ratio + 1) - 1
    }

    /// Offset and length in bytes of a payload block's bits in its block of sector bitmaps.
    pub fn bits(self, block: u64) -> (u64, u64) {
        let length = self.block_size / self.sector / 8;
        (block % self.ratio * length, length)
    }
}

#[cfg(test)]
mod tests {
    use super::{Payload, Shape};

    #[test]
    fn indexes() {
        // 2 MiB blocks and 512-byte sectors: 2048 payload blocks to a block of bitmaps.
        let shape = Shape::of(5 << 30, 2 << 20, 512, false);
        assert_eq!((shape.ratio, shape.blocks), (2048, 2560));
        assert_eq!(shape.entries(), 2561);
        assert_eq!((shape.payload_index(2047), shape.payload_index(2048)), (2047, 2049));
        assert_eq!(
            (shape.bitmap_index(0), shape.bitmap_index(2047), shape.bitmap_index(2048)),
            (2048, 2048, 4097)
        );
        assert_eq!(shape.bits(2049), (512, 512));
        assert_eq!(Shape::of(5 << 30, 2 << 20, 512, true).entries(), 2 * 2049);
        assert_eq!(Shape::of(4 << 30, 2 << 20, 512, false).entries(), 2048);
        assert_eq!(Shape::of(0, 2 << 20, 512, false).entries(), 0);
        // The largest block and the largest disk.
        let shape = Shape::of(64 << 40, 256 << 20, 4096, true);
        assert_eq!((shape.ratio, shape.bits(127).0 + shape.bits(127).1), (128, 1 << 20));
    }

    #[test]
    fn states() {
        assert_eq!(Payload::parse(0), Some(Payload::Absent));
        for state in [1, 2, 3, 5] {
            assert_eq!(Payload::parse(state | 7 << 20), Some(Payload::Zero));
        }
        assert_eq!(Payload::parse(6 | 7 << 20), Some(Payload::Present(7 << 20)));
        assert_eq!(Payload::parse(u64::MAX), Some(Payload::Partial(u64::MAX << 20)));
        assert_eq!(Payload::parse(4), None);
    }
}

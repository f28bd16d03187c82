//! The refcounts that an image stores.

use witvirt_sdk::disk::{ReadAt, be64, read_exact};

use crate::Error;
use crate::header::Header;

const OFFSET: u64 = !511;

/// The refcount table and its blocks.
pub(super) struct Refcounts<'a, R> {
    source: &'a R,
    header: &'a Header,
}

impl<'a, R: ReadAt> Refcounts<'a, R> {
    pub fn new(source: &'a R, header: &'a Header) -> Self {
        Self { source, header }
    }

    /// The refcounts of `count` clusters from `first`; what is above 65535 reads as that. Where the table is not sound they
    /// are 0, as for QEMU; the pass that counts references reports it.
    pub fn read(&self, first: u64, count: usize) -> Result<Vec<u16>, Error> {
        let mut stored = vec![0; count];
        let per_block = (self.header.cluster_size() * 8) >> self.header.refcount_order;
        let mut done = 0;
        while done < count {
            let cluster = first + done as u64;
            let within = cluster % per_block;
            let piece = (per_block - within).min((count - done) as u64) as usize;
            if let Some(block) = self.block(cluster / per_block)? {
                let bytes =
                    read_exact(self.source, block, self.header.cluster_size() as usize, "a refcount block")?;
                for (index, slot) in stored.iter_mut().skip(done).take(piece).enumerate() {
                    *slot = refcount(&bytes, within + index as u64, self.header.refcount_order);
                }
            }
            done += piece;
        }
        Ok(stored)
    }

    fn block(&self, index: u64) -> Result<Option<u64>, Error> {
        let offset = self.header.refcount_table_offset + index * 8;
        let table = u64::from(self.header.refcount_table_clusters) << self.header.cluster_bits;
        if index * 8 >= table || offset + 8 > self.source.size() {
            return Ok(None);
        }
        let bytes = read_exact(self.source, offset, 8, "the refcount table")?;
        Ok(be64(&bytes, 0).and_then(|raw| sound_block(raw, self.header, self.source.size())))
    }
}

/// The block that an entry of the refcount table names, if it can be read.
pub(super) fn sound_block(raw: u64, header: &Header, file_size: u64) -> Option<u64> {
    let offset = raw & OFFSET;
    let inside = offset.checked_add(header.cluster_size()).is_some_and(|end| end <= file_size);
    (offset != 0 && raw == offset && offset.is_multiple_of(header.cluster_size()) && inside).then_some(offset)
}

/// Entry `index` of a block whose entries are `1 << order` bits wide. Narrow ones fill a byte from its low end.
fn refcount(block: &[u8], index: u64, order: u32) -> u16 {
    let Ok(index) = usize::try_from(index) else { return 0 };
    if order < 3 {
        let bits = 1 << order;
        let byte = block.get(index * bits / 8).copied().unwrap_or_default();
        return u16::from(byte >> (index * bits % 8)) & ((1 << bits) - 1);
    }
    let width = 1 << (order - 3);
    let entry = block.get(index * width..(index + 1) * width).unwrap_or_default();
    let value = entry.iter().fold(0u64, |value, byte| value << 8 | u64::from(*byte));
    u16::try_from(value).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::refcount;

    #[test]
    fn every_width() {
        let block = [0b1101_0010, 0x34, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7];
        assert_eq!((0..8).map(|i| refcount(&block, i, 0)).collect::<Vec<_>>(), [0, 1, 0, 0, 1, 0, 1, 1]);
        assert_eq!((0..4).map(|i| refcount(&block, i, 1)).collect::<Vec<_>>(), [2, 0, 1, 3]);
        assert_eq!((0..4).map(|i| refcount(&block, i, 2)).collect::<Vec<_>>(), [2, 13, 4, 3]);
        assert_eq!((0..3).map(|i| refcount(&block, i, 3)).collect::<Vec<_>>(), [0xd2, 0x34, 0xff]);
        assert_eq!(refcount(&block, 0, 4), 0xd234);
        assert_eq!(refcount(&block, 0, 5), u16::MAX);
        assert_eq!(refcount(&block, 3, 5), 7);
        assert_eq!(refcount(&block, 1, 6), 7);
        assert_eq!(refcount(&block, 9, 6), 0, "past the block");
    }
}

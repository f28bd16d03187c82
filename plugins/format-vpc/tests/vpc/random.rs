//! Random images: what the writer lays out the reader finds again, and broken images never break the reader.

use std::collections::BTreeMap;

use format_vpc::image::Image;
use format_vpc::layout::Writer;
use proptest::prelude::*;
use witvirt_sdk::core::extent::ExtentKind;
use witvirt_sdk::core::format::Chunk;
use witvirt_sdk::disk::{ImageReader, ImageWriter};

use crate::differencing::{Child, seal};
use crate::support::map;

const BLOCK: u64 = 2 << 20;

/// Where each block was placed, and the metadata of the file: pieces in the order of their offsets, and its length.
type Laid = (BTreeMap<u64, u64>, Vec<(u64, Vec<u8>)>, u64);

fn lay_out(size: u64, blocks: &std::collections::BTreeSet<u64>, options: &str) -> Laid {
    let mut writer = Writer::create("vpc", size, options, None).unwrap();
    let mut placed = BTreeMap::new();
    for block in blocks.iter().filter(|block| **block * BLOCK < size) {
        let length = BLOCK.min(size - block * BLOCK);
        let chunk = Chunk { start: block * BLOCK, length, stored: length, encoded: false };
        placed.insert(*block, writer.allocate(&chunk).unwrap());
    }
    let mut pieces = BTreeMap::new();
    loop {
        let ending = writer.finish().unwrap();
        pieces.extend(ending.writes.into_iter().map(|write| (write.offset, write.bytes)));
        if !ending.next {
            return (placed, pieces.into_iter().collect(), ending.size);
        }
    }
}

/// A file with holes.
struct Sparse(Vec<(u64, Vec<u8>)>, u64);

impl witvirt_sdk::disk::ReadAt for Sparse {
    fn size(&self) -> u64 {
        self.1
    }

    fn read_at(&self, offset: u64, len: u32) -> Result<Vec<u8>, format_vpc::Error> {
        let mut bytes = vec![0; u64::from(len).min(self.1.saturating_sub(offset)) as usize];
        for (start, piece) in &self.0 {
            let from = offset.max(*start);
            let to = (offset + bytes.len() as u64).min(start + piece.len() as u64);
            if from < to {
                bytes[(from - offset) as usize..(to - offset) as usize]
                    .copy_from_slice(&piece[(from - start) as usize..(to - start) as usize]);
            }
        }
        Ok(bytes)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_laid_out_is_found(
        sectors in 1u64..4_000_000,
        blocks in prop::collection::btree_set(0u64..1000, 0..60),
        force in any::<bool>(),
        max in 1u32..50,
    ) {
        let size = sectors * 512;
        let (placed, pieces, length) = lay_out(size, &blocks, &format!("{{\"force-size\": {force}}}"));
        let mut image = Image::open(Sparse(pieces, length)).unwrap();
        prop_assert_eq!(image.check().unwrap(), []);
        let virtual_size = image.geometry().virtual_size;
        prop_assert!(virtual_size == size || (virtual_size > size && !force));
        let mut found = BTreeMap::new();
        for extent in map(&mut image, max).unwrap() {
            match extent.kind {
                ExtentKind::Unallocated => {}
                ExtentKind::Data { source: 0, offset } => {
                    prop_assert_eq!(extent.start % BLOCK, 0);
                    prop_assert_eq!(offset % 4096, 0);
                    found.insert(extent.start / BLOCK, offset);
                }
                other => prop_assert!(false, "{:?}", other),
            }
        }
        prop_assert_eq!(found, placed);
    }

    #[test]
    fn sectors_of_children_are_found(sectors in prop::collection::btree_set(0u64..4096, 0..400), max in 1u32..50) {
        let mut child = Child::of("base.vhd");
        child.sectors = sectors.iter().map(|sector| (*sector, 1)).collect();
        let mut image = Image::open(child.build()).unwrap();
        for extent in map(&mut image, max).unwrap() {
            let mine = matches!(extent.kind, ExtentKind::Data { .. });
            for sector in extent.start / 512..(extent.start + extent.length) / 512 {
                prop_assert_eq!(sectors.contains(&sector), mine);
            }
        }
    }

    #[test]
    fn broken_images_never_break_the_reader(
        patches in prop::collection::vec((prop_oneof![0usize..512, 512usize..1300, 1536usize..3100], any::<u8>()), 1..12),
        reseal in any::<bool>(),
        cut in prop::option::of(any::<prop::sample::Index>()),
        start in any::<u64>(),
    ) {
        let mut child = Child::of("base.vhd");
        child.sectors = vec![(3, 1), (1000, 2), (2000, 3)];
        let mut file = child.build();
        for (offset, byte) in patches {
            file[offset] = byte;
        }
        if reseal {
            seal(&mut file[..512], 64);
            seal(&mut file[512..1536], 36);
            let (copy, last) = (file[..512].to_vec(), file.len() - 512);
            file[last..].copy_from_slice(&copy);
        }
        if let Some(cut) = cut {
            file.truncate(cut.index(file.len()));
        }
        let Ok(mut image) = Image::open(file) else { return Ok(()) };
        let _ = (image.facts(), image.references(), image.check());
        let size = image.geometry().virtual_size;
        for start in [0, start % size.max(1)] {
            let mut at = start;
            for _ in 0..20 {
                let Ok(page) = image.extents(at, u64::MAX, 16) else { break };
                for extent in page.extents {
                    prop_assert_eq!(extent.start, at);
                    prop_assert!(extent.length > 0);
                    at += extent.length;
                    prop_assert!(at <= size);
                }
                match page.next {
                    Some(next) => prop_assert_eq!(next, at),
                    None => break,
                }
            }
        }
    }
}

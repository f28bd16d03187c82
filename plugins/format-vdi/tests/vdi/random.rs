//! Random images: what the writer lays out the reader finds again.

use std::collections::{BTreeMap, BTreeSet};

use format_vdi::image::Image;
use format_vdi::layout::Writer;
use proptest::prelude::*;
use witvirt_sdk::core::extent::ExtentKind;
use witvirt_sdk::core::format::Chunk;
use witvirt_sdk::disk::{ImageReader, ImageWriter};

use crate::support::map;

const MIB: u64 = 1 << 20;

/// A file of which only the beginning is written; the rest reads as zeros.
#[derive(Debug)]
struct Sparse(Vec<u8>, u64);

impl witvirt_sdk::disk::ReadAt for Sparse {
    fn size(&self) -> u64 {
        self.1
    }

    fn read_at(&self, offset: u64, len: u32) -> Result<Vec<u8>, format_vdi::Error> {
        let mut bytes = self.0.read_at(offset, len)?;
        bytes.resize(u64::from(len).min(self.1.saturating_sub(offset)) as usize, 0);
        Ok(bytes)
    }
}

fn layout() -> impl Strategy<Value = (u64, BTreeSet<u64>, bool)> {
    (1u64..3000, any::<bool>()).prop_flat_map(|(blocks, fixed)| {
        (Just(blocks), prop::collection::btree_set(0..blocks, 0..200), Just(fixed))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_laid_out_is_found((blocks, used, fixed) in layout(), max in 1u32..50) {
        let options = if fixed { "{\"subformat\": \"static\"}" } else { "{}" };
        let mut writer = Writer::create("vdi", blocks * MIB, options, None).unwrap();
        let mut placed = BTreeMap::new();
        for block in &used {
            let chunk = Chunk { start: block * MIB, length: MIB, stored: MIB, encoded: false };
            placed.insert(*block, writer.allocate(&chunk).unwrap());
        }
        let ending = writer.finish().unwrap();
        prop_assert!(!ending.next);
        let mut front = vec![0; 512 + 4 * blocks as usize];
        for write in ending.writes {
            front[write.offset as usize..write.offset as usize + write.bytes.len()].copy_from_slice(&write.bytes);
        }
        let mut image = Image::open(Sparse(front, ending.size)).unwrap();
        prop_assert_eq!(image.check().unwrap(), []);
        let mut found = BTreeMap::new();
        for extent in map(&mut image, max).unwrap() {
            match extent.kind {
                ExtentKind::Unallocated => prop_assert!(!fixed),
                ExtentKind::Data { source: 0, offset } => {
                    for at in (0..extent.length).step_by(MIB as usize) {
                        found.insert((extent.start + at) / MIB, offset + at);
                    }
                }
                other => prop_assert!(false, "{other:?}"),
            }
        }
        if fixed {
            prop_assert_eq!(found.len() as u64, blocks);
            found.retain(|block, _| used.contains(block));
        }
        prop_assert_eq!(found, placed);
    }
}

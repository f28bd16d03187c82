//! Random images: what the writer lays out the reader finds again, and broken images never break the reader.

use std::collections::BTreeMap;

use format_vhdx::Error;
use format_vhdx::guid::Guid;
use format_vhdx::image::Image;
use format_vhdx::layout::Writer;
use proptest::prelude::*;
use witvirt_sdk::core::extent::ExtentKind;
use witvirt_sdk::core::format::Chunk;
use witvirt_sdk::disk::{ImageReader, ImageWriter, ReadAt};

use crate::build::{LOG, MIB, log_entry, seal};
use crate::differencing::child;
use crate::support::map;

/// A file with holes: pieces, and its length.
struct Sparse(Vec<(u64, Vec<u8>)>, u64);

impl ReadAt for Sparse {
    fn size(&self) -> u64 {
        self.1
    }

    fn read_at(&self, offset: u64, len: u32) -> Result<Vec<u8>, Error> {
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

fn broken() -> impl Strategy<Value = Vec<(usize, u8)>> {
    let places = prop_oneof![
        65536usize..65536 + 100,
        131_072usize..131_072 + 100,
        196_608usize..196_608 + 90,
        (1usize << 20)..(1 << 20) + 9000,
        (2usize << 20)..(2 << 20) + 300,
        (2usize << 20) + 65536..(2 << 20) + 65536 + 300,
        (3usize << 20)..(3 << 20) + 64,
        (3usize << 20) + 32768..(3 << 20) + 32776,
        (4usize << 20)..(4 << 20) + 512,
    ];
    prop::collection::vec((places, any::<u8>()), 1..10)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_laid_out_is_found(
        sectors in 1u64..60_000_000,
        chunks in prop::collection::btree_set(0u64..30_000, 0..80),
        bits in 20u32..=28,
        max in 1u32..50,
    ) {
        let size = sectors * 512;
        let mut writer = Writer::create("vhdx", size, &format!("{{\"block-size\": {}}}", 1u64 << bits), None).unwrap();
        let mut placed = BTreeMap::new();
        for mib in chunks.into_iter().filter(|mib| mib * MIB < size) {
            let length = MIB.min(size - mib * MIB);
            let chunk = Chunk { start: mib * MIB, length, stored: length, encoded: false };
            placed.insert(mib, writer.allocate(&chunk).unwrap());
        }
        let mut pieces = BTreeMap::new();
        let length = loop {
            let ending = writer.finish().unwrap();
            pieces.extend(ending.writes.into_iter().map(|write| (write.offset, write.bytes)));
            if !ending.next {
                break ending.size;
            }
        };
        let mut image = Image::open(Sparse(pieces.into_iter().collect(), length)).unwrap();
        prop_assert_eq!(image.check().unwrap(), []);
        prop_assert_eq!(image.geometry().virtual_size, size);
        let mut found = BTreeMap::new();
        for extent in map(&mut image, max).unwrap() {
            match extent.kind {
                ExtentKind::Zero => {}
                ExtentKind::Data { source: 0, offset } => {
                    for at in (0..extent.length).step_by(MIB as usize) {
                        found.insert((extent.start + at) / MIB, offset + at);
                    }
                }
                other => prop_assert!(false, "{:?}", other),
            }
        }
        // Blocks hold chunks that nothing was written to, too.
        for (mib, offset) in placed {
            prop_assert_eq!(found.get(&mib), Some(&offset));
        }
    }

    #[test]
    fn broken_images_never_break_the_reader(patches in broken(), cut in prop::option::of(0usize..8 << 20), start in any::<u64>()) {
        let id = Guid([9; 16]);
        let mut made = child("base.vhdx", &[1, 5, 3000]);
        made.log = Some(id);
        made.patches.push((LOG, log_entry(id, &[(5 * MIB + 4096, 7), (6 * MIB, 8)], 8 * MIB)));
        let mut file = made.build();
        for (offset, byte) in patches {
            file[offset] = byte;
        }
        for (start, length) in [(1 << 16, 4096), (2 << 16, 4096), (3 << 16, 1 << 16), (1 << 20, 3 * 4096)] {
            seal(&mut file[start..start + length]);
        }
        if let Some(cut) = cut {
            file.truncate(cut);
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

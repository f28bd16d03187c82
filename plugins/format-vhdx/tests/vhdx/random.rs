//! Random images: what the writer lays out the reader finds again, and broken images never break the reader.

use format_vhdx::Vhdx;
use format_vhdx::guid::Guid;
use format_vhdx::image::Image;
use proptest::prelude::*;
use witvirt_sdk::core::extent::ExtentKind;
use witvirt_sdk::disk::ImageReader;

use crate::build::{LOG, MIB, log_entry, seal};
use crate::differencing::child;
use witvirt_testkit::{check_ranges, lay_out, map, places, plain};

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
        let used: Vec<u64> = chunks.into_iter().filter(|mib| mib * MIB < size).collect();
        let chunks = used.iter().map(|mib| plain(mib * MIB, MIB.min(size - mib * MIB)));
        let laid = lay_out::<Vhdx>(size, &format!("{{\"block-size\": {}}}", 1u64 << bits), None, chunks);
        let mut image = Image::open(&laid.file).unwrap();
        prop_assert_eq!(image.check().unwrap(), []);
        prop_assert_eq!(image.geometry().virtual_size, size);
        let extents = map(&mut image, max).unwrap();
        let known = |kind: &ExtentKind| matches!(kind, ExtentKind::Zero | ExtentKind::Data { source: 0, .. });
        prop_assert!(extents.iter().all(|extent| known(&extent.kind)));
        let found = places(&extents, MIB);
        // Blocks hold chunks that nothing was written to, too.
        for (mib, offset) in used.into_iter().zip(laid.places) {
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
        check_ranges(&mut image, &[0, start]);
    }
}

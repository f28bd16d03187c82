//! Random images: what the writer lays out the reader finds again, and broken images never break the reader.

use format_vpc::Vpc;
use format_vpc::image::Image;
use proptest::prelude::*;
use witvirt_sdk::core::extent::ExtentKind;
use witvirt_sdk::disk::ImageReader;

use crate::differencing::{Child, seal};
use witvirt_testkit::{check_ranges, lay_out, map, places, plain};

const BLOCK: u64 = 2 << 20;

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
        let used: Vec<u64> = blocks.into_iter().filter(|block| block * BLOCK < size).collect();
        let chunks = used.iter().map(|block| plain(block * BLOCK, BLOCK.min(size - block * BLOCK)));
        let laid = lay_out::<Vpc>(size, &format!("{{\"force-size\": {force}}}"), None, chunks);
        let mut image = Image::open(&laid.file).unwrap();
        prop_assert_eq!(image.check().unwrap(), []);
        let virtual_size = image.geometry().virtual_size;
        prop_assert!(virtual_size == size || (virtual_size > size && !force));
        let extents = map(&mut image, max).unwrap();
        let known = |kind: &ExtentKind| matches!(kind, ExtentKind::Unallocated | ExtentKind::Data { source: 0, .. });
        prop_assert!(extents.iter().all(|extent| known(&extent.kind)));
        let found = places(&extents, BLOCK);
        prop_assert!(found.values().all(|offset| offset % 4096 == 0));
        prop_assert_eq!(found, used.into_iter().zip(laid.places).collect());
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
        check_ranges(&mut image, &[0, start]);
    }
}

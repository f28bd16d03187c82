//! Random images: what the writer lays out the reader finds again.

use std::collections::BTreeSet;

use format_vdi::Vdi;
use format_vdi::image::Image;
use proptest::prelude::*;
use witvirt_sdk::core::extent::ExtentKind;
use witvirt_sdk::disk::ImageReader;
use witvirt_testkit::{lay_out, map, places, plain};

const MIB: u64 = 1 << 20;

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
        let laid = lay_out::<Vdi>(blocks * MIB, options, None, used.iter().map(|block| plain(block * MIB, MIB)));
        let mut image = Image::open(&laid.file).unwrap();
        prop_assert_eq!(image.check().unwrap(), []);
        let extents = map(&mut image, max).unwrap();
        for extent in &extents {
            let free = extent.kind == ExtentKind::Unallocated && !fixed;
            prop_assert!(free || matches!(extent.kind, ExtentKind::Data { source: 0, .. }), "{extent:?}");
        }
        let mut found = places(&extents, MIB);
        if fixed {
            prop_assert_eq!(found.len() as u64, blocks);
            found.retain(|block, _| used.contains(block));
        }
        prop_assert_eq!(found, used.into_iter().zip(laid.places).collect());
    }
}

//! Random images: what the writer lays out the reader finds again.

use std::collections::BTreeSet;

use format_qed::Qed;
use format_qed::image::Image;
use proptest::prelude::*;
use witvirt_sdk::core::extent::ExtentKind;
use witvirt_sdk::disk::ImageReader;
use witvirt_testkit::{lay_out, map, places, plain};

const CLUSTER: u64 = 4096;

fn layout() -> impl Strategy<Value = (u32, u64, BTreeSet<u64>, bool)> {
    (1u32..4, 1u64..6000, any::<bool>()).prop_flat_map(|(table, clusters, backing)| {
        (Just(1 << table), Just(clusters), prop::collection::btree_set(0..clusters, 0..200), Just(backing))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_laid_out_is_found((table, clusters, used, over) in layout(), max in 1u32..50) {
        let options = format!("{{\"cluster-size\": {CLUSTER}, \"table-size\": {table}}}");
        let chunks = used.iter().map(|cluster| plain(cluster * CLUSTER, CLUSTER));
        let laid = lay_out::<Qed>(clusters * CLUSTER, &options, over.then_some(("base", "raw")), chunks);
        let mut image = Image::open(&laid.file).unwrap();
        prop_assert_eq!(image.check().unwrap(), []);
        let extents = map(&mut image, max).unwrap();
        let hole = if over { ExtentKind::Parent } else { ExtentKind::Unallocated };
        for extent in &extents {
            let data = matches!(extent.kind, ExtentKind::Data { source: 0, .. });
            prop_assert!(data || extent.kind == hole, "{extent:?}");
        }
        prop_assert_eq!(places(&extents, CLUSTER), used.into_iter().zip(laid.places).collect());
    }
}

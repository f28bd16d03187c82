//! Random images: what the writer lays out the reader finds again.

use std::collections::{BTreeMap, BTreeSet};

use format_qed::image::Image;
use format_qed::layout::Writer;
use proptest::prelude::*;
use witvirt_sdk::core::extent::ExtentKind;
use witvirt_sdk::core::format::Chunk;
use witvirt_sdk::disk::{ImageReader, ImageWriter};

use crate::support::map;

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
        let backing = over.then(|| ("base".to_owned(), "raw".to_owned()));
        let mut writer = Writer::create("qed", clusters * CLUSTER, &options, backing).unwrap();
        let mut placed = BTreeMap::new();
        for cluster in &used {
            let chunk = Chunk { start: cluster * CLUSTER, length: CLUSTER, stored: CLUSTER, encoded: false };
            placed.insert(*cluster, writer.allocate(&chunk).unwrap());
        }
        let ending = writer.finish().unwrap();
        prop_assert!(!ending.next);
        let mut file = vec![0; ending.size as usize];
        for write in ending.writes {
            file[write.offset as usize..write.offset as usize + write.bytes.len()].copy_from_slice(&write.bytes);
        }
        let mut image = Image::open(file).unwrap();
        prop_assert_eq!(image.check().unwrap(), []);
        let mut found = BTreeMap::new();
        for extent in map(&mut image, max).unwrap() {
            match extent.kind {
                ExtentKind::Unallocated => prop_assert!(!over),
                ExtentKind::Parent => prop_assert!(over),
                ExtentKind::Data { source: 0, offset } => {
                    for at in (0..extent.length).step_by(CLUSTER as usize) {
                        found.insert((extent.start + at) / CLUSTER, offset + at);
                    }
                }
                other => prop_assert!(false, "{other:?}"),
            }
        }
        prop_assert_eq!(found, placed);
    }
}

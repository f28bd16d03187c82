//! Random tables: what is stored is found, and nothing else.

use std::collections::BTreeMap;

use format_parallels::image::Image;
use proptest::prelude::*;
use witvirt_sdk::core::extent::ExtentKind;
use witvirt_sdk::disk::ImageReader;
use witvirt_testkit::map;

/// An image of clusters of `per_cluster` sectors, with places by cluster of the disk.
fn image(extended: bool, per_cluster: u32, places: &[Option<u32>]) -> Vec<u8> {
    let count = places.len() as u32;
    let mut file = if extended { b"WithouFreSpacExt" } else { b"WithoutFreeSpace" }.to_vec();
    let sectors = count * per_cluster;
    // The first cluster that is behind every table here.
    let first = 4096u32.div_ceil(per_cluster * 512);
    for word in [2, 16, 1, per_cluster, count, sectors, 0, 0, first * per_cluster, 0, 0, 0] {
        file.extend(u32::to_le_bytes(word));
    }
    let mut end = 0;
    for place in places {
        let cluster = place.map_or(0, |place| first + place);
        let entry = if extended { cluster } else { cluster * per_cluster };
        file.extend(entry.to_le_bytes());
        end = end.max((cluster + 1) * per_cluster * 512);
    }
    file.resize((end as usize).max(file.len()), 0);
    file
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_stored_is_found(
        extended: bool,
        per_cluster in prop_oneof![Just(1u32), Just(63), Just(8)],
        order in prop::collection::vec(any::<u16>(), 1..200),
        holes in any::<u64>(),
        max in 1u32..50,
    ) {
        // A permutation: the rank of each number, ties by position.
        let mut ranks: Vec<usize> = (0..order.len()).collect();
        ranks.sort_by_key(|index| (order[*index], *index));
        let places: Vec<Option<u32>> = ranks
            .iter()
            .enumerate()
            .map(|(index, rank)| (holes >> (index % 64) & 1 == 0).then_some(*rank as u32))
            .collect();
        let mut opened = Image::open(image(extended, per_cluster, &places)).unwrap();
        prop_assert_eq!(opened.check().unwrap(), []);
        let cluster = u64::from(per_cluster) * 512;
        let first = u64::from(4096u32.div_ceil(per_cluster * 512));
        let extents = map(&mut opened, max).unwrap();
        let known = |kind: &ExtentKind| matches!(kind, ExtentKind::Unallocated | ExtentKind::Data { source: 0, .. });
        prop_assert!(extents.iter().all(|extent| known(&extent.kind)));
        let found: BTreeMap<u64, u64> =
            witvirt_testkit::places(&extents, cluster).into_iter().map(|(index, offset)| (index, offset / cluster - first)).collect();
        let expected: BTreeMap<u64, u64> = places
            .iter()
            .enumerate()
            .filter_map(|(index, place)| place.map(|place| (index as u64, u64::from(place))))
            .collect();
        prop_assert_eq!(found, expected);
    }
}

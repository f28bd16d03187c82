//! Random images: what the writer lays out the reader finds again, and broken headers never break the reader.

use std::collections::BTreeMap;

use format_qcow2::Qcow2;
use format_qcow2::image::Image;
use proptest::prelude::*;
use witvirt_sdk::core::extent::ExtentKind;
use witvirt_sdk::core::format::Chunk;
use witvirt_sdk::disk::ImageReader;
use witvirt_testkit::{check_ranges, lay_out, map};

/// Guest cluster, and how many bytes it takes when it is compressed.
type Clusters = BTreeMap<u64, Option<u64>>;

fn clusters(count: u64, cluster_size: u64) -> impl Strategy<Value = Clusters> {
    prop::collection::btree_map(0..count, prop::option::of(1..cluster_size), 0..200)
}

fn layout() -> impl Strategy<Value = (u32, u64, Clusters, bool)> {
    (9u32..=21, 1u64..5000, any::<bool>()).prop_flat_map(|(bits, count, backing)| {
        (Just(bits), Just(count), clusters(count, 1 << bits), Just(backing))
    })
}

/// The file without its data, and where each cluster was placed.
fn write(bits: u32, count: u64, clusters: &Clusters, backing: bool) -> (Vec<u8>, BTreeMap<u64, u64>) {
    let size = 1u64 << bits;
    let options = format!("{{\"cluster-size\": {size}, \"compression\": \"zstd\"}}");
    let chunks = clusters.iter().map(|(cluster, stored)| Chunk {
        start: cluster << bits,
        length: size,
        stored: stored.unwrap_or(size),
        encoded: stored.is_some(),
    });
    let laid = lay_out::<Qcow2>(count << bits, &options, backing.then_some(("base", "raw")), chunks);
    (laid.file.to_vec(), clusters.keys().copied().zip(laid.places).collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_laid_out_is_found((bits, count, clusters, backing) in layout(), max in 1u32..50) {
        let (file, placed) = write(bits, count, &clusters, backing);
        let mut image = Image::open(file).unwrap();
        prop_assert_eq!(image.check().unwrap(), []);
        let mut found = BTreeMap::new();
        for extent in map(&mut image, max).unwrap() {
            match extent.kind {
                ExtentKind::Unallocated => prop_assert!(!backing),
                ExtentKind::Parent => prop_assert!(backing),
                ExtentKind::Data { source, offset } => {
                    prop_assert_eq!(source, 0);
                    for at in (0..extent.length).step_by(1 << bits) {
                        found.insert((extent.start + at) >> bits, (offset + at, None));
                    }
                }
                ExtentKind::Encoded(encoded) => {
                    prop_assert_eq!((encoded.skip, encoded.decoded_length), (0, 1u32 << bits));
                    found.insert(extent.start >> bits, (encoded.offset, Some(encoded.length)));
                }
                other => prop_assert!(false, "{other:?}"),
            }
        }
        prop_assert_eq!(found.len(), clusters.len());
        for (cluster, stored) in &clusters {
            let (offset, length) = found[cluster];
            prop_assert_eq!(offset, placed[cluster]);
            // The descriptor counts sectors: never less than what was stored, and less than a sector more.
            match (stored, length) {
                (None, None) => {}
                (Some(stored), Some(length)) => {
                    prop_assert!(length >= *stored && length < stored + 512, "{} for {}", length, stored);
                }
                other => prop_assert!(false, "{other:?}"),
            }
        }
    }

    #[test]
    fn broken_images_never_break_the_reader(
        clusters in clusters(300, 512),
        patches in prop::collection::vec((prop_oneof![0usize..120, 0usize..200_000], any::<u8>()), 1..20),
        cut in prop::option::of(any::<prop::sample::Index>()),
        start in any::<u64>(),
    ) {
        let (mut file, _) = write(9, 300, &clusters, true);
        for (offset, byte) in patches {
            let offset = offset % file.len();
            file[offset] = byte;
        }
        if let Some(cut) = cut {
            file.truncate(cut.index(file.len()));
        }
        let Ok(mut image) = Image::open(file) else { return Ok(()) };
        let size = image.geometry().virtual_size;
        check_ranges(&mut image, &[0, start, size / 2]);
    }
}

//! Random images: what the writer lays out the reader finds again, and broken ones never break the reader.

use std::collections::BTreeMap;

use format_vmdk::Vmdk;
use format_vmdk::image::Image;
use proptest::prelude::*;
use witvirt_sdk::core::extent::ExtentKind;
use witvirt_sdk::core::format::Chunk;
use witvirt_sdk::disk::ImageReader;
use witvirt_testkit::{check_ranges, lay_out, map};

const GRAIN: u64 = 65536;

/// The file without its data, and where each grain was placed. Grains are stored in so many bytes where they are compressed.
fn write(count: u64, tail: u64, grains: &BTreeMap<u64, u64>, stream: bool) -> (Vec<u8>, BTreeMap<u64, u64>) {
    let size = count * GRAIN - tail;
    let options = if stream { "{\"subformat\": \"streamOptimized\"}" } else { "{}" };
    let chunks = grains.iter().map(|(grain, stored)| {
        let (start, length) = (grain * GRAIN, GRAIN.min(size - grain * GRAIN));
        Chunk { start, length, stored: if stream { *stored } else { length }, encoded: stream }
    });
    let laid = lay_out::<Vmdk>(size, options, None, chunks);
    (laid.file.to_vec(), grains.keys().copied().zip(laid.places).collect())
}

fn layout() -> impl Strategy<Value = (u64, u64, BTreeMap<u64, u64>, bool)> {
    (1u64..3000, 0u64..128, any::<bool>()).prop_flat_map(|(count, tail, stream)| {
        let grains = prop::collection::btree_map(0..count, 1..70_000u64, 0..80);
        (Just(count), Just(tail * 512), grains, Just(stream))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_laid_out_is_found((count, tail, grains, stream) in layout(), max in 1u32..50) {
        let (file, placed) = write(count, tail, &grains, stream);
        let mut image = Image::open(file).unwrap();
        prop_assert_eq!(image.geometry().virtual_size, count * GRAIN - tail);
        prop_assert_eq!(image.check().unwrap(), []);
        let mut found = BTreeMap::new();
        for extent in map(&mut image, max).unwrap() {
            match extent.kind {
                ExtentKind::Unallocated => {}
                ExtentKind::Data { source: 0, offset } => {
                    for at in (0..extent.length).step_by(GRAIN as usize) {
                        found.insert((extent.start + at) / GRAIN, (offset + at, 0));
                    }
                }
                ExtentKind::Encoded(encoded) => {
                    prop_assert_eq!((u64::from(encoded.decoded_length), encoded.skip), (extent.length, 0));
                    prop_assert_eq!(encoded.codec == "zlib", extent.length == GRAIN);
                    found.insert(extent.start / GRAIN, (encoded.offset, encoded.length));
                }
                other => prop_assert!(false, "{other:?}"),
            }
        }
        prop_assert_eq!(found.len(), grains.len());
        for (grain, stored) in &grains {
            let (offset, length) = found[grain];
            prop_assert_eq!(offset, placed[grain]);
            if stream {
                // Up to the next sector where the marker was not looked at, and that grain's place is known.
                prop_assert!(length >= *stored && length < stored + 512, "{} for {}", length, stored);
            }
        }
    }

    #[test]
    fn broken_images_never_break_the_reader(
        (count, tail, grains, stream) in layout(),
        patches in prop::collection::vec((prop_oneof![0usize..120, 0usize..200_000], any::<u8>()), 1..20),
        cut in prop::option::of(any::<prop::sample::Index>()),
        start in any::<u64>(),
    ) {
        let (mut file, _) = write(count, tail, &grains, stream);
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

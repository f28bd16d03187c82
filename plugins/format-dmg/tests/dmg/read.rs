//! Images of every kind, made here; zlib ones are compared with what qemu-img reads.

use std::process::Command;

use format_dmg::image::Image;
use witvirt_sdk::core::extent::ExtentKind;
use witvirt_sdk::disk::ImageReader;
use witvirt_testkit::Noise;

use crate::body::{Place, Stored, image};
use crate::support::{content, encode};

const KINDS: [(u32, &str); 6] = [
    (1, "UDRO"),
    (0x8000_0004, "UDCO"),
    (0x8000_0005, "UDZO"),
    (0x8000_0006, "UDBZ"),
    (0x8000_0007, "ULFO"),
    (0x8000_0008, "ULMO"),
];

/// Three tables: one with data only, one with every sort of empty run, one that mixes them.
fn tables(kind: u32) -> (Vec<Vec<Stored>>, Vec<u8>) {
    let mut noise = Noise::new(kind.into());
    let mut plain = Vec::new();
    let mut data = |sectors: u64, plain: &mut Vec<u8>| {
        let mut bytes = vec![0x5a; 512 * sectors as usize];
        for byte in bytes.iter_mut().step_by(7) {
            *byte = noise.next() as u8;
        }
        plain.extend(&bytes);
        (kind, sectors, encode(kind, &bytes))
    };
    let empty = |kind: u32, sectors: u64, plain: &mut Vec<u8>| {
        plain.resize(plain.len() + 512 * sectors as usize, 0);
        (kind, sectors, Vec::new())
    };
    let tables = vec![
        vec![data(1, &mut plain), data(512, &mut plain)],
        vec![empty(2, 40, &mut plain), empty(0, 9, &mut plain), empty(0, 1, &mut plain)],
        vec![empty(0, 3, &mut plain), data(17, &mut plain), empty(2, 100, &mut plain), data(2, &mut plain)],
    ];
    (tables, plain)
}

#[test]
fn every_kind_from_both_places() {
    for (kind, name) in KINDS {
        let (tables, plain) = tables(kind);
        for place in [Place::Plist, Place::Resources] {
            let file = image(&tables, place);
            for max in [1, 3, 1000] {
                assert!(content(&file, max).unwrap() == plain, "{name} {place:?}");
            }
            let mut image = Image::open(file).unwrap();
            let facts = image.facts();
            assert!(facts.contains(&("kind".to_owned(), name.to_owned())), "{facts:?}");
            assert!(image.check().unwrap().is_empty());
        }
    }
}

#[test]
fn pages_start_anywhere() {
    let (tables, plain) = tables(0x8000_0005);
    let mut image = Image::open(image(&tables, Place::Plist)).unwrap();
    let size = plain.len() as u64;
    for start in (0..size).step_by(12_345).chain([size - 1]) {
        let page = image.extents(start, 1000, 10).unwrap();
        assert_eq!(page.extents[0].start, start);
        let end = page.extents.last().map(|last| last.start + last.length).unwrap();
        assert_eq!(end, size.min(start + 1000));
    }
    let middle = &image.extents(1000, 10, 1).unwrap().extents[0];
    let ExtentKind::Encoded(encoded) = &middle.kind else { panic!("{middle:?}") };
    assert_eq!((encoded.skip, encoded.decoded_length), (1000 - 512, 512 * 512));
    assert!(image.extents(size, 10, 1).unwrap().extents.is_empty());
    assert_eq!(image.extents(u64::MAX, u64::MAX, 1).unwrap().next, None);
}

#[test]
fn qemu_img_reads_the_same() {
    if Command::new("qemu-img").arg("--version").output().is_err() {
        eprintln!("skipped: qemu-img is missing (Debian: apt-get install qemu-utils)");
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    for (kind, place) in [(1, Place::Plist), (0x8000_0005, Place::Plist), (0x8000_0005, Place::Resources)] {
        let (tables, plain) = tables(kind);
        let file = image(&tables, place);
        std::fs::write(scratch.path().join("a.dmg"), &file).unwrap();
        let output = Command::new("qemu-img")
            .args(["convert", "-f", "dmg", "-O", "raw", "a.dmg", "a.raw"])
            .current_dir(scratch.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{place:?}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(std::fs::read(scratch.path().join("a.raw")).unwrap() == plain, "{kind:#x} {place:?}");
    }
}

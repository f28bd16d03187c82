//! Differencing images, odd offsets and block sizes: QEMU reads none of them, so they are made here.

use format_vdi::image::{Image, PARENT};
use witvirt_sdk::core::extent::{ExtentKind, Reference};
use witvirt_sdk::disk::ImageReader;
use witvirt_testkit::{content, map};

use crate::fuzz::body::image;

/// What block `block` of the disk holds in an image of the pattern, `None` where it falls through.
fn expected(file: &[u8], data_offset: usize, extra: usize, block: usize) -> Option<Vec<u8>> {
    match block % 4 {
        0 | 1 => {
            let place = 19 - block / 4 * 2 - block % 4;
            let start = data_offset + place * (512 + extra) + extra;
            Some(file[start..start + 512].to_vec())
        }
        2 => None,
        _ => Some(vec![0; 512]),
    }
}

#[test]
fn free_blocks_fall_through_and_zero_blocks_do_not() {
    for (extra, map_offset) in [(0, 512), (16, 1001)] {
        let file = image(4, extra, map_offset);
        let below: Vec<u8> = (0..40 * 512).map(|at| (at / 100) as u8 | 1).collect();
        let mut opened = Image::open(file.clone()).unwrap();
        let read = content(&mut opened, &[&file], &below).unwrap();
        assert_eq!(read.len(), 40 * 512, "rounded up to sectors");
        for block in 0..40 {
            let from_parent = &below[block * 512..(block + 1) * 512];
            let own = expected(&file, map_offset as usize + 163, extra as usize, block);
            let wanted = own.unwrap_or_else(|| from_parent.to_vec());
            assert!(read[block * 512..(block + 1) * 512] == wanted, "block {block}");
        }
        assert_eq!(opened.check().unwrap(), []);
    }
}

#[test]
fn free_blocks_of_a_base_are_unallocated() {
    let mut opened = Image::open(image(1, 0, 512)).unwrap();
    assert!(opened.references().is_empty());
    let kinds = map(&mut opened, 10).unwrap();
    assert!(kinds.iter().any(|extent| extent.kind == ExtentKind::Unallocated));
    assert!(kinds.iter().any(|extent| extent.kind == ExtentKind::Zero));
    assert!(!kinds.iter().any(|extent| extent.kind == ExtentKind::Parent));
}

#[test]
fn the_parent_is_named_by_its_identity() {
    let opened = Image::open(image(4, 0, 512)).unwrap();
    let parent = "02020202-0202-0202-0202-020202020202";
    assert_eq!(
        opened.references(),
        [Reference {
            id: PARENT,
            role: "parent".to_owned(),
            name: format!("uuid:{parent}"),
            format_hint: Some("vdi".to_owned()),
            required: true,
        }]
    );
    let facts = opened.facts();
    let fact = |name: &str| facts.iter().find(|fact| fact.0 == name).map(|fact| fact.1.as_str());
    assert_eq!(fact("parent-id"), Some(parent));
    assert_eq!(fact("id"), Some("01010101-0101-0101-0101-010101010101"));
    assert_eq!(fact("modification-id"), fact("id"));
    assert_eq!(fact("parent-modification-id"), Some(parent));
    assert_eq!(fact("type"), Some("differencing"));
    let base = Image::open(image(2, 0, 512)).unwrap().facts();
    assert!(!base.iter().any(|fact| fact.0.starts_with("parent")), "{base:?}");
}

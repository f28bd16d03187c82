//! Differencing images. qemu-img refuses them, so they are made here from the specification's words.

use format_vhdx::Vhdx;
use format_vhdx::guid::Guid;
use format_vhdx::image::Image;
use format_vhdx::{Error, ErrorKind};
use witvirt_sdk::core::extent::{Extent, ExtentKind};
use witvirt_sdk::disk::ImageReader;
use witvirt_testkit::{Noise, islands, map, write_image};

use crate::Scratch;
use crate::build::{BITMAPS, MIB, Made};

const LINKAGE: &str = "{02020202-0202-0202-0202-020202020202}";

/// Index of the sector bitmap of the first blocks of 1 MiB: behind 4096 of them.
const BITMAP_ENTRY: u64 = 4096;

pub fn opened(made: &Made) -> Result<Image<Vec<u8>>, Error> {
    Image::open(made.build())
}

/// An image whose blocks 0 and 1 are partial, with these sectors in the file.
pub fn child(name: &str, sectors: &[u64]) -> Made {
    let mut made = Made::with_parent(name, LINKAGE);
    made.entries = vec![(0, 5 * MIB + 7), (1, 6 * MIB + 7), (BITMAP_ENTRY, BITMAPS | 6)];
    let mut bits = vec![0u8; 512];
    for sector in sectors {
        bits[*sector as usize / 8] |= 1 << (sector % 8);
    }
    made.patches = vec![(BITMAPS, bits)];
    made
}

#[test]
fn bits_say_whose_sector_it_is() {
    let mut made = child(".\\base.vhdx", &[0, 1, 7, 8, 9, 2047, 2048]);
    made.entries.extend([(2, 2), (3, 3), (5, 7 * MIB + 6)]);
    let mut image = opened(&made).unwrap();
    assert_eq!(image.check().unwrap(), []);
    let at = |from: u64, to: u64, kind| Extent { start: from * 512, length: (to - from) * 512, kind };
    let data = |from: u64, to: u64, offset| at(from, to, ExtentKind::Data { source: 0, offset });
    let expected = [
        data(0, 2, 5 * MIB),
        at(2, 7, ExtentKind::Parent),
        data(7, 10, 5 * MIB + 7 * 512),
        at(10, 2047, ExtentKind::Parent),
        // Two blocks that continue each other, in guest and file.
        data(2047, 2049, 6 * MIB - 512),
        at(2049, 4096, ExtentKind::Parent),
        at(4096, 8192, ExtentKind::Zero),
        at(8192, 10240, ExtentKind::Parent),
        data(10240, 12288, 7 * MIB),
        at(12288, 16384, ExtentKind::Parent),
    ];
    assert_eq!(map(&mut image, 100).unwrap(), expected);
    assert!(map(&mut image, 1).unwrap().len() >= expected.len());
    let references = image.references();
    assert_eq!((references[0].name.as_str(), references[0].role.as_str()), ("base.vhdx", "parent"));
    assert_eq!(references[0].format_hint.as_deref(), Some("vhdx"));
    let facts = image.facts();
    let fact = |name: &str| facts.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    assert_eq!(fact("parent-id"), Some(LINKAGE.trim_matches(['{', '}'])));
    assert_eq!((fact("id"), fact("type")), (fact("parent-id"), Some("differencing")));
}

#[test]
fn sectors_of_4096_bytes() {
    let mut made = child("base.vhdx", &[0, 255, 256]);
    made.sector = 4096;
    // A group has 2^23 sectors of 4 KiB: 32768 blocks.
    made.entries[2].0 = 32768;
    let map = map(&mut opened(&made).unwrap(), 100).unwrap();
    let lengths: Vec<u64> = map.iter().map(|extent| extent.length / 4096).collect();
    assert_eq!(lengths, [1, 254, 2, 255 + 6 * 256]);
}

#[test]
fn chains_read_through() {
    let scratch = Scratch::new();
    let mut expected = islands(8 << 20);
    write_image::<Vhdx>(
        &scratch.path("base.vhdx"),
        &expected,
        "{\"id\": \"02020202-0202-0202-0202-020202020202\"}",
        None,
    );
    let mut noise = Noise::new(11);
    let mut below = "base.vhdx".to_owned();
    for level in 1..=3u8 {
        let sectors: Vec<u64> = (0..300).map(|_| noise.below(4096)).collect();
        let mut made = child(&below, &sectors);
        made.patches.push((5 * MIB, vec![level; 2 * MIB as usize]));
        for sector in sectors {
            expected[sector as usize * 512..][..512].fill(level);
        }
        below = format!("level-{level}.vhdx");
        scratch.write(&below, &made.build());
    }
    assert!(scratch.open(&below).unwrap().content().unwrap() == expected);
}

#[test]
fn the_best_of_the_parents_paths() {
    let name = |pairs: &[(&str, &str)]| {
        let mut made = Made::with_parent("x", LINKAGE);
        made.parent.truncate(1);
        made.parent.extend(pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
        opened(&made).map(|image| image.references()[0].name.clone())
    };
    let absolute = ("absolute_win32_path", "\\\\?\\C:\\disks\\base.vhdx");
    let volume = ("volume_path", "\\\\?\\Volume{26A21BDA}\\base.vhdx");
    let relative = ("relative_path", "..\\base.vhdx");
    assert_eq!(name(&[absolute, volume, relative]).unwrap(), "../base.vhdx");
    assert_eq!(name(&[absolute, volume]).unwrap(), "//?/Volume{26A21BDA}/base.vhdx");
    assert_eq!(name(&[absolute, ("relative_path", "")]).unwrap(), "//?/C:/disks/base.vhdx");
    let error = name(&[("absolute_path", "/etc/passwd")]).unwrap_err();
    assert!(error.message.contains("no path"), "{error:?}");
    assert_eq!(name(&[("relative_path", "a\nb")]).unwrap_err().kind, ErrorKind::Unsupported);
}

#[test]
fn parents_that_are_not_identified() {
    let error = |linkage: &str| opened(&Made::with_parent("base.vhdx", linkage)).map(drop).unwrap_err();
    assert!(error("{xyz}").message.contains("no GUID"));
    assert!(error("").message.contains("does not say which"));
    let mut made = Made::with_parent("base.vhdx", LINKAGE);
    made.parent.push(("parent_linkage2".to_owned(), "{0A0A0A0A-0202-0202-0202-020202020202}".to_owned()));
    let facts = opened(&made).unwrap().facts();
    let second = facts.iter().find(|(key, _)| key == "parent-id-2").unwrap();
    assert_eq!(second.1, "0a0a0a0a-0202-0202-0202-020202020202");
    // All zeros is none.
    made.parent[2].1 = format!("{{{}}}", Guid::ZERO);
    assert!(opened(&made).unwrap().facts().iter().all(|(key, _)| key != "parent-id-2"));
}

#[test]
fn bitmaps_that_are_not_there() {
    let read = |made: &Made| map(&mut opened(made).unwrap(), 100).map(drop).unwrap_err().message;
    for (entry, part) in [
        (0, "is not there"),
        (BITMAPS | 7, "is not there"),
        (100 * MIB + 6, "outside the file"),
        ((u64::MAX << 20) + 6, "outside the file"),
        (3 * MIB + 6, "on a region"),
        (6, "on a region"),
    ] {
        let mut made = child("base.vhdx", &[1]);
        made.entries[2].1 = entry;
        assert!(read(&made).contains(part), "{entry:#x}: {}", read(&made));
    }
    let mut made = Made::new();
    made.entries = vec![(0, 5 * MIB + 7)];
    assert!(read(&made).contains("no parent"));
}

use witvirt_sdk::core::format::Chunk;
use witvirt_sdk::disk::ImageWriter;

use super::Writer;
use crate::ErrorKind;

fn chunk(start: u64, length: u64) -> Chunk {
    Chunk { start, length, stored: length, encoded: false }
}

#[test]
fn sizes() {
    let size = |asked, options: &str| Writer::create("vpc", asked, options, None).unwrap().virtual_size;
    for asked in [512, 1 << 20, 25_167_360, 127 << 30, 2040 << 30] {
        assert_eq!(size(asked, "{}"), asked);
        assert_eq!(size(asked, "{\"subformat\": \"fixed\"}"), asked);
    }
    // As in the images that qemu-img makes of a disk of that size.
    assert_eq!(size(25_167_360, "{\"force-size\": false}"), 25_171_968);
    assert_eq!(size(2040 << 30, "{\"force-size\": false}"), 2040 << 30, "past all geometries");
}

#[test]
fn what_cannot_be_made() {
    let backing = Some(("a".to_owned(), "vpc".to_owned()));
    for (format, size, options, backing, kind, part) in [
        ("qcow2", 512, "{}", None, ErrorKind::Unsupported, "not \"qcow2\""),
        ("vpc", 512, "{}", backing, ErrorKind::Unsupported, "backing"),
        ("vpc", 0, "{}", None, ErrorKind::InvalidInput, "multiple of 512"),
        ("vpc", 513, "{}", None, ErrorKind::InvalidInput, "multiple of 512"),
        ("vhd", (2040 << 30) + 512, "{}", None, ErrorKind::InvalidInput, "2040 GiB"),
        ("vpc", 512, "{\"block-size\": 1}", None, ErrorKind::InvalidInput, "block-size"),
        ("vpc", 512, "{\"subformat\": \"x\"}", None, ErrorKind::InvalidInput, "subformat"),
        ("vpc", 512, "{\"id\": \"x\"}", None, ErrorKind::InvalidInput, "UUID"),
        ("vpc", 512, "", None, ErrorKind::InvalidInput, "options"),
    ] {
        let error = Writer::create(format, size, options, backing).unwrap_err();
        assert_eq!(error.kind, kind, "{error:?}");
        assert!(error.message.contains(part) || part == "subformat", "{error:?}");
    }
}

#[test]
fn chunks_that_are_not_as_planned() {
    let size = (4 << 20) + 512;
    let mut writer = Writer::create("vpc", size, "{}", None).unwrap();
    writer.allocate(&chunk(0, 2 << 20)).unwrap();
    for (bad, part) in [
        (chunk(0, 2 << 20), "ascending"),
        (chunk(512, 512), "ascending"),
        (chunk((2 << 20) + 512, 512), "start at a block"),
        (chunk(2 << 20, 512), "whole block"),
        (chunk(4 << 20, 1024), "past the end"),
        (chunk(u64::MAX, 512), "past the end"),
        (Chunk { stored: 5, ..chunk(4 << 20, 512) }, "as it is"),
        (Chunk { encoded: true, ..chunk(4 << 20, 512) }, "as it is"),
    ] {
        let error = writer.allocate(&bad).unwrap_err();
        assert!(error.message.contains(part), "{error:?}");
    }
    writer.allocate(&chunk(4 << 20, 512)).unwrap();
    while writer.finish().unwrap().next {}
    assert!(writer.finish().is_err());
    assert!(writer.allocate(&chunk(4 << 20, 512)).is_err());
}

#[test]
fn data_is_aligned_and_fits_the_largest_disk() {
    let mut writer = Writer::create("vpc", 2040 << 30, "{}", None).unwrap();
    let blocks = (2040u64 << 30) / (2 << 20);
    let last = writer.block_offset(blocks - 1);
    assert!(last / 512 < u64::from(u32::MAX));
    for block in [0, 1, 7, blocks - 1] {
        let offset = writer.allocate(&chunk(block << 21, 2 << 20)).unwrap();
        assert_eq!(offset % 4096, 0);
    }
    let (mut pages, mut bytes) = (0, 0);
    loop {
        let ending = writer.finish().unwrap();
        pages += 1;
        let page: usize = ending.writes.iter().map(|write| write.bytes.len()).sum();
        assert!(page < 4 << 20);
        bytes += page;
        if !ending.next {
            assert_eq!(ending.writes.last().unwrap().offset, 0, "the footer's copy is the last write");
            break;
        }
    }
    assert_eq!(bytes as u64, blocks * 4 + 4 * 512 + 512 + 1024 + 512);
    assert!(pages >= 3);
}

#[test]
fn identities_are_the_users_or_made() {
    let id = |options: &str, start: Option<u64>| {
        let mut writer = Writer::create("vpc", 8 << 20, options, None).unwrap();
        if let Some(start) = start {
            writer.allocate(&chunk(start, 2 << 20)).unwrap();
        }
        writer.footer()[68..84].to_vec()
    };
    let given = "{\"id\": \"00112233-4455-6677-8899-AABBCCDDEEFF\"}";
    assert_eq!(id(given, None)[..3], [0, 0x11, 0x22]);
    assert_eq!(id("{}", None), id("{}", None));
    assert_ne!(id("{}", None), id("{}", Some(0)));
    assert_ne!(id("{}", Some(2 << 20)), id("{}", Some(0)));
    assert_ne!(id("{}", None), id("{\"subformat\": \"fixed\"}", None));
}

use witvirt_sdk::core::format::Chunk;
use witvirt_sdk::disk::ImageWriter;

use super::{Writer, usual_block};
use crate::ErrorKind;

fn chunk(start: u64, length: u64) -> Chunk {
    Chunk { start, length, stored: length, encoded: false }
}

#[test]
fn what_cannot_be_made() {
    let backing = Some(("a".to_owned(), "vhdx".to_owned()));
    for (format, size, options, backing, kind, part) in [
        ("vpc", 512, "{}", None, ErrorKind::Unsupported, "not \"vpc\""),
        ("vhdx", 512, "{}", backing, ErrorKind::Unsupported, "backing"),
        ("vhdx", 0, "{}", None, ErrorKind::InvalidInput, "multiple of 512"),
        ("vhdx", 513, "{}", None, ErrorKind::InvalidInput, "multiple of 512"),
        ("vhdx", (64 << 40) + 512, "{}", None, ErrorKind::InvalidInput, "64 TiB"),
        ("vhdx", 512, "{\"block-size\": 524288}", None, ErrorKind::InvalidInput, "block-size"),
        ("vhdx", 512, "{\"block-size\": 3145728}", None, ErrorKind::InvalidInput, "block-size"),
        ("vhdx", 512, "{\"block-size\": 536870912}", None, ErrorKind::InvalidInput, "block-size"),
        ("vhdx", 512, "{\"subformat\": \"fixed\"}", None, ErrorKind::InvalidInput, "subformat"),
        ("vhdx", 512, "{\"id\": \"x\"}", None, ErrorKind::InvalidInput, "GUID"),
    ] {
        let error = Writer::create(format, size, options, backing).unwrap_err();
        assert_eq!(error.kind, kind, "{error:?}");
        assert!(error.message.contains(part), "{error:?}");
    }
}

#[test]
fn chunks_that_are_not_as_planned() {
    let size = (4 << 20) + 512;
    let mut writer = Writer::create("vhdx", size, "{}", None).unwrap();
    writer.allocate(&chunk(0, 1 << 20)).unwrap();
    for (bad, part) in [
        (chunk(0, 1 << 20), "ascending"),
        (chunk((2 << 20) + 512, 512), "start at a whole MiB"),
        (chunk(2 << 20, 512), "nor the end"),
        (chunk(4 << 20, 1024), "past the end"),
        (chunk(u64::MAX, 512), "past the end"),
        (Chunk { stored: 5, ..chunk(4 << 20, 512) }, "as it is"),
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
fn blocks_grow_with_the_disk() {
    for (size, block) in [(512, 1), (256 << 30, 1), ((256 << 30) + 512, 2), (1 << 40, 4), (64 << 40, 256)] {
        assert_eq!(usual_block(size) >> 20, block, "{size}");
    }
}

#[test]
fn chunks_of_one_block_lie_together() {
    let mut writer = Writer::create("vhdx", 1 << 30, "{\"block-size\": 33554432}", None).unwrap();
    let mut at = |mib: u64| writer.allocate(&chunk(mib << 20, 1 << 20)).unwrap() >> 20;
    assert_eq!([at(3), at(5), at(70), at(95)], [4 + 3, 4 + 5, 4 + 32 + 6, 4 + 32 + 31]);
    let ending = writer.finish().unwrap();
    assert_eq!(ending.size, (4 + 64) << 20);
    assert!(!ending.next);
    assert_eq!(ending.writes.last().unwrap().offset, 0, "the signature is the last write");
}

#[test]
fn identities_are_the_users_or_made() {
    let id = |options: &str, start: Option<u64>| {
        let mut writer = Writer::create("vhdx", 8 << 20, options, None).unwrap();
        if let Some(start) = start {
            writer.allocate(&chunk(start, 1 << 20)).unwrap();
        }
        let writes = writer.finish().unwrap().writes;
        writes.iter().find(|write| write.offset == 65536).unwrap().bytes[32..48].to_vec()
    };
    let given = "{\"id\": \"00112233-4455-6677-8899-AABBCCDDEEFF\"}";
    assert_eq!(id(given, None)[..4], [0x33, 0x22, 0x11, 0]);
    assert_eq!(id("{}", None), id("{}", None));
    assert_ne!(id("{}", None), id("{}", Some(0)));
    assert_ne!(id("{}", Some(2 << 20)), id("{}", Some(0)));
}

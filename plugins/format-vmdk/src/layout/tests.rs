use witvirt_sdk::core::format::Chunk;
use witvirt_sdk::disk::ImageWriter;

use super::Writer;
use crate::ErrorKind;

const STREAM: &str = "{\"subformat\": \"streamOptimized\"}";

fn writer(options: &str) -> Writer {
    Writer::create("vmdk", 3 << 20, options, None).unwrap()
}

fn chunk(start: u64, length: u64, stored: u64, encoded: bool) -> Chunk {
    Chunk { start, length, stored, encoded }
}

#[test]
fn options_are_checked() {
    for options in ["{\"subformat\": \"vmfs\"}", "{\"x\": 1}", "[]", "{\"adapter-type\": \"scsi\"}", ""] {
        assert_eq!(Writer::create("vmdk", 512, options, None).unwrap_err().kind, ErrorKind::InvalidInput);
    }
    for size in [0, 511, 513, u64::MAX, (64 << 40) + 512] {
        assert_eq!(Writer::create("vmdk", size, "{}", None).unwrap_err().kind, ErrorKind::InvalidInput);
    }
    assert_eq!(Writer::create("raw", 512, "{}", None).unwrap_err().kind, ErrorKind::Unsupported);
    let backing = Some(("a".to_owned(), "vmdk".to_owned()));
    assert_eq!(Writer::create("vmdk", 512, "{}", backing).unwrap_err().kind, ErrorKind::Unsupported);
}

#[test]
fn plans() {
    assert_eq!(writer("{}").plan().codec, "");
    assert_eq!(writer(STREAM).plan().codec, "zlib-always");
    assert_eq!(writer(STREAM).plan().chunk_size, 65536);
}

#[test]
fn chunks_have_to_be_as_planned() {
    let cases = [
        ("{}", chunk(3 << 20, 65536, 65536, false), "past the end"),
        ("{}", chunk(u64::MAX, 65536, 65536, false), "past the end"),
        ("{}", chunk(512, 65536, 65536, false), "start at a grain"),
        ("{}", chunk(0, 512, 512, false), "whole grain"),
        ("{}", chunk(0, 65536, 100, false), "another length"),
        ("{}", chunk(0, 65536, 100, true), "not compressed"),
        (STREAM, chunk(0, 65536, 65536, false), "has to be compressed"),
        (STREAM, chunk(0, 65536, 0, true), "longer than"),
        (STREAM, chunk(0, 65536, 131072, true), "longer than"),
    ];
    for (options, chunk, part) in cases {
        let error = writer(options).allocate(&chunk).unwrap_err();
        assert!(error.message.contains(part), "{error:?}");
    }
    let mut writer = writer("{}");
    writer.allocate(&chunk(65536, 65536, 65536, false)).unwrap();
    assert!(writer.allocate(&chunk(0, 65536, 65536, false)).unwrap_err().message.contains("ascending"));
    while writer.finish().unwrap().next {}
    writer.finish().unwrap_err();
    writer.allocate(&chunk(131072, 65536, 65536, false)).unwrap_err();
}

#[test]
fn streams_go_on_behind_what_was_written() {
    let mut writer = Writer::create("vmdk", 1 << 30, STREAM, None).unwrap();
    assert_eq!(writer.allocate(&chunk(0, 65536, 500, true)).unwrap(), 65536 + 12);
    assert_eq!(writer.allocate(&chunk(65536, 65536, 501, true)).unwrap(), 65536 + 512 + 12);
    // The next grain belongs to the next table: the marker and the table of the first ones come before it.
    assert_eq!(writer.allocate(&chunk(32 << 20, 65536, 70000, true)).unwrap(), 65536 + 1536 + 2560 + 12);
}

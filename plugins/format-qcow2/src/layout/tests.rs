use witvirt_sdk::core::format::Chunk;
use witvirt_sdk::disk::{ImageReader, ImageWriter};

use super::Writer;
use crate::image::Image;
use crate::{Error, ErrorKind};

fn create(size: u64, options: &str) -> Result<Writer, Error> {
    Writer::create("qcow2", size, options, None)
}

fn plain(start: u64, length: u64) -> Chunk {
    Chunk { start, length, stored: length, encoded: false }
}

fn encoded(start: u64, stored: u64) -> Chunk {
    Chunk { start, length: 65536, stored, encoded: true }
}

/// The file, with nothing where data would be.
fn finished(writer: &mut Writer) -> Vec<u8> {
    let mut file = Vec::new();
    loop {
        let ending = writer.finish().unwrap();
        file.resize(ending.size as usize, 0);
        for write in ending.writes {
            let start = write.offset as usize;
            file[start..start + write.bytes.len()].copy_from_slice(&write.bytes);
        }
        if !ending.next {
            return file;
        }
    }
}

#[test]
fn refuses_wrong_requests() {
    for (size, options, part) in [
        (1 << 20, "{\"cluster-size\": 1000}", "power of two"),
        (1 << 20, "{\"cluster-size\": 256}", "power of two"),
        (1 << 20, "{\"cluster-size\": 4194304}", "power of two"),
        (1 << 20, "{\"compression\": \"lz4\"}", "unknown variant"),
        (1 << 20, "{\"color\": \"red\"}", "unknown field `color`"),
        (1 << 20, "[", "options"),
        (1000, "{}", "multiple of 512"),
        ((128 << 30) + 512, "{\"cluster-size\": 512}", "larger one"),
        (!511, "{\"cluster-size\": 2097152}", "too large"),
    ] {
        let error = create(size, options).unwrap_err();
        assert_eq!(error.kind, ErrorKind::InvalidInput);
        assert!(error.message.contains(part), "{options}: {error:?}");
    }
    assert_eq!(Writer::create("vmdk", 512, "{}", None).unwrap_err().kind, ErrorKind::Unsupported);
    create(128 << 30, "{\"cluster-size\": 512}").unwrap();
}

#[test]
fn refuses_wrong_backing_names() {
    let over = |name: &str, format: &str, options: &str| {
        Writer::create("qcow2", 1 << 20, options, Some((name.to_owned(), format.to_owned())))
    };
    over(&"n".repeat(1023), "raw", "{}").unwrap();
    over("base", "raw", "{\"cluster-size\": 512}").unwrap();
    for (name, format, options) in [
        ("", "raw", "{}"),
        ("a\nb", "raw", "{}"),
        (&"n".repeat(1024), "raw", "{}"),
        ("base", "", "{}"),
        ("base", "a-format-of-16-by", "{}"),
        (&"n".repeat(500), "raw", "{\"cluster-size\": 512}"),
    ] {
        let error = over(name, format, options).unwrap_err();
        assert_eq!(error.kind, ErrorKind::InvalidInput, "{name} {format}");
    }
}

#[test]
fn refuses_wrong_chunks() {
    let size = (1 << 20) + 512;
    let short = Chunk { encoded: true, stored: 100, ..plain(1 << 20, 512) };
    for (chunk, part) in [
        (plain(512, 65536), "start at a cluster"),
        (plain(0, 512), "not a whole cluster"),
        (plain(0, 131_072), "not a whole cluster"),
        (plain(0, 0), "not a whole cluster"),
        (plain(1 << 20, 65536), "past the end"),
        (plain(u64::MAX - 65535, 65536), "past the end"),
        (Chunk { stored: 100, ..plain(0, 65536) }, "of another length"),
        (encoded(0, 0), "smaller than a cluster"),
        (encoded(0, 65536), "smaller than a cluster"),
        (short, "stored as it is"),
    ] {
        let mut writer = create(size, "{\"compression\": \"zstd\"}").unwrap();
        let error = writer.allocate(&chunk).unwrap_err();
        assert!(error.message.contains(part), "{chunk:?}: {error:?}");
    }
    let mut writer = create(size, "{}").unwrap();
    assert!(writer.allocate(&encoded(0, 100)).unwrap_err().message.contains("not compressed"));
    writer.allocate(&plain(65536, 65536)).unwrap();
    for again in [0, 65536] {
        assert!(writer.allocate(&plain(again, 65536)).unwrap_err().message.contains("ascending"));
    }
    writer.allocate(&plain(1 << 20, 512)).unwrap();
    finished(&mut writer);
    assert!(writer.allocate(&plain(1 << 20, 512)).is_err());
}

#[test]
fn packs_compressed_clusters_and_aligns_plain_ones() {
    let mut writer = create(1 << 20, "{\"compression\": \"zlib\"}").unwrap();
    assert_eq!(writer.plan().codec, "deflate-raw");
    let chunks = [
        encoded(0, 1000),
        encoded(65536, 65000),
        plain(131_072, 65536),
        encoded(196_608, 7),
        encoded(524_288, 1),
    ];
    let offsets: Vec<u64> = chunks.iter().map(|chunk| writer.allocate(chunk).unwrap()).collect();
    assert_eq!(offsets, [0x10000, 0x103e8, 0x30000, 0x40000, 0x40007]);
}

#[test]
fn never_counts_above_16_bits() {
    let clusters = 200_000u64;
    let mut writer = create(clusters * 65536, "{\"compression\": \"zstd\"}").unwrap();
    for index in 0..clusters {
        writer.allocate(&encoded(index * 65536, if index % 3 == 0 { 2 } else { 1 })).unwrap();
    }
    let mut image = Image::open(finished(&mut writer)).unwrap();
    assert_eq!(image.check().unwrap(), [], "the shared refcounts are right");
}

#[test]
fn forgets_nothing_silently() {
    let mut writer = create(1 << 44, "{}").unwrap();
    // Every other cluster: nothing joins.
    let refused = (0..1 << 22).find_map(|index| writer.allocate(&plain(index * 131_072, 65536)).err());
    let error = refused.expect("a bound");
    assert_eq!(error.kind, ErrorKind::Limit);
    assert!(error.message.contains("larger cluster-size"), "{error:?}");
    // One run, however long.
    let mut writer = create(1 << 44, "{}").unwrap();
    for index in 0..4_000_000 {
        writer.allocate(&plain(index * 65536, 65536)).unwrap();
    }
}

use witvirt_sdk::core::format::Chunk;
use witvirt_sdk::disk::{ImageReader, ImageWriter};

use super::Writer;
use crate::ErrorKind;
use crate::image::Image;

fn create(size: u64, options: &str) -> Result<Writer, crate::Error> {
    Writer::create("qed", size, options, None)
}

fn chunk(start: u64, length: u64) -> Chunk {
    Chunk { start, length, stored: length, encoded: false }
}

#[test]
fn refuses_wrong_requests() {
    for (size, options, part) in [
        (1 << 20, "{\"cluster-size\": 2048}", "power of two"),
        (1 << 20, "{\"cluster-size\": 5000}", "power of two"),
        (1 << 20, "{\"cluster-size\": 8388608}", "power of two"),
        (1 << 20, "{\"table-size\": 3}", "2, 4, 8"),
        (1 << 20, "{\"table-size\": 1}", "2, 4, 8"),
        (1 << 20, "{\"table-size\": 32}", "2, 4, 8"),
        (1 << 20, "{\"table-size\": 4, \"cluster-size\": 4194304}", "QEMU opens no image"),
        (1 << 20, "{\"color\": \"red\"}", "unknown field `color`"),
        (1 << 20, "[", "options"),
        (1000, "{}", "multiple of 512"),
        ((1 << 32) + 512, "{\"cluster-size\": 4096, \"table-size\": 2}", "larger cluster-size"),
        (!511, "{}", "too large"),
    ] {
        let error = create(size, options).unwrap_err();
        assert_eq!(error.kind, ErrorKind::InvalidInput);
        assert!(error.message.contains(part), "{options}: {error:?}");
    }
    assert_eq!(Writer::create("vmdk", 512, "{}", None).unwrap_err().kind, ErrorKind::Unsupported);
    create(1 << 32, "{\"cluster-size\": 4096, \"table-size\": 2}").unwrap();
}

#[test]
fn refuses_wrong_backing_names() {
    let over = |name: &str, format: &str| {
        Writer::create("qed", 1 << 20, "{}", Some((name.to_owned(), format.to_owned())))
    };
    over(&"n".repeat(1023), "raw").unwrap();
    for (name, format) in [("", "raw"), ("a\nb", "raw"), (&"n".repeat(1024), "raw"), ("base", "")] {
        assert_eq!(over(name, format).unwrap_err().kind, ErrorKind::InvalidInput, "{name} {format}");
    }
}

#[test]
fn refuses_wrong_chunks() {
    let size = (1 << 20) + 512;
    for (wrong, part) in [
        (chunk(512, 65536), "start at a cluster"),
        (chunk(0, 512), "not a whole cluster"),
        (chunk(0, 131_072), "not a whole cluster"),
        (chunk(0, 0), "not a whole cluster"),
        (chunk(1 << 20, 65536), "past the end"),
        (chunk(u64::MAX - 65535, 65536), "past the end"),
        (Chunk { stored: 100, ..chunk(0, 65536) }, "encoded"),
    ] {
        let mut writer = create(size, "{}").unwrap();
        let error = writer.allocate(&wrong).unwrap_err();
        assert!(error.message.contains(part), "{wrong:?}: {error:?}");
    }
    let mut writer = create(size, "{}").unwrap();
    writer.allocate(&chunk(65536, 65536)).unwrap();
    for again in [0, 65536] {
        assert!(writer.allocate(&chunk(again, 65536)).unwrap_err().message.contains("ascending"));
    }
    writer.allocate(&chunk(1 << 20, 512)).unwrap();
    assert!(!writer.finish().unwrap().next);
    assert!(writer.allocate(&chunk(1 << 20, 512)).is_err());
    assert!(writer.finish().is_err());
}

#[test]
fn forgets_nothing_silently() {
    let mut writer = create(1 << 45, "{}").unwrap();
    // Every other cluster: nothing joins.
    let refused = (0..1 << 22).find_map(|index| writer.allocate(&chunk(index * 131_072, 65536)).err());
    let error = refused.expect("a bound");
    assert_eq!(error.kind, ErrorKind::Limit);
    assert!(error.message.contains("larger cluster-size"), "{error:?}");
}

#[test]
fn large_disks_have_many_small_pages() {
    let options = "{\"cluster-size\": 1048576, \"table-size\": 16}";
    // Tables of 16 MiB, each of which maps 2 TiB.
    let mut writer = create(7 << 40, options).unwrap();
    let mut places = Vec::new();
    for start in [0, (2 << 40) - (1 << 20), 3 << 40, 6 << 40] {
        places.push((start, writer.allocate(&chunk(start, 1 << 20)).unwrap()));
    }
    let mut file = std::collections::BTreeMap::new();
    let size = loop {
        let ending = writer.finish().unwrap();
        let bytes: usize = ending.writes.iter().map(|write| write.bytes.len()).sum();
        assert!(bytes < 4 << 20);
        file.extend(ending.writes.into_iter().map(|write| (write.offset, write.bytes)));
        if !ending.next {
            break ending.size;
        }
    };
    assert!(file.values().map(Vec::len).sum::<usize>() < 8 << 20, "holes are left out");
    let mut image = Image::open(Pieces(file, size)).unwrap();
    for (start, place) in places {
        let page = image.extents(start, 1 << 20, 1).unwrap();
        let kind = witvirt_sdk::core::extent::ExtentKind::Data { source: 0, offset: place };
        assert_eq!(page.extents[0].kind, kind);
    }
}

/// A file of pieces; what lies between them is zeros.
#[derive(Debug)]
struct Pieces(std::collections::BTreeMap<u64, Vec<u8>>, u64);

impl witvirt_sdk::disk::ReadAt for Pieces {
    fn size(&self) -> u64 {
        self.1
    }

    fn read_at(&self, offset: u64, len: u32) -> Result<Vec<u8>, crate::Error> {
        let end = (offset + u64::from(len)).min(self.1);
        let mut bytes = vec![0; end.saturating_sub(offset) as usize];
        for (start, piece) in self.0.range(..end) {
            let (from, to) = ((*start).max(offset), (start + piece.len() as u64).min(end));
            if from < to {
                let source = &piece[(from - start) as usize..(to - start) as usize];
                bytes[(from - offset) as usize..(to - offset) as usize].copy_from_slice(source);
            }
        }
        Ok(bytes)
    }
}

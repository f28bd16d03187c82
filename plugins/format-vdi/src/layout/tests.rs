use witvirt_sdk::core::format::Chunk;
use witvirt_sdk::disk::{ImageReader, ImageWriter};

use super::Writer;
use crate::ErrorKind;
use crate::image::Image;

const MIB: u64 = 1 << 20;

fn chunk(start: u64, length: u64) -> Chunk {
    Chunk { start, length, stored: length, encoded: false }
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
        (MIB, "{\"subformat\": \"fixed\"}", "unknown variant"),
        (MIB, "{\"color\": \"red\"}", "unknown field `color`"),
        (MIB, "{\"id\": \"1234\"}", "has to be a UUID"),
        (MIB, "{\"id\": \"00000000-0000-0000-0000-000000000000\"}", "not null"),
        (MIB, "[", "options"),
        (1000, "{}", "multiple of 512"),
        ((1 << 49) + 512, "{}", "too large"),
        (!511, "{}", "too large"),
    ] {
        let error = Writer::create("vdi", size, options, None).unwrap_err();
        assert_eq!(error.kind, ErrorKind::InvalidInput);
        assert!(error.message.contains(part), "{options}: {error:?}");
    }
    assert_eq!(Writer::create("vmdk", 512, "{}", None).unwrap_err().kind, ErrorKind::Unsupported);
    let backing = Some(("base.vdi".to_owned(), "vdi".to_owned()));
    assert_eq!(Writer::create("vdi", 512, "{}", backing).unwrap_err().kind, ErrorKind::Unsupported);
    Writer::create("vdi", 1 << 49, "{}", None).unwrap();
}

#[test]
fn refuses_wrong_chunks() {
    let size = 3 * MIB + 512;
    for (wrong, part) in [
        (chunk(512, MIB), "start at a block"),
        (chunk(0, 512), "not a whole block"),
        (chunk(0, 2 * MIB), "not a whole block"),
        (chunk(0, 0), "not a whole block"),
        (chunk(3 * MIB, MIB), "past the end"),
        (chunk(u64::MAX - MIB + 1, MIB), "past the end"),
        (Chunk { stored: 100, ..chunk(0, MIB) }, "encoded"),
        (Chunk { encoded: true, ..chunk(0, MIB) }, "encoded"),
    ] {
        let mut writer = Writer::create("vdi", size, "{}", None).unwrap();
        let error = writer.allocate(&wrong).unwrap_err();
        assert!(error.message.contains(part), "{wrong:?}: {error:?}");
    }
    let mut writer = Writer::create("vdi", size, "{}", None).unwrap();
    writer.allocate(&chunk(MIB, MIB)).unwrap();
    for again in [0, MIB] {
        assert!(writer.allocate(&chunk(again, MIB)).unwrap_err().message.contains("ascending"));
    }
    writer.allocate(&chunk(3 * MIB, 512)).unwrap();
    finished(&mut writer);
    assert!(writer.allocate(&chunk(3 * MIB, 512)).is_err());
    assert!(writer.finish().is_err());
}

#[test]
fn identities_differ_with_the_layout() {
    let id = |blocks: &[u64], options: &str| {
        let mut writer = Writer::create("vdi", 8 * MIB, options, None).unwrap();
        for block in blocks {
            writer.allocate(&chunk(block * MIB, MIB)).unwrap();
        }
        let image = Image::open(finished(&mut writer)).unwrap();
        assert!(!image.header().modification.is_null());
        assert_ne!(image.header().modification, image.header().id);
        image.header().id.to_string()
    };
    let plain = id(&[1, 2], "{}");
    assert_eq!(plain, id(&[1, 2], "{}"), "and only with it");
    assert_ne!(plain, id(&[1, 3], "{}"));
    assert_ne!(plain, id(&[1, 2], "{\"subformat\": \"static\"}"));
    assert_eq!(&plain[14..15], "8", "{plain}");
    let given = "6ba7b810-9dad-11d1-80b4-00c04fd430c8";
    assert_eq!(id(&[1], &format!("{{\"id\": \"{given}\"}}")), given);
}

#[test]
fn large_disks_have_many_pages() {
    let blocks = 5_000_000u64;
    let mut writer = Writer::create("vdi", blocks * MIB, "{}", None).unwrap();
    let mut places = Vec::new();
    for block in (0..blocks).step_by(1 << 20) {
        places.push((block, writer.allocate(&chunk(block * MIB, MIB)).unwrap()));
    }
    let (mut file, mut pages) = (Vec::new(), 0);
    loop {
        let ending = writer.finish().unwrap();
        pages += 1;
        assert!(ending.writes.iter().map(|write| write.bytes.len()).sum::<usize>() < 4 << 20);
        for write in &ending.writes {
            let end = write.offset as usize + write.bytes.len();
            file.resize(file.len().max(end), 0);
            file[write.offset as usize..end].copy_from_slice(&write.bytes);
        }
        if !ending.next {
            file.resize(ending.size as usize, 0);
            break;
        }
    }
    assert_eq!(pages, 7);
    let mut image = Image::open(file).unwrap();
    assert_eq!(image.check().unwrap(), []);
    for (block, place) in places {
        let page = image.extents(block * MIB, MIB, 1).unwrap();
        let kind = witvirt_sdk::core::extent::ExtentKind::Data { source: 0, offset: place };
        assert_eq!(page.extents[0].kind, kind);
    }
}

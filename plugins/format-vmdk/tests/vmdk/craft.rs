//! Files that no program here writes, made byte by byte from the descriptions: COWD, seSparse, streams with their directory in
//! odd places, extents of VirtualBox's lengths.

use std::io::Write;

use format_vmdk::image::Image;
use format_vmdk::layout::Writer;
use format_vmdk::{Error, ErrorKind};
use witvirt_sdk::core::extent::ExtentKind;
use witvirt_sdk::core::format::Chunk;
use witvirt_sdk::disk::{ImageReader, ImageWriter};
use witvirt_testkit::{joined, map};

const GRAIN: usize = 65536;

pub fn descriptor(create_type: &str, extents: &str) -> Vec<u8> {
    format!(
        "# Disk DescriptorFile\nversion=1\nCID=0badcafe\nparentCID=ffffffff\ncreateType=\"{create_type}\"\n{extents}\n"
    )
    .into_bytes()
}

/// With a parent.
pub fn child(create_type: &str, extents: &str) -> Vec<u8> {
    let text = String::from_utf8(descriptor(create_type, extents)).unwrap();
    text.replace("parentCID=ffffffff", "parentCID=1234\nparentFileNameHint=\"base.vmdk\"").into_bytes()
}

pub fn put(file: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    file.resize(file.len().max(offset + bytes.len()), 0);
    file[offset..offset + bytes.len()].copy_from_slice(bytes);
}

/// Opens a descriptor with one extent.
fn open(descriptor: Vec<u8>, extent: Vec<u8>) -> Result<Image<Vec<u8>>, Error> {
    let mut image = Image::open(descriptor)?;
    assert_eq!(image.references()[0].id, 1);
    image.attach(1, extent)?;
    Ok(image)
}

/// 10,000 grains of one sector: two grain tables, of which the second is at sector 36; grains from sector 70 on.
fn cowd() -> Vec<u8> {
    let mut file = Vec::new();
    put(&mut file, 0, b"COWD");
    for (index, word) in [1u32, 3, 10_000, 1, 4, 3, 80].into_iter().enumerate() {
        put(&mut file, 4 + 4 * index, &word.to_le_bytes());
    }
    put(&mut file, 4 * 512, &[0u32, 36, 0].map(u32::to_le_bytes).concat());
    put(&mut file, 36 * 512, &[70u32, 71, 0, 73].map(u32::to_le_bytes).concat());
    put(&mut file, 80 * 512 - 1, &[0]);
    file
}

#[test]
fn cowd_extents() {
    let text = child("vmfsSparse", "RW 10000 VMFSSPARSE \"x-delta.vmdk\"");
    let mut image = open(text, cowd()).unwrap();
    assert_eq!(image.geometry().cluster_size, 512);
    let map = map(&mut image, 100).unwrap();
    let at = 4096 * 512;
    assert_eq!(
        joined(&map),
        [
            (0, at, "parent"),
            (at, 1024, "data"),
            (at + 1024, 512, "parent"),
            (at + 1536, 512, "data"),
            (at + 2048, (10_000 - 4100) * 512, "parent")
        ]
    );
    assert_eq!(map[1].kind, ExtentKind::Data { source: 1, offset: 70 * 512 });
    assert_eq!(image.check().unwrap(), []);
    let facts = image.facts();
    assert!(facts.contains(&("parent-id".to_owned(), "00001234".to_owned())), "{facts:?}");
    assert!(facts.contains(&("id".to_owned(), "0badcafe".to_owned())), "{facts:?}");
}

#[test]
fn broken_cowd_extents() {
    let cases: [(usize, u32, &str); 8] = [
        (4, 2, "version 2"),
        (12, 10_001, "disagree on its length"),
        (16, 3, "power of two"),
        (16, 0, "power of two"),
        (20, 0, "overlaps the header"),
        (20, 79, "past the end"),
        (24, 2, "too small"),
        (4 * 512 + 4, 4, "overlaps the grain directory"),
    ];
    for (offset, word, part) in cases {
        let mut file = cowd();
        put(&mut file, offset, &word.to_le_bytes());
        if part.contains("past") {
            file.truncate(79 * 512 + 4);
        }
        let error = open(child("vmfsSparse", "RW 10000 VMFSSPARSE \"x\""), file).expect_err(part);
        assert!(error.message.contains(part), "{part}: {error:?}");
    }
    let mut file = cowd();
    put(&mut file, 36 * 512, &80u32.to_le_bytes());
    let mut image = open(child("vmfsSparse", "RW 10000 VMFSSPARSE \"x\""), file).unwrap();
    assert!(map(&mut image, 100).unwrap_err().message.contains("a grain lies past the end"));
    assert_eq!(Image::open(cowd()).unwrap_err().kind, ErrorKind::Unsupported);
}

/// 64 MiB: four grain tables of 16 MiB each. Directory at sector 8, tables from 16, grains from 400 on.
fn se_sparse() -> Vec<u8> {
    let mut file = Vec::new();
    let header: [(usize, u64); 13] = [
        (0, 0xcafe_babe),
        (1, 0x2_0000_0001),
        (2, 64 << 11),
        (3, 8),
        (4, 64),
        (10, 1),
        (11, 1),
        (16, 8),
        (17, 1),
        (18, 16),
        (19, 256),
        (24, 400),
        (25, 64),
    ];
    for (index, value) in header {
        put(&mut file, index * 8, &value.to_le_bytes());
    }
    put(&mut file, 512, &0xcafe_cafeu64.to_le_bytes());
    // Tables 2 and 0 of the area are those of the disk's first and third quarter.
    put(
        &mut file,
        8 * 512,
        &[0x1000_0000_0000_0002u64, 0, 0x1000_0000_0000_0000].map(u64::to_le_bytes).concat(),
    );
    let first = [1u64 << 60, 2 << 60, grain(5), grain(6), 0, grain(1)];
    put(&mut file, (16 + 2 * 64) * 512, &first.map(u64::to_le_bytes).concat());
    put(&mut file, 16 * 512 + 8 * 4095, &grain(7).to_le_bytes());
    put(&mut file, 464 * 512 - 1, &[0]);
    file
}

/// The low 12 bits of the number are bits 48 to 59 of the entry, the others begin at bit 0.
fn grain(number: u64) -> u64 {
    3 << 60 | (number & 0xfff) << 48 | number >> 12
}

const SE: &str = "RW 131072 SESPARSE \"x-sesparse.vmdk\"";

#[test]
fn se_sparse_extents() {
    let mut image = open(child("seSparse", SE), se_sparse()).unwrap();
    let map = map(&mut image, 100).unwrap();
    let data = |grain: u64| ExtentKind::Data { source: 1, offset: 400 * 512 + grain * 4096 };
    let last = (48 << 20) - 4096;
    assert_eq!(
        joined(&map),
        [
            (0, 8192, "zero"),
            (8192, 8192, "data"),
            (16384, 4096, "parent"),
            (20480, 4096, "data"),
            (24576, last - 24576, "parent"),
            (last, 4096, "data"),
            (48 << 20, 16 << 20, "parent"),
        ]
    );
    assert_eq!([&map[1].kind, &map[3].kind, &map[5].kind], [&data(5), &data(1), &data(7)]);
    assert_eq!(image.check().unwrap(), []);
}

#[test]
fn broken_se_sparse_extents() {
    let cases: [(usize, u64, &str); 19] = [
        (8, 0x2_0000_0002, "version 0x200000002"),
        (24, 16, "grains of 0x10"),
        (32, 128, "grain tables of 0x80"),
        (40, 1, "flags 0x1"),
        (48, 1, "reserved bits"),
        (256, 1, "reserved bits"),
        (16, 0, "capacity"),
        (16, u64::MAX, "capacity"),
        (16, 1 << 40, "too small"),
        (512, 0, "signature of the volatile header"),
        (512 + 24, 1, "journal to replay"),
        (80, u64::MAX, "volatile header makes no sense"),
        (136, 0, "too small"),
        (128, 1, "overlaps the volatile header"),
        (144, 8, "overlaps the grain directory"),
        (192, 100, "overlaps the grain tables"),
        (8 * 512, 0x1000_0000_0000_0004, "makes no sense"),
        (8 * 512, 0x2000_0000_0000_0000, "makes no sense"),
        (104, 1 << 60, "the place of the journal's header"),
    ];
    for (offset, value, part) in cases {
        let mut file = se_sparse();
        put(&mut file, offset, &value.to_le_bytes());
        let result = open(child("seSparse", SE), file);
        let error = result.map(drop).expect_err(part);
        assert!(error.message.contains(part), "{part}: {error:?}");
    }
    for (entry, part) in [(1, "makes no sense"), (4 << 60, "makes no sense"), (grain(8), "makes no sense")] {
        let mut file = se_sparse();
        put(&mut file, (16 + 2 * 64) * 512, &u64::to_le_bytes(entry));
        let error = map(&mut open(child("seSparse", SE), file).unwrap(), 9).unwrap_err();
        assert!(error.message.contains(part), "{part}: {error:?}");
    }
}

fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A stream of 33 MiB with grains 0, 1 and 520, as the writer lays it out.
pub fn stream() -> Vec<u8> {
    let mut writer = Writer::create("vmdk", 33 << 20, "{\"subformat\": \"streamOptimized\"}", None).unwrap();
    let mut file = Vec::new();
    for grain in [0u64, 1, 520] {
        let data = zlib(&vec![grain as u8 + 1; GRAIN]);
        let chunk = Chunk {
            start: grain * GRAIN as u64,
            length: GRAIN as u64,
            stored: data.len() as u64,
            encoded: true,
        };
        put(&mut file, writer.allocate(&chunk).unwrap() as usize, &data);
    }
    loop {
        let ending = writer.finish().unwrap();
        for write in ending.writes {
            put(&mut file, write.offset as usize, &write.bytes);
        }
        file.resize(ending.size as usize, 0);
        if !ending.next {
            return file;
        }
    }
}

fn runs(file: Vec<u8>) -> Result<Vec<(u64, u64, &'static str)>, Error> {
    let mut image = Image::open(file)?;
    assert_eq!(image.check()?, []);
    Ok(joined(&map(&mut image, 100)?))
}

#[test]
fn streams_whose_end_is_not_where_it_should_be() {
    let sound = stream();
    let expected = runs(sound.clone()).unwrap();
    assert_eq!(
        expected,
        [
            (0, 131072, "encoded"),
            (131072, (520 << 16) - 131072, "unallocated"),
            (520 << 16, 65536, "encoded"),
            (521 << 16, (33 << 20) - (521 << 16), "unallocated")
        ]
    );
    let padded = [&sound[..], &[0; 10240]].concat();
    assert_eq!(runs(padded).unwrap(), expected, "the footer is found by its marker");
    let odd = [&sound[..], b"tail"].concat();
    assert_eq!(runs(odd).unwrap(), expected, "a length that is no multiple of a sector");
    let no_footer = [&sound[..sound.len() - 1536], &[0; 512]].concat();
    assert_eq!(runs(no_footer).unwrap(), expected, "the directory is found by its marker");
    // Directory marker, directory of one sector, footer marker, footer, end mark.
    let grains_only = [&sound[..sound.len() - 5 * 512], &[0; 512]].concat();
    assert_eq!(runs(grains_only.clone()).unwrap(), expected, "grains are found by their markers");
    let hole = [&grains_only[..], &[0; 512]].concat();
    assert!(runs(hole).unwrap_err().message.contains("cut short"), "zeros are no end");
    for cut in (65536 + 512..sound.len() - 1536).step_by(512) {
        let error = runs(sound[..cut].to_vec()).map(drop);
        // Cut after the directory, nothing is missing but the end mark.
        match cut > sound.len() - 5 * 512 {
            true => drop(error),
            false => assert!(error.unwrap_err().message.contains("cut short"), "{cut}"),
        }
    }
}

#[test]
fn broken_streams() {
    let sound = stream();
    let directory = sound.len() - 1024 + 56;
    let cases: [(usize, &[u8], &str); 8] = [
        (sound.len() - 1024 + 12, &[1], "header and the footer of the stream disagree"),
        (sound.len() - 1024 + 4, &[9], "footer of the stream: sparse extents of version 9"),
        (directory, &[0xff; 8], "does not say where"),
        (directory, &[0xff, 0xff, 0xff], "past the end"),
        (65536, &[1], "marker"),
        (65536 + 8, &[0xff; 4], "marker"),
        (65536 + 8, &[0; 4], "marker"),
        (65536 + 20, &[0xff; 40], ""),
    ];
    for (offset, bytes, part) in cases {
        let mut file = sound.clone();
        put(&mut file, offset, bytes);
        match Image::open(file) {
            Err(error) => assert!(error.message.contains(part) && !part.is_empty(), "{part}: {error:?}"),
            // What only the check or the codec sees.
            Ok(mut image) => {
                let findings = image.check().unwrap();
                assert!(part.is_empty() == findings.is_empty(), "{part}: {findings:?}");
                assert!(findings.iter().all(|finding| finding.message.contains("marker")), "{findings:?}");
            }
        }
    }
    // The last grain of a table has no neighbour: its marker counts.
    let mut file = sound.clone();
    let second = 65536 + 1024;
    put(&mut file, second + 8, &0xffff_fff0u32.to_le_bytes());
    let error = map(&mut Image::open(file).unwrap(), 9).unwrap_err();
    assert!(error.message.contains("impossible length"), "{error:?}");
    let mut file = sound;
    put(&mut file, second, &[0]);
    let error = map(&mut Image::open(file).unwrap(), 9).unwrap_err();
    assert!(error.message.contains("that of another grain"), "{error:?}");
}

#[test]
fn lengths_as_virtualbox_writes_them() {
    let mut file = stream();
    // The header and the footer keep 33 MiB, the descriptor says one sector less.
    let text = String::from_utf8_lossy(&file[512..1024]).into_owned();
    let shorter = text.replace("RDONLY 67584 ", "RDONLY 67583 ");
    assert_ne!(text, shorter);
    put(&mut file, 512, shorter.as_bytes());
    let mut image = Image::open(file.clone()).unwrap();
    assert_eq!(image.geometry().virtual_size, (33 << 20) - 512);
    assert_eq!(map(&mut image, 9).unwrap().last().unwrap().length, (33 << 20) - (521 << 16) - 512);
    put(&mut file, 512, text.replace("RDONLY 67584 ", "RDONLY 67456 ").as_bytes());
    assert!(Image::open(file).unwrap_err().message.contains("disagree on its length"));
}

#[test]
fn flat_zero_and_shared_files() {
    let lines = "RW 16 FLAT \"a\" 8\nRDONLY 8 ZERO\nRW 8 FLAT \"a\" 0\nRW 8 FLAT \"b\" 0";
    let mut image = Image::open(descriptor("twoGbMaxExtentFlat", lines)).unwrap();
    assert_eq!(image.references().len(), 2);
    assert_eq!(image.extents(0, 512, 9).unwrap_err().kind, ErrorKind::NotFound);
    image.attach(1, vec![1; 24 * 512]).unwrap();
    let error = image.attach(2, vec![1; 8 * 512 - 1]).unwrap_err();
    assert!(error.message.contains("shorter than the descriptor says"), "{error:?}");
    image.attach(2, vec![1; 8 * 512]).unwrap();
    let map = map(&mut image, 9).unwrap();
    let kinds: Vec<_> = map.iter().map(|extent| (extent.length, &extent.kind)).collect();
    assert_eq!(
        kinds,
        [
            (8192, &ExtentKind::Data { source: 1, offset: 4096 }),
            (4096, &ExtentKind::Zero),
            (4096, &ExtentKind::Data { source: 1, offset: 0 }),
            (4096, &ExtentKind::Data { source: 2, offset: 0 }),
        ]
    );
    for lines in ["RW 16 FLAT \"a\" 0\nRW 8 FLAT \"a\" 15", "RW 16 FLAT \"a\" 0\nRW 16 FLAT \"a\" 0"] {
        let error = Image::open(descriptor("twoGbMaxExtentFlat", lines)).unwrap_err();
        assert!(error.message.contains("overlap"), "{error:?}");
    }
    let twice = descriptor("twoGbMaxExtentSparse", "RW 128 SPARSE \"a\"\nRW 128 SPARSE \"a\"");
    assert!(Image::open(twice).unwrap_err().message.contains("overlap"));
}

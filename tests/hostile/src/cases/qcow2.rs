//! qcow2: tables at places that cannot be, counts without bounds, clusters that lie.

use std::io::Write;

use flate2::Compression;
use flate2::write::DeflateEncoder;
use witvirt_disk::ErrorKind::{Corrupt, Denied, Limit, NoSpace, Unsupported};

use super::{Row, patched, table};
use crate::bytes::noise;
use crate::case::{Case, Content, Entry, Place};

/// A small sound image of 1 MiB: header, refcount table at 64 KiB, refcount block, L1 table at 192 KiB, L2 table at
/// 256 KiB, one data cluster at 320 KiB.
pub fn image() -> Vec<u8> {
    let mut file = vec![0; 0x60000];
    let mut put = |offset: usize, bytes: &[u8]| file[offset..offset + bytes.len()].copy_from_slice(bytes);
    put(0, b"QFI\xfb\0\0\0\x03");
    put(20, &16u32.to_be_bytes());
    put(24, &(1u64 << 20).to_be_bytes());
    put(36, &1u32.to_be_bytes());
    put(40, &0x30000u64.to_be_bytes());
    put(48, &0x10000u64.to_be_bytes());
    put(56, &1u32.to_be_bytes());
    put(96, &4u32.to_be_bytes());
    put(100, &104u32.to_be_bytes());
    put(0x10000, &0x20000u64.to_be_bytes());
    put(0x20000, &[0, 1].repeat(6));
    put(0x30000, &(1u64 << 63 | 0x40000).to_be_bytes());
    put(0x40000, &(1u64 << 63 | 0x50000).to_be_bytes());
    put(0x50000, &noise(0x10000));
    file
}

/// A header extension.
fn extension(kind: u32, bytes: &[u8]) -> Vec<u8> {
    let mut all = [kind.to_be_bytes(), (bytes.len() as u32).to_be_bytes()].concat();
    all.extend(bytes);
    all.resize(all.len().next_multiple_of(8), 0);
    all
}

/// An image over another file, of a format where one is said.
pub fn backed(name: &[u8], format: Option<&str>) -> Vec<u8> {
    let extensions = format.map(|format| extension(0xe279_2aca, format.as_bytes())).unwrap_or_default();
    let name_at = 104 + extensions.len() + 8;
    patched(
        &image(),
        &[
            (8, &(name_at as u64).to_be_bytes()),
            (16, &(name.len() as u32).to_be_bytes()),
            (104, &extensions),
            (name_at, name),
            // Nothing is stored here: all of it is the backing file's.
            (0x30000, &[0; 8]),
        ],
    )
}

/// An image with an external data file.
fn with_data_file(name: &[u8]) -> Vec<u8> {
    let named = extension(0x4441_5441, name);
    patched(&image(), &[(79, &[4]), (104, &named), (0x40000, &(1u64 << 63).to_be_bytes())])
}

/// The descriptor of a compressed cluster.
fn compressed(offset: u64, length: usize) -> [u8; 8] {
    let sectors = ((offset & 511) + length as u64).div_ceil(512) - 1;
    (1 << 62 | sectors << 54 | offset).to_be_bytes()
}

/// A raw deflate stream.
fn deflated(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).expect("memory takes everything");
    encoder.finish().expect("memory takes everything")
}

/// 16 TiB by way of tables that name one cluster: as many L2 tables as the file can pass for having, each entry the same.
pub(super) fn aliased(entry: [u8; 8], tables: u64) -> Entry {
    let size = tables << 29;
    let header = patched(
        &image(),
        &[
            (24, &size.to_be_bytes()),
            (36, &(tables as u32).to_be_bytes()),
            (40, &0x100_0000u64.to_be_bytes()),
        ],
    );
    let l2_at = |index: u64| 0x200_0000 + (index << 16);
    let l1: Vec<u8> = (0..tables).flat_map(|index| (1u64 << 63 | l2_at(index)).to_be_bytes()).collect();
    let mut pieces = vec![(0, header), (0x100_0000, l1)];
    pieces.extend((0..tables).map(|index| (l2_at(index), entry.repeat(8192))));
    Entry::Pieces(l2_at(tables), pieces)
}

pub fn cases(place: &Place) -> Vec<Case> {
    [headers(), maps(), clusters(), bombs(), names(place)].concat()
}

fn headers() -> Vec<Case> {
    let rows: Vec<Row> = vec![
        ("version-4", vec![(4, &[0, 0, 0, 4])], Unsupported, "version 4"),
        ("cluster-bits-8", vec![(20, &[0, 0, 0, 8])], Corrupt, "cluster size"),
        ("cluster-bits-63", vec![(20, &[0, 0, 0, 63])], Corrupt, "cluster size"),
        ("size-2-63", vec![(24, &[0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe, 0])], Corrupt, "too small"),
        ("size-2-64", vec![(24, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe, 0])], Corrupt, "virtual size"),
        ("l1-32-gib", vec![(36, &[0xff; 4])], Corrupt, "L1 table is too large"),
        ("l1-32-mib-past-end", vec![(36, &[0, 0x40, 0, 0])], Corrupt, "past the end"),
        ("l1-far", vec![(40, &[0, 0, 0x7f, 0xff, 0, 0, 0, 0])], Corrupt, "past the end"),
        ("l1-on-header", vec![(40, &[0; 8])], Corrupt, "on the header"),
        ("refcounts-huge", vec![(56, &[0, 0, 1, 0])], Corrupt, "refcount table is too large"),
        ("refcount-order-63", vec![(96, &[0, 0, 0, 63])], Corrupt, "64 bits"),
        ("snapshots-65537", vec![(60, &[0, 1, 0, 1])], Corrupt, "snapshots"),
        ("snapshots-2-32", vec![(60, &[0xff; 4]), (64, &[0, 0, 0, 0, 0, 1, 0, 0])], Corrupt, "snapshots"),
        ("header-length", vec![(100, &[0xff, 0xff, 0xff, 0xf8])], Corrupt, "header length"),
        ("extension-4-gib", vec![(104, &[1, 2, 3, 4, 0xff, 0xff, 0xff, 0xf0])], Corrupt, "header extension"),
        ("feature-63", vec![(72, &[0x80])], Unsupported, "bit 63"),
        ("marked-corrupt", vec![(79, &[2])], Corrupt, "marked corrupt"),
        ("encrypted-aes", vec![(32, &[0, 0, 0, 1])], Unsupported, "AES-CBC"),
        ("encrypted-luks", vec![(32, &[0, 0, 0, 2])], Unsupported, "LUKS"),
        ("compression-type", vec![(79, &[8]), (103, &[112]), (104, &[9])], Unsupported, "compression type 9"),
    ];
    let mut cases = table("qcow2", "qcow2", &image(), &rows);
    // 65,536 snapshots are legal; 2^16 headers of 40 bytes are what a reader would have to look at.
    let snapshots = patched(&image(), &[(60, &[0, 1, 0, 0]), (64, &0x60000u64.to_be_bytes())]);
    let length = 0x60000 + (40 << 16);
    let entry = Entry::Pieces(length, vec![(0, snapshots)]);
    cases.push(Case::of("qcow2-snapshots-65536.qcow2", entry).confined(Content::Bytes(disk())));
    let mut many = image();
    many.splice(104..104 + 64_000, [0x12, 0x34, 0x56, 0x78, 0, 0, 0, 0].repeat(8000));
    cases.push(Case::new("qcow2-extensions-8000.qcow2", "qcow2", many).confined(Content::Bytes(disk())));
    cases.push(Case::new("qcow2-empty.qcow2", "qcow2", []).refused([Corrupt, crate::cases::INVALID], ""));
    cases
}

/// What a guest sees of [`image`].
fn disk() -> Vec<u8> {
    let mut disk = noise(0x10000);
    disk.resize(1 << 20, 0);
    disk
}

fn maps() -> Vec<Case> {
    let l1 = 0x30000;
    let l2 = 0x40000;
    let rows: Vec<Row> = vec![
        ("l1-names-itself", vec![(l1, &[0x80, 0, 0, 0, 0, 3, 0, 0])], Corrupt, "overlaps the L1 table"),
        ("l1-names-refcounts", vec![(l1, &[0x80, 0, 0, 0, 0, 1, 0, 0])], Corrupt, "overlaps the refcount"),
        ("l1-unaligned", vec![(l1, &[0x80, 0, 0, 0, 0, 4, 2, 0])], Corrupt, "not that of a cluster"),
        ("l1-past-end", vec![(l1, &[0x80, 0, 0, 0, 0, 6, 0, 0])], Corrupt, "past the end"),
        ("l1-reserved", vec![(l1, &[0x81, 0, 0, 0, 0, 4, 0, 0])], Corrupt, "reserved bits"),
        ("l2-names-l1", vec![(l2, &[0x80, 0, 0, 0, 0, 3, 0, 0])], Corrupt, "overlaps the L1 table"),
        ("l2-past-end", vec![(l2, &[0x80, 0xff, 0xff, 0xff, 0xff, 6, 0, 0])], Corrupt, "past the end"),
        ("l2-unaligned", vec![(l2, &[0x80, 0, 0, 0, 0, 5, 2, 0])], Corrupt, "not that of a cluster"),
        ("l2-reserved", vec![(l2, &[0x80, 0, 0, 0, 0, 5, 0, 2])], Corrupt, "reserved bits"),
        ("compressed-past-end", vec![(l2, &[0x7f, 0xff, 0, 0, 0, 5, 0, 0])], Corrupt, "runs past"),
    ];
    let mut cases = table("qcow2", "qcow2", &image(), &rows);
    cases.push(Case::new("qcow2-cut.qcow2", "qcow2", &image()[..0x50400]).corrupt("past the end"));
    cases
}

fn clusters() -> Vec<Case> {
    let short = deflated(&[b'A'; 1000]);
    let with = |stream: &[u8]| {
        patched(&image(), &[(0x40000, &compressed(0x50000, stream.len())), (0x50000, stream)])
    };
    // A zstd frame whose header asks for a window of 1 GiB.
    let window = [&[0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xa0][..], &noise(500)].concat();
    let zstd = patched(&with(&window), &[(79, &[8]), (103, &[112]), (104, &[1])]);
    vec![
        Case::new("qcow2-deflate-damaged.qcow2", "qcow2", with(&[0xff; 512])).corrupt("byte 327680"),
        Case::new("qcow2-deflate-short.qcow2", "qcow2", with(&short)).corrupt("byte 327680"),
        Case::new("qcow2-zstd-window.qcow2", "qcow2", zstd).corrupt("byte 327680"),
    ]
}

fn bombs() -> Vec<Case> {
    let zeros = deflated(&[0; 0x10000]);
    let text = deflated(&[b'A'; 0x10000]);
    let bomb = |stream: &[u8], tables| {
        let Entry::Pieces(length, mut pieces) = aliased(compressed(0x50000, stream.len()), tables) else {
            unreachable!("it is made of pieces")
        };
        pieces.push((0x50000, stream.to_vec()));
        Entry::Pieces(length, pieces)
    };
    let one_table = patched(
        &image(),
        &[
            (24, &(1u64 << 44).to_be_bytes()),
            (36, &(1u32 << 15).to_be_bytes()),
            (40, &0x60000u64.to_be_bytes()),
            (0x60000, &(1u64 << 63 | 0x40000).to_be_bytes().repeat(1 << 15)),
        ],
    );
    vec![
        Case::new("qcow2-one-table-16-tib.qcow2", "qcow2", one_table).corrupt("more L2 tables than"),
        // 128 GiB of data out of 18 MiB: more than there is room for.
        Case::of("qcow2-alias-bomb.qcow2", aliased((1u64 << 63 | 0x50000).to_be_bytes(), 256))
            .refused([NoSpace, Limit], "not enough space"),
        Case::of("qcow2-deflate-bomb.qcow2", bomb(&text, 256)).refused([NoSpace, Limit], "not enough space"),
        // Zeros become holes, however they are written down.
        Case::of("qcow2-zeros-bomb.qcow2", bomb(&zeros, 1)).confined(Content::Hole(1 << 29)),
    ]
}

fn names(place: &Place) -> Vec<Case> {
    let canary = place.canary();
    let backing = |name: &str, of: &str| {
        Case::new(&format!("qcow2-backing-{name}.qcow2"), "qcow2", backed(of.as_bytes(), Some("raw")))
    };
    let json = format!("json:{{\"driver\":\"raw\",\"file\":{{\"filename\":\"{canary}\"}}}}");
    let data = |name: &str, of: &str| {
        Case::new(&format!("qcow2-data-{name}.qcow2"), "qcow2", with_data_file(of.as_bytes()))
    };
    vec![
        backing("absolute", &canary).denied("outside the allowed directories"),
        backing("passwd", "/etc/passwd").denied("/etc/passwd is outside"),
        backing("dots", "../canary.txt").denied("contains \"..\""),
        backing("json", &json).denied("names a protocol"),
        backing("nbd", "nbd://127.0.0.1:10809/x").denied("names a protocol"),
        backing("http", "http://127.0.0.1/x").denied("names a protocol"),
        backing("fat", "fat:rw:/tmp").denied("names a protocol"),
        backing("device", "/dev/zero").denied("outside the allowed directories"),
        backing("long", &"a".repeat(1024)).corrupt("too long"),
        backing("control", "a\n2026 INFO all is well\u{1b}[2J").refused([Unsupported], "control characters"),
        backing("link", "link").with("link", Entry::Link(canary.clone())).denied("symbolic link"),
        backing("pipe", "pipe").with("pipe", Entry::Pipe).denied("only regular files"),
        backing("directory", "sub").with("sub", Entry::Directory).denied("only regular files"),
        Case::new("qcow2-backing-unsaid.qcow2", "qcow2", backed(b"base", None))
            .with("base", Entry::bytes(image()))
            .denied("does not say which format"),
        backing("text", "\u{202e}2wocq").refused([crate::cases::MISSING], "2wocq"),
        data("absolute", &canary).denied("outside the allowed directories"),
        data("dots", "../canary.txt").denied("contains \"..\""),
        data("json", &json).denied("names a protocol"),
        data("link", "link").with("link", Entry::Link(canary)).denied("symbolic link"),
        data("device", "zero").with("zero", Entry::Device).refused([Denied], "only regular files"),
        Case::new("qcow2-data-unnamed.qcow2", "qcow2", patched(&image(), &[(79, &[4])]))
            .corrupt("does not name it"),
    ]
}

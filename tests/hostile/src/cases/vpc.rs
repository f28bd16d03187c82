//! VHD: a footer, a table, blocks.

use witvirt_disk::ErrorKind::{Corrupt, Limit, Unsupported};

use super::{Row, patched};
use crate::bytes::Bytes;
use crate::case::{Case, Place};

const NOWHERE: u64 = u64::MAX;

/// The checksum that both structures have: the complement of the sum of all other bytes.
pub fn sealed(mut bytes: Vec<u8>, at: usize) -> Vec<u8> {
    bytes[at..at + 4].fill(0);
    let sum: u32 = bytes.iter().map(|byte| u32::from(*byte)).sum();
    bytes[at..at + 4].copy_from_slice(&(!sum).to_be_bytes());
    bytes
}

/// A footer of a disk of `size` bytes and of type 2 (fixed), 3 (dynamic) or 4 (differencing).
pub fn footer(size: u64, kind: u32) -> Vec<u8> {
    let next = if kind == 2 { NOWHERE } else { 512 };
    let footer = Bytes::new(512)
        .put(0, b"conectix")
        .be32(8, 2)
        .be32(12, 0x1_0000)
        .be64(16, next)
        .put(28, b"win ")
        .put(36, b"Wi2k")
        .be64(40, size)
        .be64(48, size)
        .put(56, &[0, 30, 4, 17])
        .be32(60, kind)
        .put(68, &[5; 16]);
    sealed(footer.into(), 64)
}

/// Dynamic, of 4 MiB in blocks of 2 MiB, the first stored at 2 KiB; its header is then patched and sealed.
fn dynamic(kind: u32, header: &[(usize, &[u8])], table: [u32; 2]) -> Vec<u8> {
    let plain = Bytes::new(1024)
        .put(0, b"cxsparse")
        .be64(8, NOWHERE)
        .be64(16, 1536)
        .be32(24, 0x1_0000)
        .be32(28, 2)
        .be32(32, 2 << 20);
    let header = sealed(patched(&plain.0, header), 36);
    let footer = footer(4 << 20, kind);
    let mut file = [footer.clone(), header, table.map(u32::to_be_bytes).concat()].concat();
    file.resize(2048, 0xff);
    file.extend([0xff; 512]);
    file.resize(file.len() + (2 << 20), 7);
    file.extend(footer);
    file
}

const TABLE: [u32; 2] = [4, u32::MAX];

/// A differencing image with a locator of Windows ("W2ku") for this path.
fn differencing(path: &str) -> Vec<u8> {
    let wide = |path: &str| path.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    let name: Vec<u8> = path.encode_utf16().flat_map(u16::to_be_bytes).take(512).collect();
    let bytes = wide(path);
    let at = 4 << 20;
    let locator = Bytes::new(24).put(0, b"W2ku").be32(4, 512).be32(8, bytes.len() as u32).be64(16, at as u64);
    let mut file = dynamic(4, &[(40, &[5; 16]), (64, &name), (576, &locator.0)], [u32::MAX; 2]);
    file.truncate(file.len() - 512);
    file = patched(&file, &[(at, &bytes)]);
    file.resize(file.len().next_multiple_of(512), 0);
    file.extend(footer(4 << 20, 4));
    file
}

/// Those of VHD.
pub fn cases(place: &Place) -> Vec<Case> {
    let far = &(1u64 << 62).to_be_bytes()[..];
    let rows: Vec<Row> = vec![
        ("header-signature", vec![(0, b"x")], Corrupt, "no signature"),
        ("header-version", vec![(24, &[0, 2])], Unsupported, "version 2.0"),
        ("block-0", vec![(32, &[0; 4])], Corrupt, "block size"),
        ("block-256", vec![(32, &[0, 0, 1, 0])], Corrupt, "block size"),
        ("block-3-mib", vec![(32, &[0, 0x30, 0, 0])], Corrupt, "block size"),
        ("block-2-31", vec![(32, &[0x80, 0, 0, 0])], Corrupt, "block size"),
        ("entries-1", vec![(28, &[0, 0, 0, 1])], Corrupt, "too small for the disk"),
        ("entries-2-31", vec![(28, &[0x7f, 0xff, 0xff, 0xff])], Corrupt, "past the end"),
        ("table-far", vec![(16, far)], Corrupt, "past the end"),
        ("table-on-footer", vec![(16, &[0; 8])], Corrupt, "copy of the footer"),
        ("table-on-header", vec![(16, &[0, 0, 0, 0, 0, 0, 2, 0])], Corrupt, "lies on the header"),
    ];
    let mut cases: Vec<Case> = rows
        .iter()
        .map(|(name, patches, kind, word)| {
            Case::new(&format!("vpc-{name}.vhd"), "vpc", dynamic(3, patches, TABLE)).refused([*kind], word)
        })
        .collect();
    let case = |name: &str, bytes: Vec<u8>| Case::new(&format!("vpc-{name}.vhd"), "vpc", bytes);
    let mut unsealed = dynamic(3, &[], TABLE);
    unsealed[600] ^= 1;
    let fixed = |size: u64| [vec![7; 4096], footer(size, 2)].concat();
    cases.extend([
        case("block-far", dynamic(3, &[], [0x7fff_ffff, u32::MAX])).corrupt("past the footer"),
        case("block-on-footer", dynamic(3, &[], [0, u32::MAX])).corrupt("copy of the footer"),
        case("block-on-table", dynamic(3, &[], [3, u32::MAX])).corrupt("lies on the table"),
        case("checksum", unsealed).corrupt("checksum"),
        case("fixed-longer-than-file", fixed(1 << 30)).corrupt(""),
        case("fixed-2-63", fixed(1 << 63)).refused([Corrupt, Limit, Unsupported], "2040 GiB"),
        case("parent-absolute", differencing(&place.canary())).denied("outside the allowed directories"),
        case("parent-dots", differencing("..\\canary.txt")).denied("contains \"..\""),
        case("parent-drive", differencing("C:\\secrets\\base.vhd")).denied(""),
        case("cut", dynamic(3, &[], TABLE)[..1 << 20].to_vec()).corrupt(""),
    ]);
    cases
}

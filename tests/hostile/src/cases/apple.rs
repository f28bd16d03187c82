//! Apple's formats: dmg, sparseimage and ASIF.

use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use witvirt_disk::ErrorKind::{Corrupt, InvalidInput, Limit, Unsupported};

use super::{Row, parallels::entities, patched, table};
use crate::bytes::{Bytes, noise};
use crate::case::{Case, Content};

/// A run of a table: its type, its sectors, and where its bytes are.
type Run = (u32, u64, u64, u64);

/// A disk image of `stored` bytes with one table of runs in its property list.
fn dmg(stored: &[u8], sectors: u64, runs: &[Run]) -> Vec<u8> {
    let mut mish = Bytes::new(204 + 40 * runs.len())
        .put(0, b"mish")
        .be32(4, 1)
        .be64(16, sectors)
        .be32(200, runs.len() as u32);
    let mut first = 0u64;
    for (index, (kind, sectors, offset, length)) in runs.iter().enumerate() {
        let at = 204 + 40 * index;
        mish = mish
            .be32(at, *kind)
            .be64(at + 8, first)
            .be64(at + 16, *sectors)
            .be64(at + 24, *offset)
            .be64(at + 32, *length);
        first = first.saturating_add(*sectors);
    }
    let list = format!(
        "<?xml version=\"1.0\"?><plist version=\"1.0\"><dict><key>resource-fork</key><dict><key>blkx</key><array>\
         <dict><key>Data</key><data>{}</data></dict></array></dict></dict></plist>",
        STANDARD.encode(&mish.0)
    );
    with_list(stored, sectors, &list)
}

fn with_list(stored: &[u8], sectors: u64, list: &str) -> Vec<u8> {
    let trailer = Bytes::new(512)
        .put(0, b"koly")
        .be32(4, 4)
        .be32(8, 512)
        .be64(32, stored.len() as u64)
        .be64(216, stored.len() as u64)
        .be64(224, list.len() as u64)
        .be32(488, 1)
        .be64(492, sectors);
    [stored, list.as_bytes(), &trailer.0].concat()
}

const ZLIB: u32 = 0x8000_0005;
const BZIP2: u32 = 0x8000_0006;
const LZFSE: u32 = 0x8000_0007;
const XZ: u32 = 0x8000_0008;
const ADC: u32 = 0x8000_0004;

fn packed(kind: u32, plain: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let done = match kind {
        ZLIB => {
            let mut encoder = flate2::write::ZlibEncoder::new(&mut bytes, flate2::Compression::best());
            encoder.write_all(plain).and_then(|()| encoder.finish().map(drop))
        }
        BZIP2 => {
            let mut encoder = bzip2::write::BzEncoder::new(&mut bytes, bzip2::Compression::best());
            encoder.write_all(plain).and_then(|()| encoder.finish().map(drop))
        }
        _ => {
            let options = lzma_rust2::XzOptions::with_preset(1);
            lzma_rust2::XzWriter::new(&mut bytes, options)
                .and_then(|mut encoder| encoder.write_all(plain).and_then(|()| encoder.finish().map(drop)))
        }
    };
    done.expect("memory takes everything");
    bytes
}

pub fn cases() -> Vec<Case> {
    [disk_images(), sparse_images(), asif()].concat()
}

fn disk_images() -> Vec<Case> {
    let plain = noise(8192);
    let sound = dmg(&plain, 16, &[(1, 16, 0, 8192), (0xffff_ffff, 0, 0, 0)]);
    let trailer = sound.len() - 512;
    let rows: Vec<Row> = vec![
        ("signature", vec![(trailer, b"K")], InvalidInput, "koly"),
        ("version-9", vec![(trailer + 7, &[9])], Unsupported, "version 9"),
        ("segments", vec![(trailer + 60, &[0, 0, 0, 9])], Unsupported, "segments"),
        ("list-far", vec![(trailer + 216, &[0xff; 8])], Corrupt, "property list lies past the end"),
        ("list-4-gib", vec![(trailer + 227, &[1])], Limit, "longer than 32 MiB"),
        ("size-2-64", vec![(trailer + 492, &[0xff; 8])], Corrupt, "longer than a disk can be"),
        ("size-2-tib", vec![(trailer + 492, &[0, 0, 0, 1])], Corrupt, "no run"),
    ];
    let mut cases = table("dmg", "dmg", &sound, &rows);
    let case = |name: &str, bytes: Vec<u8>| Case::new(&format!("dmg-{name}.dmg"), "dmg", bytes);
    let end = (0xffff_ffff, 0, 0, 0);
    // What decodes to far more than the run has room for.
    for (name, kind) in [("zlib", ZLIB), ("bzip2", BZIP2), ("xz", XZ)] {
        let bomb = packed(kind, &vec![0; 96 << 20]);
        let run = (kind, 16, 0, bomb.len() as u64);
        cases.push(case(&format!("{name}-bomb"), dmg(&bomb, 16, &[run, end])).corrupt(""));
        let rubbish = (kind, 16, 0, 8192);
        cases.push(case(&format!("{name}-damaged"), dmg(&plain, 16, &[rubbish, end])).corrupt("byte"));
    }
    cases.extend([
        case("sound", sound.clone()).confined(Content::Bytes(plain.clone())),
        case("lzfse-damaged", dmg(&plain, 16, &[(LZFSE, 16, 0, 8192), end])).corrupt(""),
        case("adc-damaged", dmg(&[0x7f; 64], 16, &[(ADC, 16, 0, 64), end])).corrupt(""),
        case("run-65-mib", dmg(&plain, 130 << 10, &[(ZLIB, 130 << 10, 0, 64), end]))
            .refused([Limit], "64 MiB"),
        case("run-far", dmg(&plain, 16, &[(1, 16, 1 << 60, 8192), end])).corrupt("past the end"),
        case("run-2-63", dmg(&plain, 1 << 53, &[(1, 1 << 53, 0, 8192), end])).corrupt(""),
        case("runs-overlap", overlapping(&plain)).corrupt("cover the same sectors"),
        case("runs-none", dmg(&plain, 16, &[end])).corrupt(""),
        case("codec-unknown", dmg(&plain, 16, &[(0x8000_0099, 16, 0, 8192), end]))
            .refused([Unsupported], "not known"),
        case("entities", with_list(&plain, 16, &entities("plist"))).refused([Corrupt, Unsupported], ""),
        case("deep", with_list(&plain, 16, &"<dict>".repeat(500_000)))
            .refused([Corrupt, Limit, Unsupported], ""),
    ]);
    cases
}

/// Two tables for the same sectors.
fn overlapping(plain: &[u8]) -> Vec<u8> {
    let one = dmg(plain, 16, &[(1, 16, 0, 8192), (0xffff_ffff, 0, 0, 0)]);
    let text = String::from_utf8_lossy(&one[plain.len()..one.len() - 512]).into_owned();
    let start = text.find("<array>").map_or(0, |at| at + 7);
    let end = text.find("</array>").unwrap_or(text.len());
    let table = text[start..end].to_owned();
    with_list(plain, 16, &text.replace("</array>", &format!("{table}</array>")))
}

fn sparse_images() -> Vec<Case> {
    // 1 MiB in bands of 128 KiB; the first of the file is the disk's second.
    let image: Vec<u8> = Bytes::new(4096 + (128 << 10))
        .put(0, b"sprs")
        .be32(4, 3)
        .be32(8, 256)
        .be32(12, 1)
        .be32(16, 2048)
        .be64(28, 2048)
        .be32(64, 2)
        .put(4096, &[7; 128 << 10])
        .into();
    let rows: Vec<Row> = vec![
        ("signature", vec![(0, b"S")], InvalidInput, "signature"),
        ("version-9", vec![(7, &[9])], Unsupported, "version 9"),
        ("band-0", vec![(8, &[0; 4])], Corrupt, "no sectors"),
        ("size-2-64", vec![(16, &[0xff; 4]), (28, &[0xff; 8])], Corrupt, "longer than a disk can be"),
        ("sizes-differ", vec![(16, &[9])], Corrupt, "contradict each other"),
        ("band-far", vec![(64, &[0xff; 4])], Corrupt, ""),
        ("band-twice", vec![(68, &[0, 0, 0, 2])], Corrupt, ""),
        ("node-itself", vec![(20, &[0, 0, 0, 0, 0, 0, 0, 0])], Corrupt, ""),
    ];
    let mut cases = table("sparseimage", "sparseimage", &image, &rows);
    // The last row sets what is zero already: it must be read as it is.
    let mut disk = vec![0; 1 << 20];
    disk[128 << 10..256 << 10].fill(7);
    cases.pop();
    cases.push(
        Case::new("sparseimage-sound.sparseimage", "sparseimage", image).confined(Content::Bytes(disk)),
    );
    cases
}

fn asif() -> Vec<Case> {
    const CHUNK: usize = 1 << 16;
    // 1 MiB in chunks of 64 KiB: header and directories, the table, one chunk of data.
    let image: Vec<u8> = Bytes::new(3 * CHUNK)
        .put(0, b"shdw\0\0\0\x01\0\0\x02\0")
        .be64(16, 512)
        .be64(24, 32768)
        .put(32, &[0xab; 16])
        .be64(48, 2048)
        .be64(56, 1 << 40)
        .be32(64, CHUNK as u32)
        .put(68, &[2, 0])
        .be64(512, 6)
        .be64(32768, 7)
        .be64(32776, 1)
        .be64(CHUNK, 1 << 62 | 2)
        .put(2 * CHUNK, &[7; CHUNK])
        .into();
    let rows: Vec<Row> = vec![
        ("version-9", vec![(7, &[9])], Unsupported, "version 9"),
        ("segments", vec![(70, &[0, 9])], Unsupported, "9 segments"),
        ("chunk-2-32", vec![(64, &[0xff; 4])], Corrupt, "no power of two"),
        ("size-2-64", vec![(48, &[0xff; 8])], Corrupt, "longer than a disk"),
        ("tables-2-40", vec![(48, &[0, 0x10, 0, 0, 0, 0, 0, 0, 0, 0x10])], Limit, "tables, more than"),
        ("table-far", vec![(32782, &[0, 9])], Corrupt, "a table lies past the end"),
        ("table-itself", vec![(CHUNK + 6, &[0, 0])], Unsupported, "a chunk has a state"),
        ("chunk-far", vec![(CHUNK + 1, &[0x7f; 6])], Corrupt, "a chunk lies past the end"),
        ("directories-far", vec![(16, &[0xff; 16])], Corrupt, "past the end"),
    ];
    let mut cases = table("asif", "asif", &image, &rows);
    let disk = patched(&vec![0; 1 << 20], &[(0, &[7; CHUNK])]);
    cases.push(Case::new("asif-sound.asif", "asif", image).confined(Content::Bytes(disk)));
    cases
}

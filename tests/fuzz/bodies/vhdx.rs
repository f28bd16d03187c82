//! Any bytes as the structures of an image file. A file has 4 MiB and more, nearly all of it zeros: the input is what lies at
//! a few places of it, one after the other. Checksums are put right: random bytes would never get past them.

use format_vhdx::Vhdx;
use format_vhdx::crc32c::of_structure;
use format_vhdx::layout::Writer;
use witvirt_sdk::core::format::Chunk;
use witvirt_sdk::disk::ImageWriter;
use witvirt_testkit::check_any_bytes;

const MIB: usize = 1 << 20;
const FILE: usize = 8 * MIB;
const LOG: usize = MIB;
const METADATA: usize = 2 * MIB;
const BAT: usize = 3 * MIB;
const BITMAPS: usize = 4 * MIB;
const HEADERS: [usize; 2] = [1 << 16, 2 << 16];
const REGIONS: usize = 3 << 16;

/// Offset and length of what the input is made of; the rest of it is the log.
const PLACES: [(usize, usize); 8] = [
    (0, 16),
    (HEADERS[0], 80),
    (HEADERS[1], 80),
    (REGIONS, 112),
    (METADATA, 32 * 8),
    (METADATA + 65536, 512),
    (BAT, 8 * 10),
    (BITMAPS, 256),
];

/// The entry of the first sector bitmap, where blocks have 1 MiB.
const BITMAP_ENTRY: usize = BAT + 8 * 4096;

/// What must hold: see [`check_any_bytes`].
pub fn run(data: &[u8]) {
    check_any_bytes::<Vhdx>(spread(data), |_| None);
}

/// The file that an input stands for.
pub fn spread(mut data: &[u8]) -> Vec<u8> {
    let mut file = vec![0; FILE];
    for (offset, length) in PLACES {
        let (piece, rest) = data.split_at(length.min(data.len()));
        file[offset..offset + piece.len()].copy_from_slice(piece);
        data = rest;
    }
    // The table goes on where the first group of blocks ends.
    file.copy_within(BAT + 72..BAT + 80, BITMAP_ENTRY);
    let log = &data[..data.len().min(64 << 10)];
    file[LOG..LOG + log.len()].copy_from_slice(log);
    file.copy_within(REGIONS..REGIONS + 112, REGIONS + 65536);
    HEADERS.into_iter().for_each(|header| seal(&mut file[header..header + 4096]));
    [REGIONS, REGIONS + 65536].into_iter().for_each(|table| seal(&mut file[table..table + 65536]));
    let mut at = LOG;
    while at < LOG + log.len() {
        let length = u32::from_le_bytes([file[at + 8], file[at + 9], file[at + 10], file[at + 11]]) as usize;
        if !file[at..].starts_with(b"loge") || length < 4096 || at + length > METADATA {
            break;
        }
        seal(&mut file[at..at + length]);
        at += length.next_multiple_of(4096);
    }
    file
}

fn seal(bytes: &mut [u8]) {
    let crc = of_structure(bytes);
    bytes[4..8].copy_from_slice(&crc.to_le_bytes());
}

/// The input that stands for a file.
fn gathered(file: &[u8], log: &[u8]) -> Vec<u8> {
    let mut input = Vec::new();
    for (offset, length) in PLACES {
        input.extend(&file[offset..offset + length]);
    }
    input.extend(log);
    input
}

/// Inputs for a dynamic, a differencing and an unclosed image.
pub fn seeds() -> Vec<Vec<u8>> {
    let plain = laid_out();
    let mut child = plain.clone();
    child[METADATA + 65536 + 4] = 2;
    let locator =
        locator(&[("parent_linkage", "{02020202-0202-0202-0202-020202020202}"), ("relative_path", ".\\b")]);
    child[METADATA + 10] = 6;
    let entry = METADATA + 32 * 6;
    let guid =
        [0x2d, 0x5f, 0xd3, 0xa8, 0x0b, 0xb3, 0x4d, 0x45, 0xab, 0xf7, 0xd3, 0xd8, 0x48, 0x34, 0xab, 0x0c];
    child[entry..entry + 16].copy_from_slice(&guid);
    child[entry + 16..entry + 20].copy_from_slice(&(65536u32 + 64).to_le_bytes());
    child[entry + 20..entry + 24].copy_from_slice(&(locator.len() as u32).to_le_bytes());
    child[entry + 24] = 4;
    child[METADATA + 65536 + 64..][..locator.len()].copy_from_slice(&locator);
    child[BAT..BAT + 8].copy_from_slice(&(5 * MIB as u64 + 7).to_le_bytes());
    child[BAT + 72..BAT + 80].copy_from_slice(&(BITMAPS as u64 + 6).to_le_bytes());
    child[BITMAPS..BITMAPS + 256].fill(0b0110_1001);
    let mut unclosed = plain.clone();
    HEADERS.into_iter().for_each(|header| unclosed[header + 48..header + 64].fill(9));
    vec![gathered(&plain, &[]), gathered(&child, &[]), gathered(&unclosed, &log())]
}

/// 8 MiB, of which the first two are stored, as the writer makes it.
fn laid_out() -> Vec<u8> {
    let mut writer = Writer::create("vhdx", 8 << 20, "{}", None).expect("sound options");
    for start in [0, 1 << 20] {
        writer
            .allocate(&Chunk { start, length: 1 << 20, stored: 1 << 20, encoded: false })
            .expect("a sound chunk");
    }
    let mut file = vec![0; FILE];
    loop {
        let ending = writer.finish().expect("a small image");
        for write in ending.writes {
            let start = write.offset as usize;
            file[start..start + write.bytes.len()].copy_from_slice(&write.bytes);
        }
        if !ending.next {
            return file;
        }
    }
}

fn locator(pairs: &[(&str, &str)]) -> Vec<u8> {
    let kind =
        [0xb7, 0xef, 0x4a, 0xb0, 0x9e, 0xd1, 0x81, 0x4a, 0xb7, 0x89, 0x25, 0xb8, 0xe9, 0x44, 0x59, 0x13];
    let mut bytes = [&kind[..], &[0, 0, pairs.len() as u8, 0]].concat();
    let mut texts: Vec<u8> = Vec::new();
    let first = 20 + 12 * pairs.len() as u32;
    for (key, value) in pairs {
        let start = first + texts.len() as u32;
        bytes.extend(start.to_le_bytes());
        bytes.extend((start + 2 * key.len() as u32).to_le_bytes());
        bytes.extend((2 * key.len() as u16).to_le_bytes());
        bytes.extend((2 * value.len() as u16).to_le_bytes());
        texts.extend(key.encode_utf16().chain(value.encode_utf16()).flat_map(u16::to_le_bytes));
    }
    bytes.extend(texts);
    bytes
}

/// Two entries: a page of payload, then zeros over the second block.
fn log() -> Vec<u8> {
    let entry = |sequence: u8, descriptors: u8, length: u16| {
        let mut bytes = vec![0; 64];
        bytes[..4].copy_from_slice(b"loge");
        bytes[8..10].copy_from_slice(&length.to_le_bytes());
        bytes[16] = sequence;
        bytes[24] = descriptors;
        bytes[32..48].fill(9);
        bytes[56..64].copy_from_slice(&(FILE as u64).to_le_bytes());
        bytes
    };
    let descriptor = |kind: &[u8], second: u64, offset: usize, sequence: u64| {
        let mut bytes = [kind, &[7; 4]].concat();
        [second, offset as u64, sequence].into_iter().for_each(|word| bytes.extend(word.to_le_bytes()));
        bytes
    };
    let mut log = entry(5, 1, 8192);
    log.extend(descriptor(b"desc", 0x0707_0707, 4 * MIB + 8192, 5));
    log.resize(4096, 0);
    log.extend([&b"data\0\0\0\0"[..], &[7; 4084], &[5, 0, 0, 0]].concat());
    log.extend(entry(6, 1, 4096));
    log.extend(descriptor(b"zero", 65536, 5 * MIB, 6));
    log.resize(3 * 4096, 0);
    log
}

//! Any bytes as an image file. Checksums are put right first: random bytes would never get past them.

use format_vpc::Vpc;
use format_vpc::footer::checksum;
use format_vpc::layout::Writer;
use witvirt_sdk::core::format::Chunk;
use witvirt_sdk::disk::ImageWriter;
use witvirt_testkit::check_any_bytes;

/// What must hold: see [`check_any_bytes`].
pub fn run(data: &[u8]) {
    check_any_bytes::<Vpc>(data.to_vec(), |_| None);
    let mut sealed = data.to_vec();
    for length in [512, 511] {
        if let Some(last) = sealed.len().checked_sub(length) {
            seal(&mut sealed, last, length, 64);
        }
    }
    seal(&mut sealed, 0, 512, 64);
    seal(&mut sealed, 512, 1024, 36);
    check_any_bytes::<Vpc>(sealed, |_| None);
}

fn seal(file: &mut [u8], start: usize, length: usize, at: usize) {
    let Some(record) = file.get_mut(start..start + length) else { return };
    if !record.starts_with(b"conectix") && !record.starts_with(b"cxsparse") {
        return;
    }
    let sum = checksum(record, at);
    record[at..at + 4].copy_from_slice(&sum.to_be_bytes());
}

/// Small sound images of every kind. Blocks of 4 KiB keep them small.
pub fn seeds() -> Vec<Vec<u8>> {
    let fixed = laid_out("{\"subformat\": \"fixed\"}");
    let mut short = fixed.clone();
    short.pop();
    vec![fixed, short, laid_out("{}"), blocks(3, &[]), blocks(4, b"W2ru"), blocks(4, b"MacX")]
}

/// 8 KiB that hold nothing.
fn laid_out(options: &str) -> Vec<u8> {
    let mut writer = Writer::create("vpc", 8192, options, None).expect("sound options");
    if options != "{}" {
        let chunk = Chunk { start: 0, length: 8192, stored: 8192, encoded: false };
        writer.allocate(&chunk).expect("a sound chunk");
    }
    let mut file = Vec::new();
    loop {
        let ending = writer.finish().expect("a small image");
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

/// Eight blocks of 4 KiB, of which the even ones are stored, with every other sector set.
fn blocks(kind: u8, platform: &[u8]) -> Vec<u8> {
    let mut file = laid_out("{}");
    let footer = file.split_off(file.len() - 512);
    file.truncate(1536);
    file[512 + 28..512 + 36].copy_from_slice(&[0, 0, 0, 8, 0, 0, 16, 0]);
    file[512 + 576..512 + 576 + platform.len()].copy_from_slice(platform);
    file[512 + 587] = 18;
    file[512 + 598] = 8;
    for block in 0..8u32 {
        let entry = if block % 2 == 0 { 5 + block / 2 * 9 } else { u32::MAX };
        file.extend(entry.to_be_bytes());
    }
    file.resize(2048, 0);
    file.extend("base.vhd\0".encode_utf16().flat_map(u16::to_le_bytes));
    file.resize(5 * 512, 0);
    for _ in 0..4 {
        file.extend([0xaa; 512]);
        file.extend([7; 4096]);
    }
    file.extend(footer);
    let last = file.len() - 512;
    for start in [0, last] {
        file[start + 63] = kind;
        file[start + 48..start + 56].copy_from_slice(&32768u64.to_be_bytes());
        seal(&mut file, start, 512, 64);
    }
    seal(&mut file, 512, 1024, 36);
    file
}

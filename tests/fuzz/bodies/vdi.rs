//! Any bytes as an image file.

use format_vdi::Vdi;
use format_vdi::layout::Writer;
use witvirt_sdk::core::format::Chunk;
use witvirt_sdk::disk::ImageWriter;
use witvirt_testkit::check_any_bytes;

/// What must hold: see [`check_any_bytes`].
pub fn run(data: &[u8]) {
    check_any_bytes::<Vdi>(data.to_vec(), |_| None);
}

/// Small sound images of every kind: blocks of 512 bytes, so that they have many.
pub fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for kind in [1, 2, 4] {
        for (extra, offset) in [(0, 512), (16, 1001)] {
            seeds.push(image(kind, extra, offset));
        }
    }
    let mut writer = Writer::create("vdi", 40 << 20, "{}", None).expect("a sound request");
    let chunk = Chunk { start: 0, length: 1 << 20, stored: 1 << 20, encoded: false };
    let _ = writer.allocate(&chunk);
    let ending = writer.finish().expect("a small image");
    // Its data is cut off: an error where it is met.
    let mut file = vec![0; 4096];
    for write in ending.writes {
        file[write.offset as usize..write.offset as usize + write.bytes.len()].copy_from_slice(&write.bytes);
    }
    seeds.push(file);
    seeds
}

/// 40 blocks of 512 bytes: stored, free, zero, in turn, and backwards in the file.
pub fn image(kind: u32, extra: u32, map_offset: u32) -> Vec<u8> {
    let blocks = 40u32;
    let mut head = b"<<< Oracle VM VirtualBox Disk Image >>>\n".to_vec();
    head.resize(64, 0);
    for word in [0xbeda_107f, 0x0001_0001, 0x190, kind, 0] {
        head.extend(u32::to_le_bytes(word));
    }
    head.resize(340, 0);
    let data_offset = map_offset + 4 * blocks + 3;
    for word in [map_offset, data_offset, 0, 0, 0, 512, 0] {
        head.extend(word.to_le_bytes());
    }
    head.extend((u64::from(blocks) * 512 - 100).to_le_bytes());
    for word in [512, extra, blocks, blocks / 2] {
        head.extend(u32::to_le_bytes(word));
    }
    head.extend([1; 32]);
    head.extend(if kind == 4 { [2; 32] } else { [0; 32] });
    head.resize(map_offset as usize, 0);
    for block in 0..blocks {
        let entry = match block % 4 {
            _ if kind == 2 => block,
            0 | 1 => blocks / 2 - 1 - block / 4 * 2 - block % 4,
            2 => 0xffff_ffff,
            _ => 0xffff_fffe,
        };
        head.extend(entry.to_le_bytes());
    }
    let stored = if kind == 2 { blocks } else { blocks / 2 };
    head.resize((data_offset + stored * (512 + extra)) as usize, 0);
    for (index, byte) in head.iter_mut().enumerate().skip(data_offset as usize) {
        *byte = (index / 7) as u8;
    }
    head
}

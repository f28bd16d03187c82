//! Any bytes as an image file: the descriptor or the header, and after a line `%%%%` the files of its extents, in order.

use format_vmdk::Vmdk;
use format_vmdk::layout::Writer;
use witvirt_sdk::core::format::Chunk;
use witvirt_sdk::disk::ImageWriter;
use witvirt_testkit::check_any_bytes;

/// What stands between files.
const BETWEEN: &[u8] = b"\n%%%%\n";

/// What must hold: see [`check_any_bytes`]. Whether the whole map could be read.
pub fn run(data: &[u8]) -> bool {
    let mut files = split(data).into_iter();
    let primary = files.next().unwrap_or_default();
    let files: Vec<Vec<u8>> = files.collect();
    check_any_bytes::<Vmdk>(primary, |reference| files.get(reference.id as usize - 1).cloned())
}

fn split(data: &[u8]) -> Vec<Vec<u8>> {
    let mut files = Vec::new();
    let mut rest = data;
    while let Some(at) = rest.windows(BETWEEN.len()).position(|window| window == BETWEEN) {
        files.push(rest[..at].to_vec());
        rest = &rest[at + BETWEEN.len()..];
    }
    files.push(rest.to_vec());
    files
}

/// Small sound images of every kind.
pub fn seeds() -> Vec<Vec<u8>> {
    let stream = image("{\"subformat\": \"streamOptimized\"}", true);
    let sparse = image("{}", false);
    // Without directory, footer and end mark, and then with an end mark: only the markers are left.
    let grains = [&stream[..stream.len() - 5 * 512], &[0; 512]].concat();
    let mut zeroed = sparse.clone();
    zeroed[8] |= 4;
    let flat = descriptor("monolithicFlat", "RW 8 FLAT \"a\" 1\nRW 8 ZERO", &[&[7; 9 * 512]]);
    let split =
        descriptor("twoGbMaxExtentSparse", "RW 272 SPARSE \"a\"\nRW 272 SPARSE \"b\"", &[&sparse, &zeroed]);
    let cowd = descriptor("vmfsSparse", "RW 5000 VMFSSPARSE \"a\"", &[&cowd()]);
    let se = descriptor("seSparse", "RW 32768 SESPARSE \"a\"", &[&se_sparse()]);
    vec![stream, sparse, grains, zeroed, flat, split, cowd, se]
}

fn descriptor(create_type: &str, extents: &str, files: &[&[u8]]) -> Vec<u8> {
    let mut text = format!(
        "# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=2\nparentFileNameHint=\"p\"\n\
         createType=\"{create_type}\"\n{extents}\n"
    )
    .into_bytes();
    for file in files {
        text.extend(BETWEEN);
        text.extend(*file);
    }
    text
}

/// Two grains and an eighth, of which the first and the last are stored.
fn image(options: &str, encoded: bool) -> Vec<u8> {
    let mut writer = Writer::create("vmdk", 272 * 512, options, None).expect("sound options");
    for (start, length) in [(0, 65536), (131072, 8192)] {
        let stored = if encoded { 100 } else { length };
        writer.allocate(&Chunk { start, length, stored, encoded }).expect("a sound chunk");
    }
    let mut file = Vec::new();
    loop {
        let ending = writer.finish().expect("a small image");
        file.resize(ending.size as usize, 0);
        for write in ending.writes {
            put(&mut file, write.offset as usize, &write.bytes);
        }
        if !ending.next {
            return file;
        }
    }
}

fn put(file: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    file.resize(file.len().max(offset + bytes.len()), 0);
    file[offset..offset + bytes.len()].copy_from_slice(bytes);
}

fn cowd() -> Vec<u8> {
    let mut file = b"COWD".to_vec();
    for word in [1u32, 3, 5000, 1, 4, 2, 80] {
        file.extend(word.to_le_bytes());
    }
    put(&mut file, 4 * 512, &5u32.to_le_bytes());
    put(&mut file, 5 * 512, &[37u32, 38, 0, 39].map(u32::to_le_bytes).concat());
    put(&mut file, 40 * 512 - 1, &[0]);
    file
}

fn se_sparse() -> Vec<u8> {
    let mut file = Vec::new();
    let header = [(0, 0xcafe_babe), (1, 0x2_0000_0001), (2, 32768), (3, 8), (4, 64), (10, 1), (11, 1)];
    let areas = [(16, 2), (17, 1), (18, 3), (19, 64), (24, 67), (25, 16)];
    for (index, value) in header.into_iter().chain(areas) {
        put(&mut file, index * 8, &u64::to_le_bytes(value));
    }
    put(&mut file, 512, &0xcafe_cafeu64.to_le_bytes());
    put(&mut file, 2 * 512, &(1u64 << 60).to_le_bytes());
    let entries = [3u64 << 60, 1 << 60, 2 << 60, 3 << 60 | 1 << 48];
    put(&mut file, 3 * 512, &entries.map(u64::to_le_bytes).concat());
    put(&mut file, 83 * 512 - 1, &[0]);
    file
}

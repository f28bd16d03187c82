//! Any bytes as an ASIF image file.

use format_asif::Asif;
use witvirt_testkit::check_any_bytes;

/// What must hold: see [`check_any_bytes`].
pub fn run(data: &[u8]) {
    check_any_bytes::<Asif>(data.to_vec(), |_| None);
}

/// Bytes of a chunk in the images made here, and of a block: a table has three groups of 2,048 chunks.
pub const CHUNK: usize = 1 << 16;
/// Bytes of a block.
pub const BLOCK: usize = 512;
const GROUP: usize = 2048;
const GROUP_LENGTH: usize = 8 * (GROUP + 1);
const TABLE: usize = 3 * GROUP;

/// Blocks of a chunk of which some are stored: bit n for block n. All ones: the chunk is whole.
pub type Blocks = u128;

/// An image of `size` bytes whose chunks, by their number on the disk, are stored as `chunks` says, in that order in the
/// file. The bytes of a block that is stored are the number of its chunk and block, all others of the file are 0xee.
pub fn image(size: u64, chunks: &[(usize, Blocks)]) -> Vec<u8> {
    // Chunk 0: the header and two directories, of which the second is in force.
    let mut file = vec![0; CHUNK];
    let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"shdw\0\0\0\x01\0\0\x02\0");
    put(16, &512u64.to_be_bytes());
    put(24, &32768u64.to_be_bytes());
    put(32, &[0xab; 16]);
    put(48, &(size / BLOCK as u64).to_be_bytes());
    put(56, &(1u64 << 40).to_be_bytes());
    put(64, &(CHUNK as u32).to_be_bytes());
    put(68, &(BLOCK as u16).to_be_bytes());
    put(512, &6u64.to_be_bytes());
    put(520, &[0xff; 8]);
    put(32768, &7u64.to_be_bytes());
    for (chunk, blocks) in chunks {
        let (table, in_table) = (chunk / TABLE, chunk % TABLE);
        let (group, in_group) = (in_table / GROUP, in_table % GROUP);
        let group = named(&mut file, 32776 + 8 * table, 0) * CHUNK + group * GROUP_LENGTH;
        let status = if *blocks == Blocks::MAX { 1u64 } else { 3 };
        let data = named(&mut file, group + 8 * in_group, status) * CHUNK;
        for block in 0..CHUNK / BLOCK {
            let stored = blocks >> block & 1 == 1;
            let value = if stored { fill(*chunk, block) } else { 0xee };
            file[data + block * BLOCK..data + (block + 1) * BLOCK].fill(value);
        }
        if status == 3 {
            let bitmap = named(&mut file, group + 8 * GROUP, 0) * CHUNK + in_group * (CHUNK / BLOCK / 4);
            for block in (0..CHUNK / BLOCK).filter(|block| blocks >> block & 1 == 1) {
                file[bitmap + block / 4] |= 1 << (2 * (block % 4));
            }
        }
    }
    file
}

/// What the bytes of a block are.
pub fn fill(chunk: usize, block: usize) -> u8 {
    (chunk * 31 + block * 7 + 1) as u8
}

/// The chunk that the entry at `at` names, a new one of zeros where it names none.
fn named(file: &mut Vec<u8>, at: usize, status: u64) -> usize {
    let entry: [u8; 8] = file[at..at + 8].try_into().expect("eight bytes");
    let number = u64::from_be_bytes(entry) << 9 >> 9;
    if number != 0 {
        return number as usize;
    }
    let new = file.len() / CHUNK;
    file.resize(file.len() + CHUNK, 0);
    file[at..at + 8].copy_from_slice(&(new as u64 | status << 62).to_be_bytes());
    new
}

/// Small sound images.
pub fn seeds() -> Vec<Vec<u8>> {
    vec![
        image(10 * CHUNK as u64, &[(3, Blocks::MAX), (4, 0b1011), (5, Blocks::MAX)]),
        image(8000 * CHUNK as u64, &[(7000, Blocks::MAX), (2047, 1 << 127), (2048, 1)]),
        image(1 << 38, &[]),
    ]
}

//! Any bytes as a sparse image file.

use format_sparseimage::SparseImage;
use witvirt_testkit::check_any_bytes;

/// What must hold: see [`check_any_bytes`].
pub fn run(data: &[u8]) {
    check_any_bytes::<SparseImage>(data.to_vec(), |_| None);
}

/// An image of `size` bytes with bands of `sectors` sectors: `slots` are what the header and index nodes list, in order,
/// numbers from 1. A band's bytes all are its number.
pub fn image(size: u64, sectors: u32, slots: &[u32]) -> Vec<u8> {
    let mut file = vec![0; 4096];
    let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"sprs\0\0\0\x03");
    put(8, &sectors.to_be_bytes());
    put(12, &1u32.to_be_bytes());
    put(16, &((size / 512) as u32).to_be_bytes());
    put(28, &(size / 512).to_be_bytes());
    let (first, rest) = slots.split_at(slots.len().min(1008));
    let (mut numbers, mut next) = (64, 20);
    let mut node = 0;
    for slots in std::iter::once(first).chain(rest.chunks(1010)) {
        if node > 0 || !std::ptr::eq(slots, first) {
            // Another node, behind the bands of the one before.
            let at = file.len();
            file[node + next..node + next + 8].copy_from_slice(&(at as u64).to_be_bytes());
            file.resize(at + 4096, 0);
            file[at..at + 4].copy_from_slice(b"sprs");
            (node, numbers, next) = (at, 56, 12);
        }
        for (slot, band) in slots.iter().enumerate() {
            let at = node + numbers + 4 * slot;
            file[at..at + 4].copy_from_slice(&band.to_be_bytes());
            let length = file.len() + 512 * sectors as usize;
            file.resize(length, *band as u8);
        }
    }
    file
}

/// Small sound images.
pub fn seeds() -> Vec<Vec<u8>> {
    let many: Vec<u32> = (1..=1100).rev().collect();
    vec![image(20 * 1024, 2, &[3, 4, 0, 1, 20]), image(1200 * 512, 1, &many), image(1 << 40, 2048, &[])]
}

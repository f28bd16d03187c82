//! What disks hold. Sizes are multiples of 512, and the last sector is never a hole.

use crate::Noise;

const SEED: u64 = 20_240_607;

/// Like real ones: text, noise, repeated blocks, small islands and holes.
pub fn like_real(size: usize) -> Vec<u8> {
    fill(size, 700, |noise, piece, _| match noise.below(5) {
        0 | 1 => {}
        2 => noise.fill(piece),
        3 => piece.fill(0xa5),
        _ => {
            for word in piece.chunks_mut(6) {
                let text = [b"virtual", b"machine", b"cluster"][noise.below(3) as usize];
                word.copy_from_slice(&text[..word.len()]);
            }
        }
    })
}

/// Islands of noise in holes, of a few MiB each.
pub fn islands(size: usize) -> Vec<u8> {
    fill(size, 9000, |noise, piece, _| {
        if noise.below(3) == 0 {
            noise.fill(piece);
        }
    })
}

/// Runs of at most `longest` bytes with holes between them; no two sectors near each other are alike.
pub fn stripes(size: usize, longest: u64) -> Vec<u8> {
    fill(size, longest / 512, |noise, piece, number| {
        if noise.below(3) > 0 {
            for (index, sector) in piece.chunks_mut(512).enumerate() {
                sector.fill((31 * number + index) as u8);
            }
        }
    })
}

/// Pieces of 1 to `longest` sectors, each made by `make`, which is told their number.
fn fill(size: usize, longest: u64, make: impl Fn(&mut Noise, &mut [u8], usize)) -> Vec<u8> {
    let mut content = vec![0; size];
    let mut noise = Noise::new(SEED);
    let mut rest = content.as_mut_slice();
    for number in 1.. {
        let length = (512 * (1 + noise.below(longest)) as usize).min(rest.len());
        let (piece, behind) = rest.split_at_mut(length);
        if piece.is_empty() {
            break;
        }
        make(&mut noise, piece, number);
        rest = behind;
    }
    if let Some(last) = content.last_chunk_mut::<512>() {
        last.fill(b'.');
    }
    content
}

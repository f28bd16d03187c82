//! The body of the fuzz target over its seeds and mutations of them, so that it runs with every test.

#[path = "../../../../tests/fuzz/bodies/vhdx.rs"]
mod body;

use format_vhdx::image::Image;
use witvirt_sdk::disk::ImageReader;

use crate::support::Noise;

#[test]
fn seeds_are_sound() {
    let seeds = body::seeds();
    for seed in &seeds {
        let file = body::spread(seed);
        Image::open(file).unwrap_or_else(|error| panic!("{error:?}"));
        body::run(seed);
    }
    assert!(seeds.len() >= 3);
}

#[test]
fn mutated_seeds() {
    let mut noise = Noise::new(1);
    for seed in body::seeds() {
        for _ in 0..200 {
            let mut bytes = seed.clone();
            for _ in 0..1 + noise.below(4) {
                let at = noise.below(bytes.len() as u64) as usize;
                bytes[at] = [0, 1, 0x7f, 0x80, 0xff, noise.next() as u8][noise.below(6) as usize];
            }
            if noise.below(8) == 0 {
                bytes.truncate(noise.below(bytes.len() as u64) as usize);
            }
            body::run(&bytes);
        }
    }
}

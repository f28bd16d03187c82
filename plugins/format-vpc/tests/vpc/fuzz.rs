//! The body of the fuzz target over its seeds and mutations of them, so that it runs with every test.

#[path = "../../../../tests/fuzz/bodies/vpc.rs"]
mod body;

use format_vpc::image::Image;
use witvirt_sdk::disk::ImageReader;

use crate::support::Noise;

#[test]
fn seeds_are_sound() {
    let seeds = body::seeds();
    for seed in &seeds {
        Image::open(seed.clone()).unwrap();
        body::run(seed);
    }
    assert!(seeds.len() >= 4);
}

#[test]
fn mutated_seeds() {
    let mut noise = Noise::new(1);
    for seed in body::seeds() {
        for _ in 0..800 {
            let mut file = seed.clone();
            for _ in 0..1 + noise.below(4) {
                // Most changes hit what is not the disk.
                let bound = if noise.below(4) == 0 { file.len() as u64 } else { 2048.min(file.len() as u64) };
                let at = noise.below(bound) as usize;
                file[at] = [0, 1, 0x7f, 0x80, 0xff, noise.next() as u8][noise.below(6) as usize];
            }
            if noise.below(8) == 0 {
                file.truncate(noise.below(file.len() as u64) as usize);
            }
            body::run(&file);
        }
    }
}

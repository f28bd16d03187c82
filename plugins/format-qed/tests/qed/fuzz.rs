//! The body of the fuzz target over its seeds and mutations of them, so that it runs with every test.

#[path = "../../../../tests/fuzz/bodies/qed.rs"]
pub mod body;

use format_qed::image::Image;
use witvirt_sdk::disk::ImageReader;

use crate::support::Noise;

#[test]
fn seeds_are_sound() {
    let seeds = body::seeds();
    for seed in &seeds {
        Image::open(seed.clone()).unwrap();
        body::run(seed);
    }
    assert!(seeds.len() >= 5);
}

#[test]
fn mutated_seeds() {
    let mut noise = Noise::new(1);
    for seed in body::seeds() {
        for _ in 0..1500 {
            let mut file = seed.clone();
            for _ in 0..1 + noise.below(4) {
                // Half of the changes hit the header.
                let (first, bound) = if noise.below(2) == 0 { (0, 70) } else { (0, file.len() as u64) };
                let at = (first + noise.below(bound - first)) as usize;
                file[at] = [0, 1, 0x7f, 0x80, 0xff, noise.next() as u8][noise.below(6) as usize];
            }
            if noise.below(8) == 0 {
                file.truncate(noise.below(file.len() as u64) as usize);
            }
            body::run(&file);
        }
    }
}

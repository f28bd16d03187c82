//! The body of the fuzz target over its seeds and mutations of them, so that it runs with every test.

use format_dmg::image::Image;
use witvirt_sdk::disk::ImageReader;
use witvirt_testkit::Noise;

use crate::body;

#[test]
fn seeds_are_sound() {
    for seed in body::seeds() {
        let mut image = Image::open(seed.clone()).unwrap();
        assert_eq!(image.extents(0, u64::MAX, 1000).unwrap().next, None);
        body::run(&seed);
    }
}

#[test]
fn mutated_seeds() {
    let mut noise = Noise::new(1);
    for seed in body::seeds() {
        for _ in 0..2000 {
            let mut file = seed.clone();
            for _ in 0..1 + noise.below(4) {
                // A third of the changes hit the trailer.
                let length = file.len() as u64;
                let at =
                    if noise.below(3) == 0 { length - 1 - noise.below(512) } else { noise.below(length) };
                file[at as usize] = [0, 1, 0x7f, 0x80, 0xff, noise.next() as u8][noise.below(6) as usize];
            }
            if noise.below(8) == 0 {
                // The trailer stays.
                let cut = noise.below(file.len() as u64 - 512) as usize;
                file.drain(..cut);
            }
            body::run(&file);
        }
    }
}

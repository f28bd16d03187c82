//! The body of the fuzz target over its seeds and mutations of them, so that it runs with every test.

#[path = "../../../../tests/fuzz/bodies/vhdx.rs"]
mod body;

use format_vhdx::image::Image;
use witvirt_sdk::disk::ImageReader;
use witvirt_testkit::mutations;

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
    for seed in body::seeds() {
        for file in mutations(&seed, 0..seed.len(), 200) {
            body::run(&file);
        }
    }
}

//! The body of the fuzz target over its seeds and mutations of them, so that it runs with every test.

#[path = "../../../../tests/fuzz/bodies/vpc.rs"]
mod body;

use format_vpc::image::Image;
use witvirt_sdk::disk::ImageReader;
use witvirt_testkit::mutations;

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
    for seed in body::seeds() {
        for file in mutations(&seed, 0..2048, 800) {
            body::run(&file);
        }
    }
}

//! The body of the fuzz target over its seeds and mutations of them, so that it runs with every test.

#[path = "../../../../tests/fuzz/bodies/vmdk.rs"]
mod body;

use witvirt_testkit::mutations;

#[test]
fn seeds_are_sound() {
    let seeds = body::seeds();
    for seed in &seeds {
        assert!(body::run(seed), "{:?}", String::from_utf8_lossy(&seed[..seed.len().min(700)]));
    }
    assert!(seeds.len() >= 7);
}

#[test]
fn mutated_seeds() {
    for seed in body::seeds() {
        for file in mutations(&seed, 0..900, 400) {
            body::run(&file);
        }
    }
}

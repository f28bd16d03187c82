//! The body of the fuzz target over its seeds and every one-byte change of them.

#[path = "../../../tests/fuzz/bodies/capacity.rs"]
mod body;

use policy_capacity::judge::evaluate;
use policy_capacity::settings::Settings;

#[test]
fn seeds_are_sound() {
    for seed in body::seeds() {
        let text = String::from_utf8(seed).unwrap();
        let parts: Vec<&str> = text.split('\0').collect();
        let settings = Settings::parse(parts[0]).unwrap();
        evaluate(&settings, parts[1], parts[2], parts[3]).unwrap();
    }
}

#[test]
fn mutated_seeds() {
    for seed in body::seeds() {
        for at in 0..seed.len() {
            for byte in [0, b'"', b'-', b'9', b'{', 0xff] {
                let mut text = seed.clone();
                text[at] = byte;
                body::run(&text);
            }
            body::run(&seed[..at]);
        }
    }
}

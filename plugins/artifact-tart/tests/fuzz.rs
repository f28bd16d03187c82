//! The body of the fuzz target over its seeds and mutations of them.

#[path = "../../../tests/fuzz/bodies/artifact.rs"]
mod body;

use artifact_tart::{LAYOUT, Tart};
use witvirt_sdk::artifact::{Manifest, ReadOptions, Reader};

#[test]
fn seeds_are_sound() {
    for seed in body::seeds(LAYOUT) {
        body::run::<Tart>(&seed);
        let text = String::from_utf8(seed).unwrap();
        let mut parts = text.split('\0');
        let manifest = Manifest { media_type: String::new(), text: parts.next().unwrap().to_owned() };
        assert_eq!(Tart::probe(&manifest).unwrap().layout, LAYOUT);
        let content = parts.next().unwrap_or_default().as_bytes().to_vec();
        let options = ReadOptions { layout: LAYOUT.to_owned(), member: parts.next().map(str::to_owned) };
        let needs = Tart::needs(&manifest, &options).unwrap();
        let blobs: Vec<_> = needs.into_iter().map(|digest| (digest, content.clone())).collect();
        Tart::interpret(&manifest, &blobs, &options).unwrap();
    }
}

#[test]
fn mutated_seeds() {
    for seed in body::seeds(LAYOUT) {
        for at in 0..seed.len() {
            for byte in [0, b'"', b'-', b'9', b'}', b'/', 0xff] {
                let mut text = seed.clone();
                text[at] = byte;
                body::run::<Tart>(&text);
            }
            body::run::<Tart>(&seed[..at]);
        }
    }
}

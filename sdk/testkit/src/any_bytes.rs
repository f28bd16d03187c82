//! Any bytes as an image.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use witvirt_core::extent::{ExtentKind, Reference};
use witvirt_disk::map::Validator;
use witvirt_sdk::disk::{Format, ImageReader};

use crate::noise::Noise;

/// A disk may be larger than can be followed extent by extent; this is enough for every file that fits an input.
const PAGES: usize = 2_000;
/// Extents of a page.
const MAX: u32 = 64;
/// Bytes that a page may have literally.
const LITERAL: usize = 1 << 20;

/// Opens any bytes, attaches what `part` has for the references, and follows the map. Returns whether it could be followed
/// to its end.
///
/// What must hold: nothing panics; what is claimed is one of the plugin's formats; names have no control characters; facts,
/// references and findings are within the contract's bounds, the worst findings first; each page passes the host's
/// validator; with a backing image, nothing is unallocated.
///
/// # Panics
/// When something of that does not hold.
pub fn check_any_bytes<F: Format>(file: Vec<u8>, part: impl Fn(&Reference) -> Option<Vec<u8>>) -> bool {
    let head = &file[..file.len().min(64 << 10)];
    let tail = &file[file.len() - file.len().min(4 << 10)..];
    if let Some(claim) = F::probe(head, tail, file.len() as u64) {
        assert!(
            (1..=100).contains(&claim.confidence) && F::NAMES.contains(&claim.format.as_str()),
            "{claim:?}"
        );
    }
    let mut sizes = BTreeMap::from([(0, file.len() as u64)]);
    let Ok(mut image) = F::Image::open(file) else { return false };
    assert!(image.facts().len() <= 64);
    let references = image.references();
    check_references(&references);
    for reference in references.iter().filter(|reference| !reference.is_backing()) {
        let Some(part) = part(reference) else { continue };
        sizes.insert(reference.id, part.len() as u64);
        let _ = image.attach(reference.id, part);
    }
    let backing = references.iter().any(Reference::is_backing);
    let whole = follow(&mut image, sizes, backing);
    if let Ok(findings) = image.check() {
        assert!(findings.len() <= 1000);
        assert!(findings.windows(2).all(|pair| pair[0].severity <= pair[1].severity));
    }
    whole
}

fn check_references(references: &[Reference]) {
    assert!(references.len() <= 4096);
    let ids: BTreeSet<u32> = references.iter().map(|reference| reference.id).collect();
    assert!(ids.len() == references.len() && !ids.contains(&0), "ids are unique, and never 0");
    assert!(references.iter().all(|reference| !reference.name.chars().any(char::is_control)));
}

fn follow(image: &mut impl ImageReader, sizes: BTreeMap<u32, u64>, backing: bool) -> bool {
    let geometry = image.geometry();
    assert!([512, 4096].contains(&geometry.logical_sector));
    let mut validator = Validator::new("tested", "0.0.0", geometry.virtual_size, sizes, backing);
    let mut at = 0;
    for _ in 0..PAGES {
        if at >= geometry.virtual_size {
            return true;
        }
        let Ok(page) = image.extents(at, u64::MAX, MAX) else { return false };
        // Its totals over all pages are bounds of the host that an image may pass, and no fault of the plugin.
        validator.restart();
        validator.check(at, u64::MAX, MAX, &page).unwrap_or_else(|fault| panic!("{fault}"));
        let mut literal = 0;
        for extent in &page.extents {
            assert!(!backing || extent.kind != ExtentKind::Unallocated, "what is not here is below");
            if let ExtentKind::Literal(bytes) = &extent.kind {
                literal += bytes.len();
            }
        }
        assert!(literal <= LITERAL);
        at = page.next.unwrap_or(geometry.virtual_size);
    }
    false
}

/// Asks for a few pages from each of `starts` (bytes, cut to the disk), after everything else that can be asked.
///
/// # Panics
/// When the plugin does, or when extents do not follow one another.
pub fn check_ranges(image: &mut impl ImageReader, starts: &[u64]) {
    let _ = (image.facts(), image.references(), image.check());
    let size = image.geometry().virtual_size;
    for start in starts {
        let mut at = start % size.max(1);
        for _ in 0..20 {
            let Ok(page) = image.extents(at, u64::MAX, 16) else { break };
            for extent in page.extents {
                assert_eq!(extent.start, at);
                assert!(extent.length > 0);
                at += extent.length;
                assert!(at <= size);
            }
            match page.next {
                Some(next) => assert_eq!(next, at),
                None => break,
            }
        }
    }
}

/// `count` files that differ from a sound one in a few bytes, the same ones each time. Half of the changes hit the bytes of
/// `front`; one file of eight is cut.
pub fn mutations(seed: &[u8], front: Range<usize>, count: usize) -> impl Iterator<Item = Vec<u8>> {
    let mut noise = Noise::new(1);
    let front = front.start as u64..(front.end.min(seed.len()) as u64);
    (0..count).map(move |_| {
        let mut file = seed.to_vec();
        for _ in 0..1 + noise.below(4) {
            let range = if noise.below(2) == 0 { front.clone() } else { 0..seed.len() as u64 };
            let at = (range.start + noise.below(range.end - range.start)) as usize;
            file[at] = [0, 1, 0x7f, 0x80, 0xff, noise.next() as u8][noise.below(6) as usize];
        }
        if noise.below(8) == 0 {
            file.truncate(noise.below(file.len() as u64) as usize);
        }
        file
    })
}

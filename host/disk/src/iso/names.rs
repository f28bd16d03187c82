//! What a name becomes in each of the two trees.

use std::collections::HashSet;

/// A tree's idea of names.
pub(super) trait Naming {
    /// Whether Rock Ridge entries stand beside the names.
    const ROCK_RIDGE: bool;

    /// The identifiers of the entries of one directory, in their order; each is used once. `true`: a directory.
    fn identifiers(entries: &[(&str, bool)]) -> Vec<Vec<u8>>;

    /// What entries are sorted by.
    fn order(identifier: &[u8]) -> (Vec<u8>, Vec<u8>);
}

/// ISO 9660, level 1.
pub(super) struct Primary;

/// UTF-16, big endian.
pub(super) struct Joliet;

impl Naming for Primary {
    const ROCK_RIDGE: bool = true;

    fn identifiers(entries: &[(&str, bool)]) -> Vec<Vec<u8>> {
        let mut taken = HashSet::new();
        let mut identifiers = Vec::with_capacity(entries.len());
        for (name, directory) in entries {
            let (base, extension) = match name.rsplit_once('.') {
                Some((base, extension)) if !directory => (base, extension),
                _ => (*name, ""),
            };
            let (base, extension) = (letters(base, 8), letters(extension, 3));
            let base = if base.is_empty() { "_".to_owned() } else { base };
            let tries = (0u32..).map(|attempt| match attempt {
                0 => base.clone(),
                _ => {
                    let number = attempt.to_string();
                    format!("{}{number}", &base[..base.len().min(8 - number.len())])
                }
            });
            // There are more numbers than entries.
            let found = tries.into_iter().find(|base| taken.insert((base.clone(), extension.clone())));
            let base = found.unwrap_or_default();
            identifiers.push(if *directory {
                base.into_bytes()
            } else {
                format!("{base}.{extension};1").into_bytes()
            });
        }
        identifiers
    }

    fn order(identifier: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let dot = identifier.iter().position(|byte| *byte == b'.').unwrap_or(identifier.len());
        (identifier[..dot].to_vec(), identifier[dot..].to_vec())
    }
}

/// What is left of a text in capital letters, digits and `_`.
fn letters(text: &str, most: usize) -> String {
    let letter = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    text.chars().take(most).map(letter).collect()
}

/// Units of the longest name in Joliet.
const MAX_UNITS: usize = 64;

impl Naming for Joliet {
    const ROCK_RIDGE: bool = false;

    fn identifiers(entries: &[(&str, bool)]) -> Vec<Vec<u8>> {
        let mut taken: HashSet<Vec<u16>> = HashSet::new();
        // Names that fit keep themselves, so that those that are cut have to evade.
        let units = |name: &str| name.encode_utf16().collect::<Vec<_>>();
        taken.extend(entries.iter().map(|(name, _)| units(name)).filter(|units| units.len() <= MAX_UNITS));
        let mut identifiers = Vec::with_capacity(entries.len());
        for (name, directory) in entries {
            let mut whole = units(name);
            if whole.len() > MAX_UNITS {
                let tries = (1u32..).map(|attempt| {
                    let tail = units(&format!("~{attempt}"));
                    let mut cut = whole[..MAX_UNITS - tail.len()].to_vec();
                    // Half of a pair is no character.
                    if cut.last().is_some_and(|unit| (0xd800..0xdc00).contains(unit)) {
                        cut.pop();
                    }
                    [cut, tail].concat()
                });
                whole = tries.into_iter().find(|units| taken.insert(units.clone())).unwrap_or_default();
            }
            if !directory {
                whole.extend(";1".encode_utf16());
            }
            identifiers.push(whole.into_iter().flat_map(u16::to_be_bytes).collect());
        }
        identifiers
    }

    fn order(identifier: &[u8]) -> (Vec<u8>, Vec<u8>) {
        (identifier.strip_suffix(&[0, b';', 0, b'1']).unwrap_or(identifier).to_vec(), Vec::new())
    }
}

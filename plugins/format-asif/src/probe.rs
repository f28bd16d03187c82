//! Recognising ASIF images.

use witvirt_sdk::core::extent::Probe;
use witvirt_sdk::disk::be32;

use crate::FORMAT;
use crate::header::{MAGIC, VERSION};

/// Whether a file with this head is an ASIF image.
pub fn probe(head: &[u8]) -> Option<Probe> {
    if !head.starts_with(MAGIC) {
        return None;
    }
    let version = be32(head, 4)?;
    let confidence = if version == VERSION { 100 } else { 50 };
    Some(Probe { confidence, format: FORMAT.to_owned(), version: Some(version.to_string()) })
}

#[cfg(test)]
mod tests {
    use super::probe;

    #[test]
    fn claims_its_signature() {
        let claim = |head: &[u8]| probe(head).map(|found| found.confidence);
        assert_eq!(claim(b"shdw\0\0\0\x01"), Some(100));
        assert_eq!(claim(b"shdw\0\0\0\x02"), Some(50), "so that the user reads which version it is");
        for other in [&b"shdw\0\0\0"[..], b"", b"shdx\0\0\0\x01", &[0; 512]] {
            assert_eq!(claim(other), None);
        }
    }
}

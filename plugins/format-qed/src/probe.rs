//! Recognising QED.

use witvirt_sdk::core::extent::Probe;
use witvirt_sdk::disk::le32;

use crate::FORMAT;
use crate::header::{MAGIC, legal_cluster_size};

/// Whether a file with this head is a QED image. The signature is short, so a sound cluster size has to follow for it to
/// count as certain.
pub fn probe(head: &[u8]) -> Option<Probe> {
    if le32(head, 0)? != MAGIC {
        return None;
    }
    let confidence = if legal_cluster_size(le32(head, 4)?) { 100 } else { 50 };
    Some(Probe { confidence, format: FORMAT.to_owned(), version: None })
}

#[cfg(test)]
mod tests {
    use super::probe;

    #[test]
    fn claims_its_signature_and_nothing_else() {
        let claim = |head: &[u8]| probe(head).map(|found| found.confidence);
        assert_eq!(claim(b"QED\0\0\0\x01\0\x04\0\0\0"), Some(100));
        assert_eq!(claim(b"QED\0\x01\0\0\0\x04\0\0\0"), Some(50), "so that the user reads what is wrong");
        for other in [&b"QED\0"[..], b"QED!\0\0\x01\0", b"QFI\xfb\0\0\x01\0", b""] {
            assert_eq!(claim(other), None);
        }
    }
}

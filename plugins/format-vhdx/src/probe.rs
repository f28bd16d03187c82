//! Recognising VHDX.

use witvirt_sdk::core::extent::Probe;

use crate::FORMAT;
use crate::header::SIGNATURE;

/// Whether a file with this head is a VHDX. A file that also ends in the footer of a VHD is claimed by that format, too, and
/// so refused by the host until the user says which it is.
pub fn probe(head: &[u8]) -> Option<Probe> {
    head.starts_with(SIGNATURE).then(|| Probe {
        confidence: 100,
        format: FORMAT.to_owned(),
        version: Some("1".to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::probe;

    #[test]
    fn by_its_signature() {
        assert_eq!(probe(b"vhdxfile\0\0").map(|found| found.confidence), Some(100));
        for other in [&b""[..], b"vhdx", b"vhdxfilf", b"conectix"] {
            assert_eq!(probe(other), None);
        }
    }
}

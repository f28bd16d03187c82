//! Recognising disk images.

use witvirt_sdk::core::extent::Probe;
use witvirt_sdk::disk::be32;

use crate::FORMAT;
use crate::trailer::{ENCRYPTED, ENCRYPTED_OLD, find};

/// Whether a file with this head and tail is a disk image. Encrypted ones are claimed too, so that the user reads why they
/// cannot be opened.
pub fn probe(head: &[u8], tail: &[u8]) -> Option<Probe> {
    let claim = |confidence, version| Some(Probe { confidence, format: FORMAT.to_owned(), version });
    if head.starts_with(ENCRYPTED) || tail.ends_with(ENCRYPTED_OLD) {
        return claim(100, None);
    }
    let version = be32(tail, find(tail)? + 4)?;
    claim(if version == 4 { 100 } else { 50 }, Some(version.to_string()))
}

#[cfg(test)]
mod tests {
    use super::probe;

    #[test]
    fn claims_trailers_and_encrypted_images() {
        let mut tail = vec![0; 4096];
        tail[3584..3596].copy_from_slice(b"koly\0\0\0\x04\0\0\x02\0");
        let claim = |head: &[u8], tail: &[u8]| probe(head, tail).map(|found| found.confidence);
        assert_eq!(claim(b"", &tail), Some(100));
        assert_eq!(claim(b"", &tail[3584..]), Some(100));
        tail.extend([0; 3]);
        assert_eq!(claim(b"", &tail), Some(100), "three bytes more");
        tail.push(0);
        assert_eq!(claim(b"", &tail), None);
        assert_eq!(claim(b"encrcdsa\0\0\0\x02", b""), Some(100));
        assert_eq!(claim(b"", b"....cdsaencr"), Some(100));
        assert_eq!(claim(b"koly", b"koly"), None);
        assert_eq!(claim(&[0; 4096], &[0; 4096]), None);
    }
}

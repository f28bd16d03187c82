//! Recognising VDI.

use witvirt_sdk::core::extent::Probe;
use witvirt_sdk::disk::le32;

use crate::FORMAT;
use crate::header::{SIGNATURE, SIGNATURE_OFFSET, VERSION_OFFSET};

/// Whether a file with this head is a VDI image. The text before the signature is for the eyes only and differs from
/// writer to writer.
pub fn probe(head: &[u8]) -> Option<Probe> {
    if le32(head, SIGNATURE_OFFSET)? != SIGNATURE {
        return None;
    }
    let version = le32(head, VERSION_OFFSET)?;
    let (major, minor) = (version >> 16, version & 0xffff);
    let text = head.starts_with(b"<<< ");
    let confidence = match (version, text) {
        (0x0001_0001, true) => 100,
        (0x0001_0001, false) => 80,
        // Certain enough that the user reads which version it is; four bytes deep in a file are no more.
        _ => 50,
    };
    Some(Probe { confidence, format: FORMAT.to_owned(), version: Some(format!("{major}.{minor}")) })
}

#[cfg(test)]
mod tests {
    use super::probe;

    fn head(text: &[u8], version: u32) -> Vec<u8> {
        let mut head = text.to_vec();
        head.resize(64, 0);
        head.extend([0x7f, 0x10, 0xda, 0xbe]);
        head.extend(version.to_le_bytes());
        head
    }

    #[test]
    fn claims_its_signature_and_nothing_else() {
        let claim = |head: &[u8]| probe(head).map(|found| (found.confidence, found.version.unwrap()));
        let text = b"<<< Oracle VM VirtualBox Disk Image >>>\n";
        assert_eq!(claim(&head(text, 0x10001)), Some((100, "1.1".to_owned())));
        assert_eq!(claim(&head(b"", 0x10001)), Some((80, "1.1".to_owned())));
        assert_eq!(claim(&head(text, 2)), Some((50, "0.2".to_owned())));
        for other in [&head(text, 0x10001)[..68], &[0; 512], b"", b"QFI\xfb"] {
            assert_eq!(claim(other), None);
        }
    }
}

//! Recognising qcow2.

use witvirt_sdk::core::extent::Probe;
use witvirt_sdk::disk::be32;

use crate::FORMAT;
use crate::header::MAGIC;

/// Whether a file with this head, tail and length is a qcow2 image.
///
/// A file that also ends in a VHD footer is two disks at once, depending on who reads it; nobody makes one by accident, so
/// it is not recognised and the user has to name the format. Version 1 is another format with the same magic.
pub fn probe(head: &[u8], tail: &[u8], size: u64) -> Option<Probe> {
    if be32(head, 0)? != MAGIC || has_vhd_footer(tail, size) {
        return None;
    }
    let version = be32(head, 4)?;
    let confidence = match version {
        1 => return None,
        2 | 3 => 100,
        _ => 50,
    };
    Some(Probe { confidence, format: FORMAT.to_owned(), version: Some(version.to_string()) })
}

fn has_vhd_footer(tail: &[u8], size: u64) -> bool {
    let footer = tail.len().checked_sub(512).and_then(|start| tail.get(start..));
    size > 512 && footer.is_some_and(|footer| footer.starts_with(b"conectix"))
}

#[cfg(test)]
mod tests {
    use super::probe;

    fn head(version: u32) -> Vec<u8> {
        [&b"QFI\xfb"[..], &version.to_be_bytes(), &[0; 64]].concat()
    }

    #[test]
    fn claims_its_versions_and_nothing_else() {
        let claim = |head: &[u8]| probe(head, &[], 1 << 20).map(|found| (found.confidence, found.version));
        assert_eq!(claim(&head(2)), Some((100, Some("2".to_owned()))));
        assert_eq!(claim(&head(3)), Some((100, Some("3".to_owned()))));
        assert_eq!(
            claim(&head(4)),
            Some((50, Some("4".to_owned()))),
            "so that the user reads which version it is"
        );
        for other in [&head(1)[..], b"QFI\xfb", b"QFI", b"", b"KDMV\0\0\0\x03", &[0; 512]] {
            assert_eq!(claim(other), None, "{other:?}");
        }
    }

    #[test]
    fn leaves_a_file_that_is_also_a_vhd_to_the_user() {
        let mut tail = vec![0; 4096];
        tail[4096 - 512..4096 - 504].copy_from_slice(b"conectix");
        assert_eq!(probe(&head(3), &tail, 1 << 20), None);
    }
}

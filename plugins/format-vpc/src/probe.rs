//! Recognising VHD.

use witvirt_sdk::core::extent::Probe;

use crate::FORMAT;
use crate::footer::{Footer, Kind, LENGTH, SHORT, SIGNATURE};

/// First bytes of files that are something else, and whose plugins leave a file with two faces to the user as well.
const QCOW2: &[u8] = b"QFI\xfb";

/// Whether a file with this head, tail and length is a VHD.
///
/// A fixed image is known by its end alone, and its guest decides what it begins with. Where that is the beginning of a
/// qcow2 image or of another VHD, the file is two disks at once, depending on who reads it: it is not recognised, and the
/// user has to name the format.
pub fn probe(head: &[u8], tail: &[u8], size: u64) -> Option<Probe> {
    let claim = |confidence| {
        let version = Some("1.0".to_owned());
        Some(Probe { confidence, format: FORMAT.to_owned(), version })
    };
    let first = head.get(..head.len().min(LENGTH as usize)).unwrap_or_default();
    let Some(last) = footer_of(tail) else {
        // A dynamic image that has lost its end, or one that is cut short: opening it tells.
        return first
            .starts_with(SIGNATURE)
            .then(|| claim(if Footer::parse(first).is_ok() { 100 } else { 50 }))?;
    };
    match Footer::parse(last) {
        Ok(footer) if footer.kind == Kind::Fixed => {
            let other = size > LENGTH && (head.starts_with(QCOW2) || first.starts_with(SIGNATURE));
            if other { None } else { claim(100) }
        }
        Ok(_) => claim(100),
        // So that the user reads what is wrong with it.
        Err(_) if head.starts_with(QCOW2) => None,
        Err(_) => claim(50),
    }
}

/// The footer at the end of a file, of whatever length.
fn footer_of(tail: &[u8]) -> Option<&[u8]> {
    [LENGTH, SHORT].into_iter().find_map(|length| {
        let start = tail.len().checked_sub(length as usize)?;
        tail.get(start..).filter(|bytes| bytes.starts_with(SIGNATURE))
    })
}

#[cfg(test)]
mod tests {
    use super::probe;
    use crate::footer::checksum;

    fn footer(kind: u8) -> Vec<u8> {
        let mut bytes = vec![0; 512];
        bytes[..8].copy_from_slice(b"conectix");
        bytes[13] = 1;
        bytes[63] = kind;
        let sum = checksum(&bytes, 64);
        bytes[64..68].copy_from_slice(&sum.to_be_bytes());
        bytes
    }

    fn confidence(head: &[u8], footer: &[u8]) -> Option<u8> {
        let tail = [&vec![0; 4096 - footer.len()][..], footer].concat();
        probe(head, &tail, 1 << 20).map(|found| found.confidence)
    }

    #[test]
    fn by_the_end_or_the_start() {
        assert_eq!(confidence(&[0; 4096], &footer(2)), Some(100));
        assert_eq!(confidence(&[0; 4096], &footer(2)[..511]), Some(100));
        assert_eq!(confidence(&footer(3), &footer(3)), Some(100));
        assert_eq!(confidence(&footer(4), &[0; 512]), Some(100), "without its end");
        assert_eq!(confidence(&[0; 4096], &footer(9)), Some(50));
        assert_eq!(confidence(&[0; 4096], &[0; 512]), None);
        assert_eq!(confidence(&[], &[]), None);
        assert_eq!(probe(&[], &[], 0), None);
    }

    #[test]
    fn two_disks_in_one_file() {
        assert_eq!(confidence(b"QFI\xfb\0\0\0\x03", &footer(2)), None);
        assert_eq!(confidence(&footer(3), &footer(2)), None);
        assert_eq!(confidence(&footer(2), &footer(2)), None);
    }
}

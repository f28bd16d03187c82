//! Recognising image files and descriptors.

use witvirt_sdk::core::extent::Probe;
use witvirt_sdk::disk::le32;

use crate::FORMAT;
use crate::expanding::{MAGIC, MAGIC_EXT, VERSION};

/// The root element of a descriptor.
pub(crate) const ROOT: &str = "Parallels_disk_image";
/// How far the root element of a descriptor may be from its beginning.
const PROLOGUE: usize = 4096;

/// Whether a file with this head is an expanding image or the descriptor of a bundle.
pub fn probe(head: &[u8]) -> Option<Probe> {
    let found = |confidence, version: Option<u32>| {
        let version = version.map(|version| version.to_string());
        Some(Probe { confidence, format: FORMAT.to_owned(), version })
    };
    if head.starts_with(MAGIC) || head.starts_with(MAGIC_EXT) {
        let version = le32(head, 16)?;
        return found(if version == VERSION { 100 } else { 50 }, Some(version));
    }
    is_descriptor(head).then(|| found(95, None)).flatten()
}

/// Whether text begins like a descriptor: with a tag, and the root element soon after.
pub(crate) fn is_descriptor(head: &[u8]) -> bool {
    let text = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head).trim_ascii_start();
    let prologue = text.get(..PROLOGUE).unwrap_or(text);
    let tag = format!("<{ROOT}");
    text.starts_with(b"<") && prologue.windows(tag.len()).any(|window| window == tag.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::probe;

    #[test]
    fn claims_both_signatures_and_descriptors() {
        let claim = |head: &[u8]| probe(head).map(|found| found.confidence);
        assert_eq!(claim(b"WithoutFreeSpace\x02\0\0\0"), Some(100));
        assert_eq!(claim(b"WithouFreSpacExt\x02\0\0\0"), Some(100));
        assert_eq!(
            claim(b"WithouFreSpacExt\x03\0\0\0"),
            Some(50),
            "so that the user reads which version it is"
        );
        let document = b"<?xml version='1.0'?>\n<!-- x -->\n<Parallels_disk_image Version=\"1.0\">";
        assert_eq!(claim(document), Some(95));
        assert_eq!(claim(&[b"\xef\xbb\xbf \n", &document[..]].concat()), Some(95));
        let far = [&b"<?xml?>"[..], &[b' '; 5000], b"<Parallels_disk_image>"].concat();
        for other in [&b"WithoutFreeSpace"[..], b"see <Parallels_disk_image", b"<domain>", &far, b""] {
            assert_eq!(claim(other), None);
        }
    }
}

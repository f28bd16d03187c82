//! Recognising VMDK.

use witvirt_sdk::core::extent::Probe;
use witvirt_sdk::disk::{le32, le64};

use crate::FORMAT;
use crate::descriptor::MAX_BYTES;
use crate::sparse::{cowd, hosted, se};

/// Whether a file with this head and length is a VMDK image, or an extent of one.
pub fn probe(head: &[u8], _tail: &[u8], size: u64) -> Option<Probe> {
    let found = |confidence, version: String| {
        Some(Probe { confidence, format: FORMAT.to_owned(), version: Some(version) })
    };
    if head.starts_with(hosted::MAGIC) {
        let version = le32(head, 4)?;
        return found(if (1..=3).contains(&version) { 100 } else { 50 }, version.to_string());
    }
    // Extents without a descriptor cannot be opened; the error says what to do.
    if head.starts_with(cowd::MAGIC) && le32(head, 4) == Some(1) {
        return found(70, "cowd".to_owned());
    }
    if le64(head, 0) == Some(se::MAGIC) && le64(head, 8) == Some(se::VERSION) {
        return found(90, "seSparse".to_owned());
    }
    if size <= MAX_BYTES && is_descriptor(head) {
        return found(90, "descriptor".to_owned());
    }
    None
}

/// A descriptor file begins with comments, of which the first says what it is, or with its version.
pub(crate) fn is_descriptor(head: &[u8]) -> bool {
    let text = String::from_utf8_lossy(head.get(..1024).unwrap_or(head));
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let titled = |line: &str| {
        let title = line.trim_start_matches('#').trim_start();
        title.get(..19).is_some_and(|title| title.eq_ignore_ascii_case("disk descriptorfile"))
    };
    let first = lines.next().unwrap_or_default();
    if first.starts_with('#') && titled(first) {
        return true;
    }
    let line = if first.starts_with('#') { lines.find(|line| !line.starts_with('#')) } else { Some(first) };
    // As QEMU recognises those without the title.
    line.is_some_and(|line| ["version=1", "version=2", "version=3"].contains(&line))
        && text.contains("createType")
}

#[cfg(test)]
mod tests {
    use super::probe;

    #[test]
    fn claims_images_and_nothing_else() {
        let claim = |head: &[u8]| probe(head, &[], 4096).map(|found| found.confidence);
        assert_eq!(claim(b"KDMV\x01\0\0\0"), Some(100));
        assert_eq!(claim(b"KDMV\x04\0\0\0"), Some(50), "so that the user reads which version it is");
        assert_eq!(claim(b"COWD\x01\0\0\0"), Some(70));
        assert_eq!(claim(b"\xbe\xba\xfe\xca\0\0\0\0\x01\0\0\0\x02\0\0\0"), Some(90));
        assert_eq!(claim(b"# Disk DescriptorFile\nversion=1\n"), Some(90));
        assert_eq!(claim(b"\n\n# disk descriptorfile\r\n"), Some(90));
        assert_eq!(claim(b"# made by x\nversion=3\nCID=1\ncreateType=\"vmfs\"\n"), Some(90));
        for other in
            [&b"KDM"[..], b"", b"COWD\x02\0\0\0", b"QFI\xfb\0\0\0\x03", b"# Disk", b"version=1\n", &[0; 512]]
        {
            assert_eq!(claim(other), None, "{other:?}");
        }
        assert_eq!(probe(b"# Disk DescriptorFile\n", &[], 2 << 20), None, "no descriptor is that long");
    }
}

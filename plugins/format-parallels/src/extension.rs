//! The format extension: features of an image that a reader need not know. Its structure and checksum are looked at.

use md5::{Digest, Md5};

use witvirt_sdk::disk::{MAX_READ, ReadAt, le32, le64, read_exact};

use crate::expanding::Expanding;
use crate::{Error, ErrorKind};

const MAGIC: u64 = 0xab23_4cef_23dc_ea87;
const DIRTY_BITMAP: u64 = 0x2038_5fae_252c_b34a;
/// Magic and checksum.
const HEADER: usize = 24;
/// Magic, flags, length, padding.
const FEATURE: usize = 24;
/// The features are those of a few bitmaps; no more of a large cluster is looked at.
const MAX_BYTES: u64 = 1 << 20;

/// What is wrong with the extension of an image, as a stable word and a sentence.
pub(crate) fn check<R: ReadAt>(image: &Expanding<R>) -> Result<Vec<(&'static str, String)>, Error> {
    let header = &image.header;
    let (offset, size) = (header.extension, image.source.size());
    if offset == 0 {
        return Ok(Vec::new());
    }
    let length = header.cluster_size.min(MAX_BYTES);
    let inside = offset.checked_add(header.cluster_size).is_some_and(|end| end <= size);
    if !inside || offset < header.table_end() {
        return Ok(vec![("extension", "the format extension is no cluster of the file".to_owned())]);
    }
    let bytes = match read_exact(&image.source, offset, length as usize, "the format extension") {
        Err(error) if error.kind == ErrorKind::Corrupt => return Ok(vec![("extension", error.message)]),
        other => other?,
    };
    if let Some(message) = features(&bytes) {
        return Ok(vec![("extension", message)]);
    }
    if bytes.get(8..HEADER) != Some(&checksum(image)?[..]) {
        return Ok(vec![("extension-checksum", "the checksum of the format extension is wrong".to_owned())]);
    }
    Ok(Vec::new())
}

/// Of the cluster without magic and checksum.
fn checksum<R: ReadAt>(image: &Expanding<R>) -> Result<[u8; 16], Error> {
    let start = image.header.extension + HEADER as u64;
    let length = image.header.cluster_size - HEADER as u64;
    let mut digest = Md5::new();
    for at in (0..length).step_by(MAX_READ as usize) {
        let want = (length - at).min(u64::from(MAX_READ)) as usize;
        digest.update(read_exact(&image.source, start + at, want, "the format extension")?);
    }
    Ok(digest.finalize().into())
}

fn features(bytes: &[u8]) -> Option<String> {
    if le64(bytes, 0) != Some(MAGIC) {
        return Some("the format extension has no signature".to_owned());
    }
    let mut at = HEADER;
    loop {
        let fields = (le64(bytes, at), le64(bytes, at + 8), le32(bytes, at + 16));
        let (Some(magic), Some(flags), Some(length)) = fields else {
            return Some("the format extension does not end".to_owned());
        };
        if magic == 0 {
            return None;
        }
        let data = at + FEATURE;
        let end = data.checked_add(length as usize).filter(|end| *end <= bytes.len());
        let Some(end) = end else {
            return Some("a feature of the format extension runs past its cluster".to_owned());
        };
        if magic != DIRTY_BITMAP && flags & 1 != 0 {
            return Some(format!("a feature that nobody may ignore who changes the image: {magic:#x}"));
        }
        if magic == DIRTY_BITMAP && !sound_bitmap(bytes.get(data..end).unwrap_or_default()) {
            return Some("a dirty bitmap of the format extension is not sound".to_owned());
        }
        at = end.next_multiple_of(8);
    }
}

/// Granularity and length of the table.
fn sound_bitmap(data: &[u8]) -> bool {
    let (Some(granularity), Some(entries)) = (le32(data, 24), le32(data, 28)) else { return false };
    granularity.is_power_of_two() && data.len() as u64 >= 32 + 8 * u64::from(entries)
}

#[cfg(test)]
mod tests {
    use super::{DIRTY_BITMAP, MAGIC, features};

    fn feature(magic: u64, flags: u64, data: &[u8]) -> Vec<u8> {
        let mut bytes = [magic.to_le_bytes(), flags.to_le_bytes()].concat();
        bytes.extend((data.len() as u32).to_le_bytes());
        bytes.extend([0; 4]);
        bytes.extend(data);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes
    }

    fn extension(all: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = MAGIC.to_le_bytes().to_vec();
        bytes.extend([0; 16]);
        bytes.extend(all.concat());
        bytes
    }

    #[test]
    fn walks_features() {
        let mut bitmap = vec![0; 40];
        bitmap[24] = 128;
        bitmap[28] = 1;
        let end = feature(0, 0, &[]);
        let sound = [feature(7, 2, b"abc"), feature(DIRTY_BITMAP, 1, &bitmap), end.clone()];
        assert_eq!(features(&extension(&sound)), None);
        let says = |all: &[Vec<u8>]| features(&extension(all)).unwrap();
        assert!(says(&[]).contains("does not end"));
        assert!(says(&[feature(7, 1, b""), end.clone()]).contains("nobody may ignore"));
        bitmap[28] = 2;
        assert!(says(&[feature(DIRTY_BITMAP, 1, &bitmap), end.clone()]).contains("not sound"));
        let mut long = feature(7, 0, b"");
        long[16..20].fill(0xff);
        assert!(says(&[long, end]).contains("runs past"));
        assert!(features(&[0; 64]).unwrap().contains("no signature"));
        assert!(features(b"").unwrap().contains("no signature"));
    }
}

//! How much memory a compressed stream wants, by its first bytes. Pure.

use super::transport::Transport;

/// The window that the first frame, block or member asks for, in bytes; `None` when it cannot be told, and for what is small
/// always.
pub(super) fn wanted(transport: Transport, head: &[u8]) -> Option<u64> {
    match transport {
        Transport::Zstd => zstd(head),
        Transport::Xz => xz(head),
        Transport::Lz4Apple => lz4(head),
        // 32 KiB, less than 4 MiB, none.
        Transport::Gzip | Transport::Bzip2 | Transport::Tar => Some(0),
    }
}

/// RFC 8878, 3.1.1.1.
fn zstd(head: &[u8]) -> Option<u64> {
    let descriptor = *head.get(4).filter(|_| head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]))?;
    if descriptor & 0x20 == 0 {
        let byte = *head.get(5)?;
        let base = 1u64 << (10 + (byte >> 3));
        return Some(base + base / 8 * u64::from(byte & 7));
    }
    // A single segment: the window is the content.
    let at = 5 + [0, 1, 2, 4][usize::from(descriptor & 3)];
    let length = 1 << (descriptor >> 6);
    let mut bytes = [0; 8];
    bytes[..length].copy_from_slice(head.get(at..at + length)?);
    let size = u64::from_le_bytes(bytes);
    Some(if length == 2 { size + 256 } else { size })
}

/// The .xz file format, 2.1.1 and 3.1: the dictionary of the first block's LZMA2.
fn xz(head: &[u8]) -> Option<u64> {
    let header = head.get(12..)?;
    if *header.first()? == 0 {
        // No blocks.
        return Some(0);
    }
    let flags = *header.get(1)?;
    let mut rest = header.get(2..)?;
    for _ in 0..(flags >> 6 & 1) + (flags >> 7) {
        number(&mut rest)?;
    }
    for _ in 0..=flags & 3 {
        let (id, length) = (number(&mut rest)?, number(&mut rest)?);
        let properties = rest.get(..usize::try_from(length).ok()?)?;
        rest = &rest[properties.len()..];
        if id == 0x21 {
            let bits = u32::from(*properties.first()?);
            return (bits <= 40).then(|| u64::from(2 | bits & 1) << (bits / 2 + 11));
        }
    }
    None
}

/// The .xz file format, 1.2.
fn number(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..63).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

/// The first block: as long as it is, packed and not.
fn lz4(head: &[u8]) -> Option<u64> {
    let number = |at| {
        head.get(at..at + 4).map(|bytes| u64::from(u32::from_le_bytes(bytes.try_into().unwrap_or([0; 4]))))
    };
    match head.get(..4)? {
        b"bv41" => Some(number(4)? + number(8)?),
        b"bv4-" => number(4),
        _ => Some(0),
    }
}

#[cfg(test)]
mod tests {
    use super::wanted;
    use crate::stream::Transport::{Gzip, Lz4Apple, Xz, Zstd};

    #[test]
    fn windows_are_told_by_the_first_bytes() {
        let zeros = |length: usize| vec![0; length];
        for (log, window) in [(10, 1 << 10), (23, 8 << 20), (26, 64 << 20), (27, 128 << 20)] {
            let mut encoder = zstd::stream::Encoder::new(Vec::new(), 1).unwrap();
            encoder.window_log(log).unwrap();
            std::io::Write::write_all(&mut encoder, &zeros(3 << 20)).unwrap();
            let packed = encoder.finish().unwrap();
            assert_eq!(wanted(Zstd, &packed[..18]), Some(window), "{log}");
        }
        for length in [5, 700, 70_000] {
            let packed = zstd::bulk::compress(&zeros(length), 1).unwrap();
            assert_eq!(wanted(Zstd, &packed), Some(length as u64));
        }
        for (preset, window) in [(0, 256 << 10), (6, 8 << 20), (9, 64 << 20)] {
            let options = lzma_rust2::XzOptions::with_preset(preset);
            let mut writer = lzma_rust2::XzWriter::new(Vec::new(), options).unwrap();
            std::io::Write::write_all(&mut writer, &zeros(100_000)).unwrap();
            let packed = writer.finish().unwrap();
            assert_eq!(wanted(Xz, &packed), Some(window), "{preset}");
        }
        assert_eq!(wanted(Lz4Apple, b"bv41\0\0\x01\0\x10\0\0\0"), Some(0x1_0010));
        assert_eq!(wanted(Lz4Apple, b"bv4-\0\0\x02\0"), Some(0x2_0000));
        assert_eq!(wanted(Gzip, b""), Some(0));
        for cut in 0..5 {
            assert_eq!(wanted(Zstd, &[0x28, 0xb5, 0x2f, 0xfd, 0x20][..cut]), None);
            assert_eq!(wanted(Xz, &[0xfd; 12][..cut]), None);
        }
    }
}

//! What the parser reads from.

use crate::{Error, ErrorKind};

/// The most that one read may ask for; the bound of `witvirt:disk/io`.
pub const MAX_READ: u32 = 1 << 20;

/// A sequence of bytes of fixed length.
pub trait ReadAt {
    /// Length in bytes.
    fn size(&self) -> u64;

    /// `len` bytes (at most [`MAX_READ`]) from `offset`; fewer only at the end.
    ///
    /// # Errors
    /// What the source reports.
    fn read_at(&self, offset: u64, len: u32) -> Result<Vec<u8>, Error>;
}

impl ReadAt for Vec<u8> {
    fn size(&self) -> u64 {
        self.len() as u64
    }

    fn read_at(&self, offset: u64, len: u32) -> Result<Vec<u8>, Error> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(self.len());
        let end = start.saturating_add(len as usize).min(self.len());
        Ok(self.get(start..end).unwrap_or_default().to_vec())
    }
}

/// Exactly `len` bytes from `offset`, in as many reads as that takes. `what` names the structure in errors.
///
/// # Errors
/// `corrupt` when the source ends before, or what the source reports.
pub fn read_exact<R: ReadAt + ?Sized>(
    source: &R,
    offset: u64,
    len: usize,
    what: &str,
) -> Result<Vec<u8>, Error> {
    let missing = || {
        Error::new(ErrorKind::Corrupt, format!("{what} lies past the end of the file"))
            .with("offset", hex(offset))
            .with("length", len)
            .with("file-size", hex(source.size()))
    };
    if offset.checked_add(len as u64).is_none_or(|end| end > source.size()) {
        return Err(missing());
    }
    let mut bytes = Vec::new();
    while bytes.len() < len {
        let want = (len - bytes.len()).min(MAX_READ as usize);
        let piece = source.read_at(offset + bytes.len() as u64, want as u32)?;
        if piece.len() != want {
            return Err(missing());
        }
        if bytes.is_empty() {
            bytes = piece;
        } else {
            bytes.extend_from_slice(&piece);
        }
    }
    Ok(bytes)
}

/// As offsets are shown in errors.
pub(crate) fn hex(value: u64) -> String {
    format!("{value:#x}")
}

/// The little-endian number at `offset` of `bytes`.
pub(crate) fn le16(bytes: &[u8], offset: usize) -> Option<u16> {
    let field = bytes.get(offset..offset.checked_add(2)?)?;
    Some(u16::from_le_bytes(field.try_into().ok()?))
}

/// The little-endian number at `offset` of `bytes`.
pub(crate) fn le32(bytes: &[u8], offset: usize) -> Option<u32> {
    let field = bytes.get(offset..offset.checked_add(4)?)?;
    Some(u32::from_le_bytes(field.try_into().ok()?))
}

/// The little-endian number at `offset` of `bytes`.
pub(crate) fn le64(bytes: &[u8], offset: usize) -> Option<u64> {
    let field = bytes.get(offset..offset.checked_add(8)?)?;
    Some(u64::from_le_bytes(field.try_into().ok()?))
}

//! What a parser reads from, and the numbers in it.

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

impl<T: ReadAt + ?Sized> ReadAt for &T {
    fn size(&self) -> u64 {
        T::size(self)
    }

    fn read_at(&self, offset: u64, len: u32) -> Result<Vec<u8>, Error> {
        T::read_at(self, offset, len)
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
        Error::new(ErrorKind::Corrupt, format!("{what} lies past the end of the file; it may be cut short"))
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
pub fn hex(value: u64) -> String {
    format!("{value:#x}")
}

macro_rules! numbers {
    ($($name:ident: $number:ty, $of:ident, $order:literal;)*) => {$(
        #[doc = concat!("The ", $order, " number at `offset` of `bytes`; `None` where they end before.")]
        pub fn $name(bytes: &[u8], offset: usize) -> Option<$number> {
            let field = bytes.get(offset..offset.checked_add(size_of::<$number>())?)?;
            Some(<$number>::$of(field.try_into().ok()?))
        }
    )*};
}

numbers! {
    le16: u16, from_le_bytes, "little-endian";
    le32: u32, from_le_bytes, "little-endian";
    le64: u64, from_le_bytes, "little-endian";
    be16: u16, from_be_bytes, "big-endian";
    be32: u32, from_be_bytes, "big-endian";
    be64: u64, from_be_bytes, "big-endian";
}

#[cfg(test)]
mod tests {
    use super::{ReadAt, be16, be64, le32, read_exact};

    #[test]
    fn reads_exactly_or_says_what_is_missing() {
        let source: Vec<u8> = (0..100).collect();
        assert_eq!(read_exact(&source, 10, 3, "a table").unwrap(), [10, 11, 12]);
        assert!(read_exact(&source, 100, 0, "a table").unwrap().is_empty());
        assert_eq!(source.read_at(98, 9).unwrap(), [98, 99]);
        assert!(source.read_at(u64::MAX, 9).unwrap().is_empty());
        for (offset, length) in [(98, 3), (u64::MAX, 1), (0, usize::MAX)] {
            let error = read_exact(&source, offset, length, "a table").unwrap_err();
            assert_eq!(error.message, "a table lies past the end of the file; it may be cut short");
        }
    }

    #[test]
    fn numbers_end_with_the_bytes() {
        let bytes = [1, 2, 3, 4, 5];
        assert_eq!(le32(&bytes, 1), Some(0x0504_0302));
        assert_eq!(be16(&bytes, 3), Some(0x0405));
        assert_eq!((le32(&bytes, 2), be64(&bytes, 0), be16(&bytes, usize::MAX)), (None, None, None));
    }
}

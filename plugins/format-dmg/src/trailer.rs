//! The trailer ("koly") at the end of a disk image. Numbers are big endian.

use witvirt_sdk::disk::{ReadAt, be32, be64, hex, read_exact};

use crate::{Error, ErrorKind, SECTOR};

/// First bytes of the trailer.
pub const MAGIC: &[u8; 4] = b"koly";
/// Bytes of the trailer.
pub const LENGTH: usize = 512;
/// First bytes of an encrypted image.
pub const ENCRYPTED: &[u8; 8] = b"encrcdsa";
/// Last bytes of an image encrypted in the older way.
pub const ENCRYPTED_OLD: &[u8; 8] = b"cdsaencr";

/// Some files have up to this many bytes more at their end; QEMU looks as far.
const SLACK: usize = 3;

/// A place in the file: offset and length in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fork {
    /// From the start of the file.
    pub offset: u64,
    /// In bytes.
    pub length: u64,
}

/// A checksum of up to 128 bytes; what it covers depends on where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checksum {
    /// There is none.
    None,
    /// CRC-32 as in zlib.
    Crc32(u32),
    /// Another kind, by its number.
    Other(u32),
}

/// The trailer's fields that a reader needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trailer {
    /// Where the trailer itself lies.
    pub offset: u64,
    /// Always 4.
    pub version: u32,
    /// Where the runs' bytes lie.
    pub data: Fork,
    /// A binary resource fork with the tables; length 0 where the property list has them.
    pub resources: Fork,
    /// How many files the image is spread over; 0 and 1 mean this one.
    pub segments: u32,
    /// The property list with the tables.
    pub plist: Fork,
    /// Of the data fork's bytes as they are stored.
    pub data_checksum: Checksum,
    /// Of the tables' checksums.
    pub master_checksum: Checksum,
    /// 1 a whole device, 2 a partition.
    pub variant: u32,
    /// Length of the disk in sectors of 512 bytes.
    pub sectors: u64,
}

/// Where the trailer starts in the last bytes of a file.
pub fn find(tail: &[u8]) -> Option<usize> {
    let last = tail.len().checked_sub(LENGTH)?;
    (last.saturating_sub(SLACK)..=last)
        .rev()
        .find(|start| tail[*start..].starts_with(MAGIC) && be32(tail, start + 8) == Some(LENGTH as u32))
}

impl Trailer {
    /// Reads the trailer of a file.
    ///
    /// # Errors
    /// `invalid-input` when there is none, `unsupported` for encrypted images, segments and later versions, `corrupt` when
    /// the disk is longer than a disk can be, or what the source reports.
    pub fn read<R: ReadAt>(source: &R) -> Result<Self, Error> {
        let size = source.size();
        let tail_length = size.min((LENGTH + SLACK) as u64);
        let tail = read_exact(source, size - tail_length, tail_length as usize, "the end of the file")?;
        let head = read_exact(source, 0, size.min(8) as usize, "the head of the file")?;
        if head == ENCRYPTED || tail.ends_with(ENCRYPTED_OLD) {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "the image is encrypted (encrcdsa); decrypt it first: hdiutil convert",
            ));
        }
        let start = find(&tail).ok_or_else(|| {
            Error::new(ErrorKind::InvalidInput, "not a disk image of Apple's: the trailer (koly) is missing")
        })?;
        let offset = size - tail_length + start as u64;
        let trailer = Self::parse(&tail[start..], offset)
            .ok_or_else(|| Error::new(ErrorKind::Corrupt, "the trailer is cut"))?;
        trailer.check()?;
        Ok(trailer)
    }

    fn check(&self) -> Result<(), Error> {
        let Self { version, segments, sectors, .. } = *self;
        if version != 4 {
            let message = format!("version {version} of the format is not known");
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        if segments > 1 {
            let message = format!(
                "the image is one of {segments} segments (.dmgpart); join them first: hdiutil convert"
            );
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        if sectors > i64::MAX as u64 / SECTOR {
            return Err(Error::new(ErrorKind::Corrupt, "the disk is longer than a disk can be")
                .with("sectors", hex(sectors)));
        }
        Ok(())
    }

    fn parse(bytes: &[u8], offset: u64) -> Option<Self> {
        let fork = |at| Some(Fork { offset: be64(bytes, at)?, length: be64(bytes, at + 8)? });
        Some(Self {
            offset,
            version: be32(bytes, 4)?,
            data: fork(24)?,
            resources: fork(40)?,
            segments: be32(bytes, 60)?,
            plist: fork(216)?,
            data_checksum: Checksum::parse(bytes, 80)?,
            master_checksum: Checksum::parse(bytes, 352)?,
            variant: be32(bytes, 488)?,
            sectors: be64(bytes, 492)?,
        })
    }
}

impl Checksum {
    /// The one at `at`: kind, length in bits, value.
    pub(crate) fn parse(bytes: &[u8], at: usize) -> Option<Self> {
        let (kind, bits) = (be32(bytes, at)?, be32(bytes, at + 4)?);
        Some(match (kind, bits) {
            (0, _) | (_, 0) => Self::None,
            (2, 32) => Self::Crc32(be32(bytes, at + 8)?),
            _ => Self::Other(kind),
        })
    }
}

impl std::fmt::Display for Checksum {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::None => formatter.write_str("none"),
            Self::Crc32(value) => write!(formatter, "crc32 {value:08x}"),
            Self::Other(kind) => write!(formatter, "kind {kind}"),
        }
    }
}

//! The header, and the sizes that follow from it.

use witvirt_sdk::disk::{ReadAt, be16, be32, be64, hex, read_exact};

use crate::{Error, ErrorKind};

/// First bytes of an image.
pub const MAGIC: &[u8; 4] = b"shdw";
/// The one version that is known.
pub const VERSION: u32 = 1;
/// Bytes of the header that are read.
const LENGTH: usize = 80;
/// Chunks that an image may have: 1 MiB in all seen.
const CHUNK_SIZES: std::ops::RangeInclusive<u64> = 1 << 16..=1 << 26;
/// Bytes of an entry of a directory, table or group.
pub(crate) const ENTRY: u64 = 8;

/// What the header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Unknown; 0 where seen.
    pub flags: u32,
    /// Offsets of the two directories in bytes.
    pub directories: [u64; 2],
    /// The image's identity.
    pub uuid: [u8; 16],
    /// Length of the disk in bytes.
    pub disk_size: u64,
    /// The most that it may grow to, in bytes.
    pub max_size: u64,
    /// Bytes of a chunk, a power of two.
    pub chunk_size: u64,
    /// Bytes of a block, 512 or 4096: the sectors of the disk.
    pub block_size: u64,
}

impl Header {
    /// Reads the header.
    ///
    /// # Errors
    /// `invalid-input` when it is no ASIF image, `unsupported` for another version and several segments, `corrupt` for sizes
    /// that cannot be, or what the source reports.
    pub fn read<R: ReadAt>(source: &R) -> Result<Self, Error> {
        let head = read_exact(source, 0, source.size().min(4) as usize, "the signature")?;
        if head != MAGIC {
            return Err(Error::new(ErrorKind::InvalidInput, "not an ASIF image: the signature is missing"));
        }
        let bytes = read_exact(source, 0, LENGTH, "the header")?;
        let cut = || Error::new(ErrorKind::Corrupt, "the header is cut");
        let version = be32(&bytes, 4).ok_or_else(cut)?;
        if version != VERSION {
            let message = format!("version {version} of the format is not known, only {VERSION}");
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        let segments = be16(&bytes, 70).ok_or_else(cut)?;
        if segments > 1 {
            let message = format!("the image is in {segments} segments");
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        Self::parse(&bytes).ok_or_else(cut)?.checked()
    }

    /// Lengths that overflow become `u64::MAX`, which no check passes.
    fn parse(bytes: &[u8]) -> Option<Self> {
        let block_size = u64::from(be16(bytes, 68)?);
        let blocks = |at| Some(be64(bytes, at)?.saturating_mul(block_size));
        Some(Self {
            flags: be32(bytes, 12)?,
            directories: [be64(bytes, 16)?, be64(bytes, 24)?],
            uuid: bytes.get(32..48)?.try_into().ok()?,
            disk_size: blocks(48)?,
            max_size: blocks(56)?,
            chunk_size: u64::from(be32(bytes, 64)?),
            block_size,
        })
    }

    fn checked(self) -> Result<Self, Error> {
        let corrupt = |message: &str| Err(Error::new(ErrorKind::Corrupt, format!("header: {message}")));
        if ![512, 4096].contains(&self.block_size) {
            return corrupt("blocks have neither 512 nor 4096 bytes");
        }
        if !self.chunk_size.is_power_of_two() || !CHUNK_SIZES.contains(&self.chunk_size) {
            return corrupt("chunks are no power of two from 64 KiB to 64 MiB");
        }
        if self.groups() == 0 {
            return corrupt("chunks are too small for the tables that blocks of this size need");
        }
        if self.disk_size > i64::MAX as u64 {
            return corrupt("the disk is longer than a disk can be");
        }
        if self.disk_size > self.max_size {
            return corrupt("the disk is longer than it may grow to");
        }
        Ok(self)
    }

    /// Chunks that a group has entries for.
    pub fn group_chunks(&self) -> u64 {
        4 * self.block_size
    }

    /// Bytes of a group: its entries and that of its bitmap.
    pub fn group_length(&self) -> u64 {
        ENTRY * (self.group_chunks() + 1)
    }

    /// Groups of a table.
    pub fn groups(&self) -> u64 {
        self.chunk_size / self.group_length()
    }

    /// Guest bytes that a group covers: at most 2^40.
    pub fn group_size(&self) -> u64 {
        self.group_chunks() * self.chunk_size
    }

    /// Guest bytes that a table covers.
    pub fn table_size(&self) -> u64 {
        self.groups() * self.group_size()
    }

    /// The UUID as users write it.
    pub fn id(&self) -> String {
        let digits: String = self.uuid.iter().map(|byte| format!("{byte:02x}")).collect();
        [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]].join("-")
    }
}

/// The file offset of a chunk of which `length` bytes from `skip` on are wanted.
pub(crate) fn place(
    header: &Header,
    file_size: u64,
    chunk: u64,
    skip: u64,
    length: u64,
    what: &str,
) -> Result<u64, Error> {
    let offset = chunk.checked_mul(header.chunk_size).and_then(|offset| offset.checked_add(skip));
    let offset = offset.filter(|at| at.checked_add(length).is_some_and(|end| end <= file_size));
    offset.ok_or_else(|| {
        Error::new(ErrorKind::Corrupt, format!("{what} lies past the end of the file; it may be cut short"))
            .with("chunk", hex(chunk))
            .with("file-size", hex(file_size))
    })
}

//! The header of a dynamic or differencing image.

use witvirt_sdk::disk::{ReadAt, be32, be64, hex, read_exact};

use crate::footer::{Footer, checksum};
use crate::geometry::SECTOR;
use crate::identity::Identity;
use crate::parent::Locator;
use crate::{Error, ErrorKind};

/// Bytes of a header.
pub const LENGTH: u64 = 1024;
/// Its first bytes.
pub const SIGNATURE: &[u8; 8] = b"cxsparse";
/// Where its checksum is.
pub const CHECKSUM_OFFSET: usize = 36;
/// A table entry of a block that is not in the file.
pub const UNUSED: u32 = u32::MAX;

/// The largest block that is read; its bitmap has 64 KiB.
const MAX_BLOCK: u32 = 256 << 20;
const PARENT_NAME: std::ops::Range<usize> = 64..576;
const LOCATORS: std::ops::Range<usize> = 576..768;
const LOCATOR: usize = 24;

/// What a header says. Sizes and offsets are bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Where it is.
    pub offset: u64,
    /// Where the table of blocks is.
    pub table_offset: u64,
    /// Entries of the table, at least as many as the disk has blocks.
    pub entries: u32,
    /// Size of a block, without its bitmap.
    pub block_size: u32,
    /// UUID that the parent has to have.
    pub parent_id: Identity,
    /// The parent's name, UTF-16 big-endian, padded with zeros.
    pub(crate) parent_name: Vec<u8>,
    pub(crate) locators: Vec<Locator>,
}

impl Header {
    /// Reads the header that a footer names.
    ///
    /// # Errors
    /// `corrupt` with what is wrong, `unsupported` with what is not known, or what the source reports.
    pub fn read<R: ReadAt>(source: &R, footer: &Footer) -> Result<Self, Error> {
        let offset = footer.header_offset;
        let bytes = read_exact(source, offset, LENGTH as usize, "the header")?;
        let bad = |message: &str| Error::new(ErrorKind::Corrupt, message).with("offset", hex(offset));
        if !bytes.starts_with(SIGNATURE) {
            return Err(bad("the header has no signature"));
        }
        let header = Self::fields(&bytes, offset).ok_or_else(|| bad("the header is cut short"))?;
        let (stored, computed) = (be32(&bytes, CHECKSUM_OFFSET), checksum(&bytes, CHECKSUM_OFFSET));
        if stored != Some(computed) {
            return Err(bad("the header has a wrong checksum").with("computed", hex(computed.into())));
        }
        let version = be32(&bytes, 24).unwrap_or_default();
        if version >> 16 != 1 {
            let message =
                format!("version {}.{} of the header is not known, 1.0 is", version >> 16, version & 0xffff);
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        header.check(source.size(), footer.virtual_size())?;
        Ok(header)
    }

    fn fields(bytes: &[u8], offset: u64) -> Option<Self> {
        let locators = bytes.get(LOCATORS)?.chunks_exact(LOCATOR).filter_map(Locator::parse).collect();
        Some(Self {
            offset,
            table_offset: be64(bytes, 16)?,
            entries: be32(bytes, 28)?,
            block_size: be32(bytes, 32)?,
            parent_id: Identity(bytes.get(40..56)?.try_into().ok()?),
            parent_name: bytes.get(PARENT_NAME)?.to_vec(),
            locators,
        })
    }

    fn check(&self, file_size: u64, virtual_size: u64) -> Result<(), Error> {
        if !self.block_size.is_power_of_two() || !(SECTOR as u32..=MAX_BLOCK).contains(&self.block_size) {
            let message = "the block size is no power of two from 512 bytes to 256 MiB";
            return Err(Error::new(ErrorKind::Corrupt, message).with("block-size", self.block_size));
        }
        let needed = virtual_size.div_ceil(u64::from(self.block_size));
        if u64::from(self.entries) < needed {
            return Err(Error::new(ErrorKind::Corrupt, "the table is too small for the disk")
                .with("entries", self.entries)
                .with("needed", needed));
        }
        let end = self.table_offset.checked_add(self.table_length());
        if end.is_none_or(|end| end > file_size) {
            return Err(Error::new(ErrorKind::Corrupt, "the table lies past the end of the file")
                .with("offset", hex(self.table_offset))
                .with("entries", self.entries)
                .with("file-size", hex(file_size)));
        }
        // A footer and a header lie where they were read from, so these sums are inside the file.
        let header_end = self.offset + LENGTH;
        if self.offset < crate::footer::LENGTH || self.table_offset < crate::footer::LENGTH {
            let message = "the header or the table lies on the copy of the footer";
            return Err(Error::new(ErrorKind::Corrupt, message)
                .with("header", hex(self.offset))
                .with("table", hex(self.table_offset)));
        }
        if self.table_offset < header_end && self.offset < self.table_offset + self.table_length() {
            return Err(Error::new(ErrorKind::Corrupt, "the table lies on the header")
                .with("offset", hex(self.table_offset)));
        }
        Ok(())
    }

    /// Bytes of the table.
    pub fn table_length(&self) -> u64 {
        u64::from(self.entries) * 4
    }

    /// Bytes of the bitmap in front of each block: a bit a sector, in whole sectors.
    pub fn bitmap_length(&self) -> u64 {
        (u64::from(self.block_size) / SECTOR).div_ceil(8).next_multiple_of(SECTOR)
    }
}

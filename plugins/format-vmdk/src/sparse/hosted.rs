//! The header of a hosted sparse extent ("KDMV"), and of a stream-optimised one.
//!
//! Little-endian: magic, version, flags (4 bytes each), capacity, grain size, descriptor offset, descriptor size (8 each, in
//! sectors), entries of a grain table (4), offsets of the redundant and of the primary grain directory, length of all
//! metadata (8 each, in sectors), unclean shutdown (1), four bytes that a transfer as text would change, compression (2).

use witvirt_sdk::disk::{le16, le32, le64};

use crate::sector::bytes_of;
use crate::{Error, ErrorKind};

use super::tables::Area;

/// "KDMV".
pub const MAGIC: &[u8; 4] = b"KDMV";
/// Offset of the grain directory in headers of streams: see the footer.
pub const DIRECTORY_AT_END: u64 = u64::MAX;

/// The four bytes after the header's flag of an unclean shutdown are those of [`NEWLINES`].
pub const NEWLINE_TEST: u32 = 1;
/// There is a redundant grain directory.
pub const REDUNDANT: u32 = 1 << 1;
/// Entry 1 of a table means zeros.
pub const ZEROED_GRAINS: u32 = 1 << 2;
/// Grains are compressed.
pub const COMPRESSED: u32 = 1 << 16;
/// Markers stand before grains and tables.
pub const MARKERS: u32 = 1 << 17;
const KNOWN: u32 = NEWLINE_TEST | REDUNDANT | ZEROED_GRAINS | COMPRESSED | MARKERS;

/// What [`NEWLINE_TEST`] promises.
pub const NEWLINES: &[u8; 4] = b"\n \r\n";
/// Entries of a grain table; QEMU reads no larger ones, VMware always writes 512.
const MAX_TABLE_ENTRIES: u32 = 512;
/// Sectors of a grain: 1 GiB as in QEMU, and what the host decodes at once when it is compressed.
const MAX_GRAIN: u64 = 1 << 21;
const MAX_COMPRESSED_GRAIN: u64 = 1 << 16;

/// A header that makes sense in itself. Offsets and lengths are sectors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// 1 to 3.
    pub version: u32,
    /// Bits of this module.
    pub flags: u32,
    /// Length of the disk's part that is in this file.
    pub capacity: u64,
    /// A power of two.
    pub grain: u64,
    /// First sector of the embedded descriptor.
    pub descriptor_offset: u64,
    /// 0 where there is none.
    pub descriptor_size: u64,
    /// Entries of a grain table.
    pub table_entries: u32,
    /// Only with [`REDUNDANT`].
    pub redundant_offset: u64,
    /// Or [`DIRECTORY_AT_END`].
    pub directory_offset: u64,
    /// Where grains may begin.
    pub overhead: u64,
    /// Whether the last writer did not close it.
    pub unclean: bool,
    /// Whether grains are zlib streams.
    pub compressed: bool,
}

impl Header {
    /// Parses and checks a header of 512 bytes.
    ///
    /// # Errors
    /// `invalid-input` without the magic, `unsupported` for versions, flags and compressions that are not known, `corrupt`
    /// with what is wrong.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        if !bytes.starts_with(MAGIC) {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                "not a sparse VMDK extent: the signature is missing",
            ));
        }
        let word = |offset| le32(bytes, offset).unwrap_or_default();
        let long = |offset| le64(bytes, offset).unwrap_or_default();
        let compression = le16(bytes, 77).unwrap_or_default();
        let header = Self {
            version: word(4),
            flags: word(8),
            capacity: long(12),
            grain: long(20),
            descriptor_offset: long(28),
            descriptor_size: long(36),
            table_entries: word(44),
            redundant_offset: long(48),
            directory_offset: long(56),
            overhead: long(64),
            unclean: bytes.get(72).is_some_and(|byte| *byte != 0),
            compressed: compression == 1,
        };
        header.check(compression, bytes.get(73..77).unwrap_or_default())?;
        Ok(header)
    }

    fn check(&self, compression: u16, newlines: &[u8]) -> Result<(), Error> {
        let unsupported = |message: String| Err(Error::new(ErrorKind::Unsupported, message));
        if !(1..=3).contains(&self.version) {
            return unsupported(format!("sparse extents of version {} are not supported", self.version));
        }
        let unknown = self.flags & !KNOWN;
        if unknown != 0 {
            return unsupported(format!("the flag of bit {} is not known", unknown.trailing_zeros()));
        }
        if self.has(NEWLINE_TEST) && newlines != NEWLINES {
            return Err(corrupt("the file was changed on its way by a transfer as text"));
        }
        if compression > 1 {
            return unsupported(format!("compression {compression} is not supported"));
        }
        if self.has(COMPRESSED) != self.compressed {
            return Err(corrupt("the header's compression and its flag for it disagree")
                .with("flags", format!("{:#x}", self.flags))
                .with("compression", compression));
        }
        let largest = if self.compressed { MAX_COMPRESSED_GRAIN } else { MAX_GRAIN };
        if !self.grain.is_power_of_two() || self.grain > largest {
            return Err(corrupt("the size of a grain has to be a power of two")
                .with("grain-sectors", self.grain)
                .with("largest", largest));
        }
        if !(1..=MAX_TABLE_ENTRIES).contains(&self.table_entries) {
            return Err(corrupt("a grain table has 1 to 512 entries").with("entries", self.table_entries));
        }
        if self.capacity == 0 || bytes_of(self.capacity).is_none() {
            return Err(corrupt("the capacity makes no sense").with("capacity-sectors", self.capacity));
        }
        if self.directory_offset == 0 {
            return Err(corrupt("the header does not say where the grain directory is"));
        }
        Ok(())
    }

    /// Whether a flag is set.
    pub fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }

    /// What lies at fixed places. `size` is the length of a grain directory in bytes.
    pub(super) fn fixed(&self, size: u64) -> Result<Vec<(&'static str, Area)>, Error> {
        let mut fixed = vec![("the header", Area { offset: 0, length: 512 })];
        if self.descriptor_size > 0 {
            fixed.push(("the descriptor", self.descriptor()?));
        }
        // Only a promise of the flag makes the field mean anything.
        if self.has(REDUNDANT)
            && let Some(offset) = bytes_of(self.redundant_offset).filter(|offset| *offset > 0)
        {
            fixed.push(("the redundant grain directory", Area { offset, length: size }));
        }
        Ok(fixed)
    }

    /// Where the embedded descriptor is, in bytes.
    pub(crate) fn descriptor(&self) -> Result<Area, Error> {
        Area::of_sectors(self.descriptor_offset, self.descriptor_size)
            .filter(|area| area.offset > 0)
            .ok_or_else(|| corrupt("the place of the descriptor makes no sense"))
    }

    /// Whether a footer describes the same extent.
    pub(super) fn agrees(&self, footer: &Self) -> bool {
        self.version == footer.version
            && self.flags == footer.flags
            && self.capacity == footer.capacity
            && self.grain == footer.grain
            && self.table_entries == footer.table_entries
            && self.compressed == footer.compressed
    }
}

fn corrupt(message: &str) -> Error {
    Error::new(ErrorKind::Corrupt, message)
}

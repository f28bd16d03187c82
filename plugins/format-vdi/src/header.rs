//! The header of version 1.1, with or without the field that was added at its end.

use std::fmt;

use witvirt_sdk::disk::{ReadAt, hex, le32, le64, read_exact};

use crate::{Error, ErrorKind};

/// What marks a VDI, at byte 64.
pub const SIGNATURE: u32 = 0xbeda_107f;
pub(crate) const SIGNATURE_OFFSET: usize = 64;
pub(crate) const VERSION_OFFSET: usize = 68;
pub(crate) const VERSION: u32 = 0x0001_0001;

/// Bytes before the part of the header that counts its own length.
pub(crate) const PRE_HEADER: u64 = 72;
/// Length that the header says of itself, at least: what came first ends with the UUIDs.
const MIN_LENGTH: u32 = 0x180;
/// End of the part that every 1.1 header has.
pub(crate) const HEADER_END: usize = PRE_HEADER as usize + MIN_LENGTH as usize;

pub(crate) const SECTOR: u64 = 512;

/// Map entry of a block that was never written.
pub(crate) const FREE: u32 = 0xffff_ffff;
/// Map entry of a block that reads as zeros.
pub(crate) const ZERO: u32 = 0xffff_fffe;

/// A UUID as the file has it: the first three fields little-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Uuid(pub [u8; 16]);

impl Uuid {
    fn at(bytes: &[u8], offset: usize) -> Option<Self> {
        Some(Self(bytes.get(offset..offset + 16)?.try_into().ok()?))
    }

    /// Whether it stands for none.
    pub fn is_null(self) -> bool {
        self.0 == [0; 16]
    }

    /// From text, with or without braces; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let digits: Vec<u8> = text.trim_matches(['{', '}']).bytes().filter(|byte| *byte != b'-').collect();
        let sound = digits.len() == 32 && digits.iter().all(u8::is_ascii_hexdigit);
        let number = u128::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok().filter(|_| sound)?;
        Some(Self(swap(number.to_be_bytes())))
    }
}

/// Between the order of the file and the order of the text.
fn swap(b: [u8; 16]) -> [u8; 16] {
    [b[3], b[2], b[1], b[0], b[5], b[4], b[7], b[6], b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]]
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in swap(self.0).iter().enumerate() {
            let dash = if matches!(index, 4 | 6 | 8 | 10) { "-" } else { "" };
            write!(f, "{dash}{byte:02x}")?;
        }
        Ok(())
    }
}

/// How an image is allocated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Blocks are added when they are first written.
    Dynamic,
    /// Every block is there.
    Static,
    /// What is not there is in the parent.
    Differencing,
}

impl Kind {
    /// The number in the header.
    pub(crate) fn number(self) -> u32 {
        match self {
            Self::Dynamic => 1,
            Self::Static => 2,
            Self::Differencing => 4,
        }
    }

    /// A word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dynamic => "dynamic",
            Self::Static => "static",
            Self::Differencing => "differencing",
        }
    }
}

/// A checked header. Offsets and sizes are bytes of the file unless said otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// How it is allocated.
    pub kind: Kind,
    /// Where the map of blocks begins.
    pub map_offset: u64,
    /// Where block 0 of the file begins; not before the end of the map.
    pub data_offset: u64,
    /// As stored; a guest sees whole sectors.
    pub disk_size: u64,
    /// A power of two, at least 512.
    pub block_size: u32,
    /// Bytes before the data of each block that are no data.
    pub block_extra: u32,
    /// Entries of the map, enough for the disk.
    pub blocks: u32,
    /// Blocks that are in the file, as the header says.
    pub allocated: u32,
    /// Identity of the image.
    pub id: Uuid,
    /// Changes with the content.
    pub modification: Uuid,
    /// Identity of the parent; null where there is none.
    pub linkage: Uuid,
    /// The parent's modification when this image was made.
    pub parent_modification: Uuid,
}

impl Header {
    /// Reads and checks the header.
    ///
    /// # Errors
    /// `invalid-input` when it is no VDI, `unsupported` with what is, `corrupt` with what is wrong.
    pub fn read<R: ReadAt>(source: &R) -> Result<Self, Error> {
        let front = source.read_at(0, HEADER_END as u32)?;
        check_version(&front)?;
        let bytes = read_exact(source, 0, HEADER_END, "the header")?;
        let header = Self::parse(&bytes).ok_or_else(|| corrupt("the header is too short"))??;
        header.check(source.size())?;
        Ok(header)
    }

    /// `None` when the bytes end too early.
    fn parse(bytes: &[u8]) -> Option<Result<Self, Error>> {
        let length = le32(bytes, 72)?;
        if length < MIN_LENGTH {
            return Some(Err(corrupt("the header's length is too small for version 1.1")
                .with("length", length)
                .with("at-least", MIN_LENGTH)));
        }
        let sector = le32(bytes, 360)?;
        if sector != 0 && u64::from(sector) != SECTOR {
            return Some(Err(Error::new(
                ErrorKind::Unsupported,
                format!("sectors of {sector} bytes: VDI images have sectors of 512 bytes"),
            )));
        }
        let kind = match kind(le32(bytes, 76)?) {
            Ok(kind) => kind,
            Err(error) => return Some(Err(error)),
        };
        Some(Ok(Self {
            kind,
            map_offset: u64::from(le32(bytes, 340)?),
            data_offset: u64::from(le32(bytes, 344)?),
            disk_size: le64(bytes, 368)?,
            block_size: le32(bytes, 376)?,
            block_extra: le32(bytes, 380)?,
            blocks: le32(bytes, 384)?,
            allocated: le32(bytes, 388)?,
            id: Uuid::at(bytes, 392)?,
            modification: Uuid::at(bytes, 408)?,
            linkage: Uuid::at(bytes, 424)?,
            parent_modification: Uuid::at(bytes, 440)?,
        }))
    }

    fn check(&self, file_size: u64) -> Result<(), Error> {
        if !self.block_size.is_power_of_two() || u64::from(self.block_size) < SECTOR {
            return Err(
                corrupt("the block size is no power of two from 512").with("block-size", self.block_size)
            );
        }
        let room = u64::from(self.blocks) * u64::from(self.block_size);
        if self.disk_size > room {
            return Err(corrupt("the map has fewer blocks than the disk needs")
                .with("disk-size", self.disk_size)
                .with("blocks", self.blocks)
                .with("block-size", self.block_size));
        }
        if self.map_offset < HEADER_END as u64 {
            return Err(corrupt("the map of blocks overlaps the header").with("offset", hex(self.map_offset)));
        }
        let map_end = self.map_offset + self.map_length();
        if map_end > file_size {
            return Err(corrupt("the map of blocks lies past the end of the file; it may be cut short")
                .with("offset", hex(self.map_offset))
                .with("blocks", self.blocks)
                .with("file-size", hex(file_size)));
        }
        if self.data_offset < map_end {
            return Err(corrupt("the data begins inside the map of blocks")
                .with("data-offset", hex(self.data_offset))
                .with("map-end", hex(map_end)));
        }
        match (self.kind, self.linkage.is_null()) {
            (Kind::Differencing, true) => {
                Err(corrupt("a differencing image that does not say what it differs from")
                    .with("type", Kind::Differencing.number()))
            }
            (Kind::Dynamic | Kind::Static, false) => {
                Err(corrupt("a base image that names a parent; its type or its linkage is wrong")
                    .with("type", self.kind.number())
                    .with("linkage", self.linkage))
            }
            _ => Ok(()),
        }
    }

    /// Size of the disk in whole sectors.
    pub fn virtual_size(&self) -> u64 {
        self.disk_size.next_multiple_of(SECTOR)
    }

    /// Length of the map.
    pub(crate) fn map_length(&self) -> u64 {
        4 * u64::from(self.blocks)
    }

    /// From one block of the file to the next.
    pub(crate) fn stride(&self) -> u64 {
        u64::from(self.block_size) + u64::from(self.block_extra)
    }

    /// First byte of data of a block of the file.
    pub(crate) fn block_offset(&self, block: u32) -> u64 {
        self.data_offset + u64::from(block) * self.stride() + u64::from(self.block_extra)
    }
}

fn check_version(front: &[u8]) -> Result<(), Error> {
    if le32(front, SIGNATURE_OFFSET) != Some(SIGNATURE) {
        return Err(Error::new(ErrorKind::InvalidInput, "not a VDI image: the signature is missing"));
    }
    match le32(front, VERSION_OFFSET) {
        Some(VERSION) => Ok(()),
        Some(other) => Err(Error::new(
            ErrorKind::Unsupported,
            format!(
                "VDI version {}.{}: this plugin reads version 1.1; VirtualBox converts others",
                other >> 16,
                other & 0xffff
            ),
        )),
        None => Err(corrupt("the header is too short")),
    }
}

fn kind(number: u32) -> Result<Kind, Error> {
    match number {
        1 => Ok(Kind::Dynamic),
        2 => Ok(Kind::Static),
        3 => Err(Error::new(
            ErrorKind::Unsupported,
            "an undo image: only dynamic, static and differencing images are read",
        )),
        4 => Ok(Kind::Differencing),
        other => Err(corrupt("an unknown image type").with("type", other)),
    }
}

fn corrupt(message: &str) -> Error {
    Error::new(ErrorKind::Corrupt, message)
}

#[cfg(test)]
mod tests {
    use super::Uuid;

    #[test]
    fn uuids_read_as_virtualbox_writes_them() {
        let id = Uuid([
            0xf2, 0x9e, 0xbb, 0x12, 0x66, 0x38, 0x3a, 0x44, 0xbe, 0xb7, 0x3d, 0x97, 0xf0, 0x46, 0xc1, 0x28,
        ]);
        assert_eq!(id.to_string(), "12bb9ef2-3866-443a-beb7-3d97f046c128");
        assert_eq!(Uuid::parse("{12BB9EF2-3866-443a-beb7-3d97f046c128}"), Some(id));
        for bad in
            ["", "12bb9ef2", "12bb9ef2-3866-443a-beb7-3d97f046c1zz", "+2bb9ef2-3866-443a-beb7-3d97f046c128"]
        {
            assert_eq!(Uuid::parse(bad), None, "{bad}");
        }
    }
}

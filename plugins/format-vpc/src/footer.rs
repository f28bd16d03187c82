//! The footer: what kind of image it is, and how big the disk.

use witvirt_sdk::disk::{ReadAt, be16, be32, be64, hex, read_exact};

use crate::geometry::Geometry;
use crate::identity::Identity;
use crate::{Error, ErrorKind};

/// Bytes of a footer.
pub const LENGTH: u64 = 512;
/// Bytes of a footer at the end of an image that Virtual PC made before 2004.
pub const SHORT: u64 = 511;
/// First bytes of every footer.
pub const SIGNATURE: &[u8; 8] = b"conectix";
/// Where the checksum is.
pub const CHECKSUM_OFFSET: usize = 64;
/// The largest disk: what Hyper-V makes, and what 32-bit sector numbers can reach.
pub const MAX_SIZE: u64 = 2040 << 30;

/// Creators whose readers and writers go by the geometry.
const BY_GEOMETRY: [&[u8; 4]; 2] = [b"vpc ", b"qemu"];

/// How the disk is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The disk as it is.
    Fixed,
    /// Blocks as they were written to.
    Dynamic,
    /// What differs from a parent.
    Differencing,
}

impl Kind {
    /// As in the footer.
    pub fn number(self) -> u32 {
        match self {
            Self::Fixed => 2,
            Self::Dynamic => 3,
            Self::Differencing => 4,
        }
    }

    /// In facts.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fixed => "fixed",
            Self::Dynamic => "dynamic",
            Self::Differencing => "differencing",
        }
    }

    fn from_number(number: u32) -> Option<Self> {
        [Self::Fixed, Self::Dynamic, Self::Differencing].into_iter().find(|kind| kind.number() == number)
    }
}

/// What a footer says. Sizes and offsets are bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Footer {
    /// How the disk is stored.
    pub kind: Kind,
    /// Where the header of a dynamic or differencing image is.
    pub header_offset: u64,
    /// Seconds since 2000-01-01 00:00 UTC.
    pub timestamp: u32,
    /// The program that made the image; any bytes.
    pub creator: [u8; 4],
    /// Size of the disk when it was made.
    pub original_size: u64,
    /// Size of the disk, unless the geometry counts.
    pub current_size: u64,
    /// Geometry of the disk.
    pub geometry: Geometry,
    /// UUID of the image.
    pub id: Identity,
}

impl Footer {
    /// Reads a footer of 512 or 511 bytes.
    ///
    /// # Errors
    /// `invalid-input` without the signature, `corrupt` with a wrong checksum, `unsupported` with what is not known.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        if !bytes.starts_with(SIGNATURE) {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                "not a vhd image: there is no footer at its end or start",
            ));
        }
        let short = || Error::new(ErrorKind::Corrupt, "the footer is cut short").with("length", bytes.len());
        if (bytes.len() as u64) < SHORT {
            return Err(short());
        }
        let stored = be32(bytes, CHECKSUM_OFFSET).ok_or_else(short)?;
        let computed = checksum(bytes, CHECKSUM_OFFSET);
        if stored != computed {
            return Err(Error::new(ErrorKind::Corrupt, "the footer has a wrong checksum")
                .with("stored", hex(stored.into()))
                .with("computed", hex(computed.into())));
        }
        Self::fields(bytes).ok_or_else(short)?
    }

    fn fields(bytes: &[u8]) -> Option<Result<Self, Error>> {
        let version = be32(bytes, 12)?;
        if version >> 16 != 1 {
            let message = format!("vhd version {}.{} is not known, 1.0 is", version >> 16, version & 0xffff);
            return Some(Err(Error::new(ErrorKind::Unsupported, message)));
        }
        let number = be32(bytes, 60)?;
        let Some(kind) = Kind::from_number(number) else {
            let message =
                format!("vhd type {number} is not known; 2 (fixed), 3 (dynamic) and 4 (differencing) are");
            return Some(Err(Error::new(ErrorKind::Unsupported, message)));
        };
        let geometry =
            Geometry { cylinders: be16(bytes, 56)?, heads: *bytes.get(58)?, sectors: *bytes.get(59)? };
        Some(Ok(Self {
            kind,
            header_offset: be64(bytes, 16)?,
            timestamp: be32(bytes, 24)?,
            creator: bytes.get(28..32)?.try_into().ok()?,
            original_size: be64(bytes, 40)?,
            current_size: be64(bytes, 48)?,
            geometry,
            id: Identity(bytes.get(68..84)?.try_into().ok()?),
        }))
    }

    /// Whether the geometry says how big the disk is.
    pub fn by_geometry(&self) -> bool {
        BY_GEOMETRY.contains(&&self.creator) && self.geometry != Geometry::MAX && self.geometry.bytes() != 0
    }

    /// Size of the disk in bytes.
    pub fn virtual_size(&self) -> u64 {
        if self.by_geometry() { self.geometry.bytes() } else { self.current_size }
    }

    /// Whether the copy of a footer at the start of the file is about the same disk as the one at its end.
    fn agrees(&self, copy: &Self) -> bool {
        let what = |footer: &Self| (footer.kind, footer.header_offset, footer.virtual_size(), footer.id);
        what(self) == what(copy)
    }
}

/// A file's footers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Footers {
    /// The one that counts.
    pub footer: Footer,
    /// Where the footer at the end begins; the length of the file where there is none.
    pub end: u64,
    /// Whether there is one at the end.
    pub at_end: bool,
}

impl Footers {
    /// Finds the footers of a file.
    ///
    /// # Errors
    /// As [`Footer::parse`]; `corrupt` also when there are two that do not agree.
    pub fn read<R: ReadAt>(source: &R) -> Result<Self, Error> {
        let size = source.size();
        let head = read_exact(source, 0, size.min(LENGTH) as usize, "the first sector")?;
        let tail = tail(source)?;
        let Some((end, tail)) = tail else {
            let footer = Footer::parse(&head)?;
            if footer.kind == Kind::Fixed {
                let message =
                    "the image is fixed, and its footer is not at the end of the file; it may be cut short";
                return Err(Error::new(ErrorKind::Corrupt, message).with("file-size", hex(size)));
            }
            check_size(&footer)?;
            return Ok(Self { footer, end: size, at_end: false });
        };
        let footer = Footer::parse(&tail).map_err(|error| error.with("offset", hex(end)))?;
        check_size(&footer)?;
        // What a fixed image begins with is the disk, whatever it looks like.
        if footer.kind != Kind::Fixed && end != 0 {
            let copy = Footer::parse(&head).map_err(|error| Error {
                message: format!("the copy of the footer at the start of the file: {}", error.message),
                kind: ErrorKind::Corrupt,
                ..error
            })?;
            if !footer.agrees(&copy) {
                let message =
                    "the footer at the end of the file and its copy at the start are about different disks";
                return Err(Error::new(ErrorKind::Corrupt, message)
                    .with("end", describe(&footer))
                    .with("start", describe(&copy)));
            }
        }
        Ok(Self { footer, end, at_end: true })
    }
}

/// The footer at the end, where there is one, and its offset.
fn tail<R: ReadAt>(source: &R) -> Result<Option<(u64, Vec<u8>)>, Error> {
    for length in [LENGTH, SHORT] {
        let Some(end) = source.size().checked_sub(length) else { continue };
        let bytes = read_exact(source, end, length as usize, "the footer")?;
        if bytes.starts_with(SIGNATURE) {
            return Ok(Some((end, bytes)));
        }
    }
    Ok(None)
}

fn check_size(footer: &Footer) -> Result<(), Error> {
    if footer.virtual_size() > MAX_SIZE {
        return Err(Error::new(ErrorKind::Corrupt, "the disk is larger than 2040 GiB, which no vhd can be")
            .with("virtual-size", footer.virtual_size()));
    }
    Ok(())
}

fn describe(footer: &Footer) -> String {
    format!(
        "{}, {} bytes, header at {}, id {}",
        footer.kind.name(),
        footer.virtual_size(),
        hex(footer.header_offset),
        footer.id
    )
}

/// The complement of the sum of all bytes but the four of the checksum itself at `skip`.
pub fn checksum(bytes: &[u8], skip: usize) -> u32 {
    let counted = |(at, _): &(usize, &u8)| !(skip..skip + 4).contains(at);
    let sum = bytes
        .iter()
        .enumerate()
        .filter(counted)
        .fold(0u32, |sum, (_, byte)| sum.wrapping_add(u32::from(*byte)));
    !sum
}

#[cfg(test)]
mod tests {
    use super::{Footer, Kind, checksum};

    /// The footer of a Virtual PC disk of 127 GiB, as it is in a file.
    fn footer(creator: &[u8; 4]) -> Vec<u8> {
        let mut bytes = vec![0; 512];
        bytes[..8].copy_from_slice(b"conectix");
        bytes[11] = 2;
        bytes[13] = 1;
        bytes[22] = 2;
        bytes[28..32].copy_from_slice(creator);
        bytes[40..48].copy_from_slice(&136_365_211_648u64.to_be_bytes());
        bytes[48..56].copy_from_slice(&136_365_211_648u64.to_be_bytes());
        bytes[56..60].copy_from_slice(&[0xfe, 0xfe, 16, 255]);
        bytes[63] = 3;
        let sum = checksum(&bytes, 64);
        bytes[64..68].copy_from_slice(&sum.to_be_bytes());
        bytes
    }

    #[test]
    fn whose_size_counts() {
        let size = |creator| Footer::parse(&footer(creator)).unwrap().virtual_size();
        for creator in [b"vpc ", b"qemu"] {
            assert_eq!(size(creator), 136_363_130_880);
        }
        for creator in [b"win ", b"qem2", b"d2v\0", b"tap\0", b"CTXS", b"wa\0\0", b"vbox"] {
            assert_eq!(size(creator), 136_365_211_648);
        }
    }

    #[test]
    fn reads_what_it_knows() {
        let parsed = Footer::parse(&footer(b"win ")).unwrap();
        assert_eq!((parsed.kind, parsed.header_offset), (Kind::Dynamic, 512));
        let mut short = footer(b"win ");
        short.truncate(511);
        assert_eq!(Footer::parse(&short).unwrap(), parsed, "the last byte is 0, so the sum is the same");
        for length in 0..511 {
            Footer::parse(&short[..length]).unwrap_err();
        }
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        for (offset, value, part) in
            [(0, 0, "no footer"), (100, 1, "checksum"), (13, 2, "checksum"), (64, 0, "checksum")]
        {
            let mut bytes = footer(b"win ");
            bytes[offset] = value;
            let error = Footer::parse(&bytes).unwrap_err();
            assert!(error.message.contains(part), "{error:?}");
        }
        for (offset, value, part) in [(13, 2, "version 2.0"), (63, 5, "type 5"), (63, 0, "type 0")] {
            let mut bytes = footer(b"win ");
            bytes[offset] = value;
            let sum = checksum(&bytes, 64);
            bytes[64..68].copy_from_slice(&sum.to_be_bytes());
            let error = Footer::parse(&bytes).unwrap_err();
            assert!(error.message.contains(part), "{error:?}");
        }
    }
}

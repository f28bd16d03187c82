//! The header.

use witvirt_sdk::disk::{ReadAt, be32, be64, hex, read_exact};

use crate::{Error, ErrorKind, SECTOR};

/// First bytes of the header and of every index node.
pub const MAGIC: &[u8; 4] = b"sprs";
/// The one version that is known.
pub const VERSION: u32 = 3;
/// Bytes of the header and of every index node.
pub const NODE: usize = 4096;
/// Where the header's band numbers start.
pub(crate) const BANDS: usize = 64;

/// What the header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Bytes of a band.
    pub band_size: u64,
    /// Length of the disk in bytes.
    pub disk_size: u64,
    /// 1 in all images seen; what it means is not known.
    pub flags: u32,
}

impl Header {
    /// The header, and the bytes of the node that it is in.
    ///
    /// # Errors
    /// `invalid-input` when it is no sparse image, `unsupported` for another version, `corrupt` for sizes that cannot be, or
    /// what the source reports.
    pub fn read<R: ReadAt>(source: &R) -> Result<(Self, Vec<u8>), Error> {
        let head = read_exact(source, 0, source.size().min(4) as usize, "the signature")?;
        if head != MAGIC {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                "not a sparse image of Apple's: the signature is missing",
            ));
        }
        let node = read_exact(source, 0, NODE, "the header")?;
        let header = Self::parse(&node)?;
        Ok((header, node))
    }

    fn parse(node: &[u8]) -> Result<Self, Error> {
        let corrupt = |message: &str| Error::new(ErrorKind::Corrupt, format!("header: {message}"));
        let word = |at| be32(node, at).ok_or_else(|| corrupt("cut"));
        let version = word(4)?;
        if version != VERSION {
            let message = format!("version {version} of the format is not known, only {VERSION}");
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        let band_size = u64::from(word(8)?) * SECTOR;
        if band_size == 0 {
            return Err(corrupt("bands have no sectors"));
        }
        let (low, whole) = (word(16)?, be64(node, 28).ok_or_else(|| corrupt("cut"))?);
        // Whoever writes small images only may leave the long field out.
        let sectors = if whole == 0 { u64::from(low) } else { whole };
        if sectors as u32 != low {
            return Err(corrupt("two lengths of the disk contradict each other")
                .with("low", hex(low.into()))
                .with("whole", hex(whole)));
        }
        let disk_size = sectors.checked_mul(SECTOR).filter(|size| *size <= i64::MAX as u64);
        let disk_size = disk_size.ok_or_else(|| corrupt("the disk is longer than a disk can be"))?;
        Ok(Self { band_size, disk_size, flags: word(12)? })
    }

    /// How many bands the disk has.
    pub fn bands(&self) -> u64 {
        self.disk_size.div_ceil(self.band_size)
    }
}

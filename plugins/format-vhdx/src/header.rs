//! The signature and the two headers.

use witvirt_sdk::disk::{ReadAt, hex, le16, le32, le64, read_exact};

use crate::guid::Guid;
use crate::{Error, ErrorKind, KIB, MIB, corrupt, crc32c};

/// First bytes of every VHDX.
pub const SIGNATURE: &[u8; 8] = b"vhdxfile";
/// Where the headers are.
pub const OFFSETS: [u64; 2] = [64 * KIB, 128 * KIB];
/// Bytes of a header.
pub const LENGTH: u64 = 4 * KIB;
/// First bytes of a header.
pub const HEADER_SIGNATURE: &[u8; 4] = b"head";
/// Bytes of the creator's name, UTF-16, behind the signature.
const CREATOR: usize = 512;

/// What a header says. Sizes and offsets are bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The higher, the newer.
    pub sequence: u64,
    /// Changes with every opening for writing.
    pub file_write_id: Guid,
    /// Changes with the first write to the disk after an opening.
    pub data_write_id: Guid,
    /// Which entries of the log count; zero when none does.
    pub log_id: Guid,
    /// Length of the log.
    pub log_length: u64,
    /// Where it is.
    pub log_offset: u64,
}

/// The header that counts, and what is worth knowing of the file besides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Front {
    /// The newer one.
    pub header: Header,
    /// Whether each of the two was readable.
    pub sound: [bool; 2],
    /// The program that made the file; hostile.
    pub creator: String,
}

impl Front {
    /// Reads signature and headers.
    ///
    /// # Errors
    /// `invalid-input` without the signature, `corrupt` without a sound header, `unsupported` for an unknown version.
    pub fn read<R: ReadAt>(source: &R) -> Result<Self, Error> {
        let size = source.size();
        let first =
            read_exact(source, 0, size.min((SIGNATURE.len() + CREATOR) as u64) as usize, "the signature")?;
        let Some(creator) = first.strip_prefix(SIGNATURE) else {
            return Err(Error::new(ErrorKind::InvalidInput, "not a vhdx image: the signature is missing"));
        };
        let [one, two] = OFFSETS.map(|offset| Header::read(source, offset));
        let (one, two) = (one?, two?);
        let sound = [one.is_some(), two.is_some()];
        let header = match (one, two) {
            (Some(one), Some(two)) if one.0.sequence == two.0.sequence && one.1 != two.1 => {
                return Err(corrupt("both headers have the same sequence number, and they differ")
                    .with("sequence", one.0.sequence));
            }
            (Some(one), Some(two)) => {
                if two.0.sequence > one.0.sequence {
                    two
                } else {
                    one
                }
            }
            (Some(header), None) | (None, Some(header)) => header,
            (None, None) => {
                return Err(corrupt("neither header has a signature and the right checksum")
                    .with("offset", hex(OFFSETS[0])));
            }
        };
        let (header, bytes) = header;
        check_versions(&bytes)?;
        header.check()?;
        Ok(Self { header, sound, creator: name(creator) })
    }
}

impl Header {
    /// `None` when there is no sound header.
    fn read<R: ReadAt>(source: &R, offset: u64) -> Result<Option<(Self, Vec<u8>)>, Error> {
        let bytes = read_exact(source, offset, LENGTH as usize, "a header")?;
        let sound =
            bytes.starts_with(HEADER_SIGNATURE) && le32(&bytes, 4) == Some(crc32c::of_structure(&bytes));
        Ok(if sound { Self::fields(&bytes).map(|header| (header, bytes)) } else { None })
    }

    fn fields(bytes: &[u8]) -> Option<Self> {
        Some(Self {
            sequence: le64(bytes, 8)?,
            file_write_id: Guid::at(bytes, 16)?,
            data_write_id: Guid::at(bytes, 32)?,
            log_id: Guid::at(bytes, 48)?,
            log_length: u64::from(le32(bytes, 68)?),
            log_offset: le64(bytes, 72)?,
        })
    }

    /// Whether there is a log to replay.
    pub fn has_log(&self) -> bool {
        self.log_id != Guid::ZERO
    }

    fn check(&self) -> Result<(), Error> {
        let aligned = self.log_offset.is_multiple_of(MIB) && self.log_length.is_multiple_of(MIB);
        let empty = self.log_length == 0 && !self.has_log();
        let placed = self.log_offset >= MIB && self.log_length > 0 && self.log_offset < 1 << 62;
        if !aligned || !(placed || empty) {
            return Err(corrupt("the log does not lie in whole MiB behind the headers")
                .with("offset", hex(self.log_offset))
                .with("length", self.log_length));
        }
        Ok(())
    }
}

fn check_versions(bytes: &[u8]) -> Result<(), Error> {
    for (what, offset, known) in [("log", 64, 0), ("format", 66, 1)] {
        let version = le16(bytes, offset).unwrap_or_default();
        if version != known {
            let message = format!("version {version} of the {what} is not known, {known} is");
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
    }
    Ok(())
}

/// What can be shown of a name in UTF-16.
fn name(bytes: &[u8]) -> String {
    let words = bytes.as_chunks::<2>().0.iter().map(|pair| u16::from_le_bytes(*pair));
    char::decode_utf16(words.take_while(|word| *word != 0))
        .map(|char| char.unwrap_or(char::REPLACEMENT_CHARACTER))
        .filter(|char| !char.is_control())
        .take(64)
        .collect()
}

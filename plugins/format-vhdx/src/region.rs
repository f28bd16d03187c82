//! The tables of regions.

use witvirt_sdk::disk::{ReadAt, hex, le32, le64, read_exact};

use crate::guid::Guid;
use crate::header::Header;
use crate::{Error, ErrorKind, KIB, MIB, corrupt, crc32c};

/// Where the tables are.
pub const OFFSETS: [u64; 2] = [192 * KIB, 256 * KIB];
/// Bytes of a table.
pub const LENGTH: u64 = 64 * KIB;
/// First bytes of a table.
pub const SIGNATURE: &[u8; 4] = b"regi";
/// The block allocation table.
pub const BAT: Guid = Guid::known(0x2DC27766_F623_4200_9D64_115E9BFD4A08);
/// The metadata items.
pub const METADATA: Guid = Guid::known(0x8B7CA206_4790_4B9A_B8FE_575F050F886E);
const MAX_ENTRIES: u32 = 2047;
const ENTRY: usize = 32;

/// A part of the file, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Range {
    pub offset: u64,
    pub length: u64,
}

impl Range {
    pub fn end(self) -> u64 {
        self.offset.saturating_add(self.length)
    }

    pub fn overlaps(self, other: Self) -> bool {
        self.offset < other.end() && other.offset < self.end()
    }
}

/// Where the two known regions are.
#[derive(Debug, Clone)]
pub(crate) struct Regions {
    pub bat: Range,
    pub metadata: Range,
    /// All regions and the log, in the order of the file: blocks must not lie there.
    pub taken: Vec<Range>,
    /// Whether each of the two tables was readable.
    pub sound: [bool; 2],
}

impl Regions {
    /// Reads the tables, from where the log has been replayed.
    ///
    /// # Errors
    /// `corrupt` with what is wrong, `unsupported` for an unknown region that is required.
    pub fn read<R: ReadAt>(source: &R, header: &Header) -> Result<Self, Error> {
        let mut sound = [false; 2];
        let mut table = None;
        for (offset, sound) in OFFSETS.into_iter().zip(&mut sound) {
            let bytes = read_exact(source, offset, LENGTH as usize, "a table of regions")?;
            *sound = bytes.starts_with(SIGNATURE) && le32(&bytes, 4) == Some(crc32c::of_structure(&bytes));
            if *sound && table.is_none() {
                table = Some(bytes);
            }
        }
        let Some(table) = table else {
            return Err(corrupt("neither table of regions has a signature and the right checksum")
                .with("offset", hex(OFFSETS[0])));
        };
        Self::parse(&table, header, source.size(), sound)
    }

    fn parse(table: &[u8], header: &Header, file_size: u64, sound: [bool; 2]) -> Result<Self, Error> {
        let count = le32(table, 8).unwrap_or_default();
        if count > MAX_ENTRIES {
            return Err(
                corrupt("the table of regions has more entries than it can hold").with("entries", count)
            );
        }
        let (mut bat, mut metadata) = (None, None);
        let log = Range { offset: header.log_offset, length: header.log_length };
        let mut taken = if log.length > 0 { vec![log] } else { Vec::new() };
        for entry in table.get(16..).unwrap_or_default().chunks_exact(ENTRY).take(count as usize) {
            let fields = (Guid::at(entry, 0), le64(entry, 16), le32(entry, 24), le32(entry, 28));
            let (Some(id), Some(offset), Some(length), Some(flags)) = fields else { continue };
            let range = Range { offset, length: length.into() };
            check(id, range)?;
            taken.push(range);
            let known = match id {
                BAT => &mut bat,
                METADATA => &mut metadata,
                _ if flags & 1 == 1 => {
                    let message = format!("the image needs the region {id}, which is not known");
                    return Err(Error::new(ErrorKind::Unsupported, message));
                }
                _ => continue,
            };
            if known.replace(range).is_some() {
                return Err(corrupt(format!("the region {id} is there twice")));
            }
        }
        taken.sort_unstable();
        if let Some([one, other]) = taken.array_windows().find(|[one, other]| one.overlaps(*other)) {
            return Err(corrupt("two regions, or a region and the log, overlap")
                .with("offset", hex(one.offset))
                .with("other", hex(other.offset)));
        }
        let needed = |range: Option<Range>, what: &str| {
            let range = range.ok_or_else(|| corrupt(format!("there is no region for {what}")))?;
            if range.end() > file_size {
                return Err(corrupt(format!("the region of {what} lies past the end of the file"))
                    .with("offset", hex(range.offset))
                    .with("length", range.length)
                    .with("file-size", hex(file_size)));
            }
            Ok(range)
        };
        let (bat, metadata) = (needed(bat, "the block allocation table")?, needed(metadata, "metadata")?);
        Ok(Self { bat, metadata, taken, sound })
    }

    /// Whether a part of the file is already something else than a block.
    pub fn takes(&self, range: Range) -> bool {
        range.offset < MIB || self.taken.iter().any(|taken| taken.overlaps(range))
    }
}

fn check(id: Guid, range: Range) -> Result<(), Error> {
    let aligned = range.offset.is_multiple_of(MIB) && range.length.is_multiple_of(MIB);
    if aligned && range.offset >= MIB && range.length > 0 && range.offset < 1 << 62 {
        return Ok(());
    }
    Err(corrupt(format!("the region {id} does not lie in whole MiB behind the headers"))
        .with("offset", hex(range.offset))
        .with("length", range.length))
}

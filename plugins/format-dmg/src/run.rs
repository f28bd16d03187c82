//! Tables ("mish") of runs of sectors. Numbers are big endian.

use witvirt_sdk::disk::{be32, be64, hex};

use crate::trailer::Checksum;
use crate::{Error, ErrorKind, SECTOR};

/// First bytes of a table.
pub const MAGIC: &[u8; 4] = b"mish";
/// Bytes of a table before its runs.
pub const HEADER: usize = 204;
/// Bytes of a run in a table.
pub const ENTRY: usize = 40;
/// The most that a run may decode to, in bytes: the bound of the contract, and QEMU's.
pub const MAX_DECODED: u64 = 64 << 20;

/// What the container of a codec may add to a run that did not become smaller, in bytes: the host's bound.
const SLACK: u64 = 64 << 10;

/// How a run is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Zeros.
    Zero,
    /// As it is.
    Raw,
    /// Nothing was there to store; reads as zeros.
    Ignored,
    /// In one of [`CODECS`], by its place there.
    Encoded(u8),
}

/// Codecs: the run's type, the contract's name, and what hdiutil calls an image of it.
pub const CODECS: [(u32, &str, &str); 5] = [
    (0x8000_0004, "adc", "UDCO"),
    (0x8000_0005, "zlib", "UDZO"),
    (0x8000_0006, "bzip2", "UDBZ"),
    (0x8000_0007, "lzfse", "ULFO"),
    (0x8000_0008, "xz", "ULMO"),
];

const COMMENT: u32 = 0x7fff_fffe;
const TERMINATOR: u32 = 0xffff_ffff;

/// Sectors of the disk and where they are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// First byte on the disk.
    pub start: u64,
    /// Bytes on the disk, never 0.
    pub length: u64,
    /// First byte in the file.
    pub offset: u64,
    /// Bytes in the file.
    pub stored: u64,
    /// How they are stored.
    pub kind: Kind,
}

/// What is common to the tables of an image.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Length of the file in bytes.
    pub file: u64,
    /// Where the data fork starts.
    pub data: u64,
    /// Length of the disk in bytes.
    pub disk: u64,
}

/// Adds the runs of a table to `runs`; the table's checksum of what it decodes to.
///
/// # Errors
/// `corrupt` with what is wrong and where, `unsupported` for an unknown type of run, `limit` for one that decodes to more
/// than [`MAX_DECODED`].
pub fn read_table(table: &[u8], bounds: &Bounds, runs: &mut Vec<Run>) -> Result<Checksum, Error> {
    let cut = || Error::new(ErrorKind::Corrupt, "a table of runs is cut").with("length", table.len());
    if !table.starts_with(MAGIC) {
        return Err(Error::new(ErrorKind::Corrupt, "a table of runs has no signature (mish)"));
    }
    let number = |at| be64(table, at).ok_or_else(cut);
    let (first, data) = (number(8)?, number(24)?);
    let count = be32(table, HEADER - 4).ok_or_else(cut)? as usize;
    let entries = table.get(HEADER..).unwrap_or_default();
    if entries.len() / ENTRY < count {
        return Err(cut().with("runs", count));
    }
    runs.reserve(count);
    for entry in entries.chunks_exact(ENTRY).take(count) {
        let kind = be32(entry, 0).ok_or_else(cut)?;
        if kind == TERMINATOR {
            break;
        }
        let sectors = be64(entry, 16).ok_or_else(cut)?;
        if kind == COMMENT || sectors == 0 {
            continue;
        }
        let field = |at| be64(entry, at).ok_or_else(cut);
        let raw = Entry { kind, first: field(8)?, sectors, offset: field(24)?, stored: field(32)? };
        runs.push(raw.check(first, data, bounds)?);
    }
    Checksum::parse(table, 64).ok_or_else(cut)
}

/// A run as the table has it.
struct Entry {
    kind: u32,
    first: u64,
    sectors: u64,
    offset: u64,
    stored: u64,
}

impl Entry {
    fn check(&self, first: u64, data: u64, bounds: &Bounds) -> Result<Run, Error> {
        let bad = |kind, message: &str| {
            Error::new(kind, message)
                .with("table-sector", hex(first))
                .with("run-sector", hex(self.first))
                .with("sectors", hex(self.sectors))
        };
        let kind = self.kind().ok_or_else(|| {
            bad(ErrorKind::Unsupported, "a run is stored in a way that is not known")
                .with("type", hex(self.kind.into()))
        })?;
        let place = || {
            let start = first.checked_add(self.first)?.checked_mul(SECTOR)?;
            let length = self.sectors.checked_mul(SECTOR)?;
            start.checked_add(length).filter(|end| *end <= bounds.disk)?;
            Some((start, length))
        };
        let (start, length) =
            place().ok_or_else(|| bad(ErrorKind::Corrupt, "a run lies past the end of the disk"))?;
        if matches!(kind, Kind::Zero | Kind::Ignored) {
            return Ok(Run { start, length, offset: 0, stored: 0, kind });
        }
        let stored = || {
            let offset = bounds.data.checked_add(data)?.checked_add(self.offset)?;
            offset.checked_add(self.stored).filter(|end| *end <= bounds.file)?;
            Some(offset)
        };
        let offset = stored().ok_or_else(|| {
            bad(ErrorKind::Corrupt, "a run is stored past the end of the file; it may be cut short")
                .with("offset", hex(self.offset))
                .with("length", hex(self.stored))
                .with("file-size", hex(bounds.file))
        })?;
        match kind {
            Kind::Raw if self.stored < length => {
                Err(bad(ErrorKind::Corrupt, "a run is stored in fewer bytes than it has")
                    .with("stored", self.stored))
            }
            Kind::Encoded(_) if self.stored == 0 => {
                Err(bad(ErrorKind::Corrupt, "an encoded run has no bytes"))
            }
            Kind::Encoded(_) if self.stored > length + SLACK => {
                let message = "an encoded run is stored in far more bytes than it decodes to";
                Err(bad(ErrorKind::Corrupt, message).with("stored", hex(self.stored)))
            }
            Kind::Encoded(_) if length > MAX_DECODED => {
                Err(bad(ErrorKind::Limit, "a run decodes to more than 64 MiB"))
            }
            _ => Ok(Run { start, length, offset, stored: self.stored, kind }),
        }
    }

    fn kind(&self) -> Option<Kind> {
        match self.kind {
            0 => Some(Kind::Zero),
            1 => Some(Kind::Raw),
            2 => Some(Kind::Ignored),
            other => {
                let index = CODECS.iter().position(|(kind, ..)| *kind == other)?;
                Some(Kind::Encoded(index as u8))
            }
        }
    }
}

/// Puts runs in order.
///
/// # Errors
/// `corrupt` when two overlap.
pub fn sort(runs: &mut [Run]) -> Result<(), Error> {
    runs.sort_unstable_by_key(|run| run.start);
    for pair in runs.windows(2) {
        if pair[0].start + pair[0].length > pair[1].start {
            return Err(Error::new(ErrorKind::Corrupt, "two runs cover the same sectors")
                .with("guest-offset", hex(pair[1].start)));
        }
    }
    Ok(())
}

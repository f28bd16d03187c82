//! A grain: as it is, or compressed, with or without a marker in front.

use witvirt_sdk::core::extent::Encoded;
use witvirt_sdk::disk::{ReadAt, hex, le32, le64, read_exact};

use crate::map::PageRuns;
use crate::sector::SECTOR;
use crate::{Error, ErrorKind, codec};

/// Bytes of a grain's marker: the first sector of the disk that it holds (8 bytes) and the length of the stream (4).
pub(crate) const GRAIN_MARKER: u64 = 12;

/// Where a grain is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Grain {
    /// Id of the file.
    pub source: u32,
    /// Byte of the file.
    pub offset: u64,
    /// First byte of the extent that it holds.
    pub start: u64,
    /// Bytes of a grain.
    pub size: u64,
    /// Bytes of it that belong to the extent: fewer than a grain at the end.
    pub used: u64,
    /// Where the grain after it is stored, as far as that is known.
    pub next: Option<u64>,
}

/// How grains are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compression {
    None,
    /// A zlib stream each.
    Zlib {
        /// Behind a marker with its length.
        markers: bool,
    },
}

impl Compression {
    /// Adds `length` bytes from `skip` of a grain. False when the page is full.
    pub fn push<R: ReadAt>(
        self,
        source: &R,
        grain: &Grain,
        skip: u64,
        length: u64,
        runs: &mut PageRuns,
    ) -> Result<bool, Error> {
        let (offset, stored) = match self {
            Self::None => return Ok(runs.push_data(length, grain.source, grain.offset + skip)),
            Self::Zlib { markers: false } => {
                (grain.offset, longest(grain.size).min(source.size() - grain.offset))
            }
            Self::Zlib { markers: true } => {
                let offset = grain.offset + GRAIN_MARKER;
                let stored = match grain.next.and_then(|next| up_to(next, offset, grain.size, source.size()))
                {
                    Some(stored) => stored,
                    None => Marker::read(source, grain)?,
                };
                (offset, stored)
            }
        };
        // The last grain may be stored short or whole; only its own decoder takes both.
        let whole = grain.used == grain.size;
        let encoded = Encoded {
            codec: if whole { codec::ZLIB } else { codec::LAST_GRAIN }.to_owned(),
            source: grain.source,
            offset,
            length: stored,
            decoded_length: grain.used as u32,
            skip: skip as u32,
        };
        Ok(runs.push_encoded(length, encoded))
    }
}

/// Most bytes that a compressed grain takes; QEMU reads no more either.
pub(crate) fn longest(grain_size: u64) -> u64 {
    2 * grain_size
}

/// In a stream the next grain follows at the next sector, which bounds this one to the sector without a look at its marker:
/// what follows the end of a zlib stream is ignored.
fn up_to(next: u64, offset: u64, grain_size: u64, file_size: u64) -> Option<u64> {
    next.checked_sub(offset)
        .filter(|stored| *stored > 0 && *stored <= longest(grain_size) && next <= file_size)
}

/// What stands in front of a compressed grain.
pub(crate) struct Marker;

impl Marker {
    /// The length of a grain's stream.
    pub fn read<R: ReadAt>(source: &R, grain: &Grain) -> Result<u64, Error> {
        let bytes = read_exact(source, grain.offset, GRAIN_MARKER as usize, "the marker of a grain")?;
        let sector = le64(&bytes, 0).unwrap_or_default();
        let stored = u64::from(le32(&bytes, 8).unwrap_or_default());
        let bad = |message: &str| {
            Error::new(ErrorKind::Corrupt, message)
                .with("offset", hex(grain.offset))
                .with("sector", sector)
                .with("length", stored)
        };
        if sector != grain.start / SECTOR {
            return Err(bad("the marker of a grain is that of another grain")
                .with("expected-sector", grain.start / SECTOR));
        }
        if stored == 0 || stored > longest(grain.size) {
            return Err(bad("the marker of a grain has an impossible length"));
        }
        if grain.offset + GRAIN_MARKER + stored > source.size() {
            return Err(bad("a compressed grain runs past the end of the file; it may be cut short")
                .with("file-size", hex(source.size())));
        }
        Ok(stored)
    }
}

//! Streams: where the grain directory is when the header leaves it to the end, and what to do without one.
//!
//! A stream is a sequence of markers, each at a sector. One with a length is a grain; the others (value, 0, type) announce
//! `value` sectors of metadata: 1 a grain table, 2 the grain directory, 3 the footer; 0 ends the stream.

use witvirt_sdk::disk::{ReadAt, hex, le32, le64, read_exact};

use crate::map::PageRuns;
use crate::sector::{SECTOR, bytes_of};
use crate::{Error, ErrorKind};

use super::grain::{Compression, GRAIN_MARKER, Grain, longest};
use super::hosted::{DIRECTORY_AT_END, Header};

/// Types of markers.
pub(crate) const END: u32 = 0;
/// See [`END`].
pub(crate) const TABLE: u32 = 1;
/// See [`END`].
pub(crate) const DIRECTORY: u32 = 2;
/// See [`END`].
pub(crate) const FOOTER: u32 = 3;

/// Markers that are followed, each of which costs a read.
const MAX_MARKERS: u64 = 4 << 20;
/// Grains that are remembered where no directory lists them: 24 MiB, 128 GiB of a disk.
const MAX_GRAINS: usize = 2 << 20;
/// Bytes that are read at a marker: small grains come in one go.
const AHEAD: u32 = 4096;

/// What the end of a stream says.
pub(super) enum Map {
    /// Byte of the file.
    Directory(u64),
    /// There is no directory: the markers of the grains have to do.
    Grains(Index),
}

/// Finds the map of a stream whose header has no directory.
pub(super) fn find<R: ReadAt>(source: &R, header: &Header) -> Result<Map, Error> {
    // In a sound file the last three sectors are a marker, the footer and the end.
    if let Some(start) = source.size().checked_sub(3 * SECTOR).filter(|start| start.is_multiple_of(SECTOR)) {
        let end = read_exact(source, start, 3 * SECTOR as usize, "the end of the stream")?;
        let (marker, rest) = end.split_at(SECTOR as usize);
        let (footer, last) = rest.split_at(SECTOR as usize);
        if kind(marker) == Some(FOOTER) && kind(last) == Some(END) {
            return directory_of(header, footer).map(Map::Directory);
        }
    }
    Scan::new(source, header).run()
}

/// The type of a marker that is none of a grain.
fn kind(marker: &[u8]) -> Option<u32> {
    (le32(marker, 8)? == 0).then(|| le32(marker, 12))?
}

fn directory_of(header: &Header, footer: &[u8]) -> Result<u64, Error> {
    let footer = Header::parse(footer)
        .map_err(|error| corrupt(format!("the footer of the stream: {}", error.message)))?;
    if !header.agrees(&footer) {
        return Err(corrupt("the header and the footer of the stream disagree")
            .with("header-capacity", header.capacity)
            .with("footer-capacity", footer.capacity));
    }
    match bytes_of(footer.directory_offset) {
        Some(offset) if footer.directory_offset != DIRECTORY_AT_END => Ok(offset),
        _ => Err(corrupt("the footer does not say where the grain directory is")),
    }
}

/// A walk over all markers.
struct Scan<'a, R> {
    source: &'a R,
    header: &'a Header,
    at: u64,
    bytes: Vec<u8>,
    /// Where `bytes` are from.
    start: u64,
    grains: Vec<Entry>,
    too_many: bool,
}

/// Grain number, sector of the file, length of the stream.
type Entry = (u32, u32, u32);

impl<'a, R: ReadAt> Scan<'a, R> {
    fn new(source: &'a R, header: &'a Header) -> Self {
        let at = bytes_of(header.overhead).unwrap_or(u64::MAX);
        Self { source, header, at, bytes: Vec::new(), start: 0, grains: Vec::new(), too_many: false }
    }

    fn run(mut self) -> Result<Map, Error> {
        for _ in 0..MAX_MARKERS {
            let (value, length, kind) = self.marker()?;
            let content = self.at + SECTOR;
            if length > 0 {
                self.grain(value, length)?;
                continue;
            }
            match kind {
                END => return self.end(),
                // The directory comes after all grains.
                DIRECTORY => return Ok(Map::Directory(content)),
                FOOTER => {
                    let footer = read_exact(self.source, content, SECTOR as usize, "the footer")?;
                    return directory_of(self.header, &footer).map(Map::Directory);
                }
                TABLE => self.skip(bytes_of(value).and_then(|length| content.checked_add(length)))?,
                other => return Err(self.bad(&format!("a marker of unknown type {other}"))),
            }
        }
        Err(Error::new(ErrorKind::Limit, "the stream has too many markers to look for its grain directory")
            .with("limit", MAX_MARKERS))
    }

    fn marker(&mut self) -> Result<(u64, u32, u32), Error> {
        let within = self.at.checked_sub(self.start).and_then(|at| usize::try_from(at).ok());
        let position = match within.filter(|at| at.saturating_add(16) <= self.bytes.len()) {
            Some(position) => position,
            None => {
                if self.at.checked_add(SECTOR).is_none_or(|end| end > self.source.size()) {
                    return Err(self.bad("the stream ends without its end mark: it was cut short"));
                }
                self.bytes = self.source.read_at(self.at, AHEAD)?;
                self.start = self.at;
                0
            }
        };
        let marker = self.bytes.get(position..).unwrap_or_default();
        let fields = (le64(marker, 0), le32(marker, 8), le32(marker, 12));
        let (Some(value), Some(length), Some(kind)) = fields else {
            return Err(self.bad("the stream cannot be read"));
        };
        Ok((value, length, kind))
    }

    fn grain(&mut self, sector: u64, length: u32) -> Result<(), Error> {
        let number = u32::try_from(sector / self.header.grain).ok();
        let inside = sector.is_multiple_of(self.header.grain) && sector < self.header.capacity;
        let (Some(number), true) = (number, inside) else {
            return Err(self.bad("a marker names no grain of the disk").with("sector", sector));
        };
        if u64::from(length) > longest(self.header.grain * SECTOR) {
            return Err(self.bad("the marker of a grain has an impossible length").with("length", length));
        }
        match u32::try_from(self.at / SECTOR) {
            Ok(place) if self.grains.len() < MAX_GRAINS => self.grains.push((number, place, length)),
            _ => self.too_many = true,
        }
        self.skip(self.at.checked_add(GRAIN_MARKER + u64::from(length)))
    }

    /// To the first sector at or after a byte.
    fn skip(&mut self, to: Option<u64>) -> Result<(), Error> {
        match to.and_then(|to| to.checked_next_multiple_of(SECTOR)) {
            Some(to) if to > self.at => {
                self.at = to;
                Ok(())
            }
            _ => Err(self.bad("a marker has an impossible length")),
        }
    }

    /// The end mark is a sector of zeros, as a hole in a damaged file is: without a directory before it, it counts only as
    /// the very last sector.
    fn end(mut self) -> Result<Map, Error> {
        if self.at + SECTOR != self.source.size() {
            return Err(self.bad("the stream has an end mark before its grain directory: it was cut short"));
        }
        if self.too_many {
            return Err(Error::new(
                ErrorKind::Limit,
                "the stream has no grain directory and too many grains",
            )
            .with("limit", MAX_GRAINS));
        }
        self.grains.sort_unstable();
        let twice = self.grains.windows(2).find(|pair| pair[0].0 == pair[1].0);
        if let Some(pair) = twice {
            let sector = u64::from(pair[0].0) * self.header.grain;
            return Err(corrupt("the stream has a grain twice").with("sector", sector));
        }
        Ok(Map::Grains(Index {
            capacity: self.header.capacity * SECTOR,
            grain: self.header.grain * SECTOR,
            grains: self.grains,
        }))
    }

    fn bad(&self, message: &str) -> Error {
        corrupt(message).with("offset", hex(self.at))
    }
}

/// All grains of a stream, in the order of the disk.
#[derive(Debug)]
pub(crate) struct Index {
    capacity: u64,
    grain: u64,
    grains: Vec<Entry>,
}

impl Index {
    /// As [`super::tables::Tables::push`].
    pub fn push<R: ReadAt>(
        &self,
        source: &R,
        id: u32,
        at: u64,
        end: u64,
        runs: &mut PageRuns,
    ) -> Result<bool, Error> {
        let mut at = at;
        let first = at / self.grain;
        let mut next = self.grains.partition_point(|(number, ..)| u64::from(*number) < first);
        while at < end {
            let Some((number, sector, stored)) = self.grains.get(next).copied() else {
                return Ok(runs.push_unallocated(end - at));
            };
            let start = u64::from(number) * self.grain;
            if start > at {
                let stop = start.min(end);
                if !runs.push_unallocated(stop - at) {
                    return Ok(false);
                }
                at = stop;
                continue;
            }
            let length = (start + self.grain).min(end) - at;
            let offset = u64::from(sector) * SECTOR;
            let grain = Grain {
                source: id,
                offset,
                start,
                size: self.grain,
                used: self.grain.min(self.capacity - start),
                next: Some(offset + GRAIN_MARKER + u64::from(stored)),
            };
            let markers = Compression::Zlib { markers: true };
            if !markers.push(source, &grain, at - start, length, runs)? {
                return Ok(false);
            }
            at += length;
            next += 1;
        }
        Ok(true)
    }
}

fn corrupt(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Corrupt, message)
}

//! Grain directories and grain tables: two levels of offsets, in all three kinds of sparse extents.

use witvirt_sdk::disk::{ReadAt, Window, hex, le32, le64};

use crate::map::PageRuns;
use crate::sector::{SECTOR, bytes_of};
use crate::{Error, ErrorKind};

use super::grain::{Compression, Grain};

/// Grain directories are read in pieces of at most this many bytes.
const PIECE: u64 = 64 << 10;
/// Table entries that one page looks at, so that no call takes long: some 20 ms.
pub(crate) const MAX_ENTRIES: u64 = 1 << 22;

/// How entries are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entries {
    /// 4 bytes: a sector of the file. 0: nothing here. 1: zeros, where the header says so.
    Sectors { zeroed: bool },
    /// 8 bytes with a type in the highest four bits: numbers of tables and grains in areas of their own.
    SeSparse { tables: Area, grains: Area },
}

/// A range of the file in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Area {
    pub offset: u64,
    pub length: u64,
}

impl Area {
    /// Of sectors; `None` where there are no such files.
    pub fn of_sectors(offset: u64, length: u64) -> Option<Self> {
        let end = offset.checked_add(length)?;
        bytes_of(end)?;
        Some(Self { offset: bytes_of(offset)?, length: bytes_of(length)? })
    }

    pub fn end(self) -> u64 {
        self.offset.saturating_add(self.length)
    }

    fn overlaps(self, offset: u64, length: u64) -> bool {
        offset < self.end() && self.offset < offset.saturating_add(length)
    }
}

/// What an entry says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Slot {
    /// Nothing here: look below.
    Unallocated,
    Zero,
    /// Byte of the file.
    At(u64),
}

/// The tables of a sparse extent whose directory is sound.
#[derive(Debug)]
pub(crate) struct Tables {
    pub entries: Entries,
    /// Bytes of the disk that the extent holds.
    pub capacity: u64,
    /// Bytes of a grain, a power of two.
    pub grain: u64,
    /// Entries of a grain table.
    pub table_entries: u64,
    /// Where the grain directory is.
    pub directory: u64,
    /// What else lies at fixed places, with its name.
    pub fixed: Vec<(&'static str, Area)>,
    pub compression: Compression,
    pieces: Window,
    tables: Window,
}

/// What [`Tables::new`] needs to know.
pub(crate) struct Shape {
    pub entries: Entries,
    pub capacity: u64,
    pub grain: u64,
    pub table_entries: u64,
    pub directory: u64,
    pub fixed: Vec<(&'static str, Area)>,
    pub compression: Compression,
}

impl Tables {
    /// Checks every entry of the grain directory.
    pub fn new<R: ReadAt>(source: &R, shape: Shape) -> Result<Self, Error> {
        let Shape { entries, capacity, grain, table_entries, directory, mut fixed, compression } = shape;
        let mut tables = Self {
            entries,
            capacity,
            grain,
            table_entries,
            directory,
            fixed: Vec::new(),
            compression,
            pieces: Window::default(),
            tables: Window::default(),
        };
        let area = Area { offset: directory, length: tables.directory_bytes() };
        check_apart("the grain directory", area, &fixed)?;
        fixed.push(("the grain directory", area));
        tables.fixed = fixed;
        tables.check_directory(source)?;
        Ok(tables)
    }

    fn entry_bytes(&self) -> u64 {
        match self.entries {
            Entries::Sectors { .. } => 4,
            Entries::SeSparse { .. } => 8,
        }
    }

    /// Bytes of the disk that a grain table maps.
    pub fn table_span(&self) -> u64 {
        self.table_entries.saturating_mul(self.grain)
    }

    pub fn directory_entries(&self) -> u64 {
        self.capacity.div_ceil(self.table_span())
    }

    pub fn directory_bytes(&self) -> u64 {
        self.directory_entries() * self.entry_bytes()
    }

    /// Bytes of the grain table with this index: the last one may be cut where the disk ends.
    pub fn table_bytes(&self, index: u64) -> u64 {
        let rest = self.capacity.saturating_sub(index.saturating_mul(self.table_span()));
        rest.div_ceil(self.grain).min(self.table_entries) * self.entry_bytes()
    }

    fn check_directory<R: ReadAt>(&mut self, source: &R) -> Result<(), Error> {
        let bytes = self.directory_bytes();
        if self.directory.checked_add(bytes).is_none_or(|end| end > source.size()) {
            return Err(corrupt("the grain directory lies past the end of the file; it may be cut short")
                .with("offset", hex(self.directory))
                .with("length", bytes)
                .with("file-size", hex(source.size())));
        }
        let mut named = 0u64;
        for index in 0..self.directory_entries() {
            if let Slot::At(_) = self.table_at(source, index)? {
                named += 1;
            }
        }
        let most = source.size() / (self.table_entries * self.entry_bytes()) + 1;
        if named > most {
            return Err(corrupt("the grain directory names more grain tables than the file can hold")
                .with("tables", named)
                .with("file-size", hex(source.size())));
        }
        Ok(())
    }

    /// Where the grain table with this index is.
    pub fn table_at<R: ReadAt>(&mut self, source: &R, index: u64) -> Result<Slot, Error> {
        let byte = index * self.entry_bytes();
        let piece = byte / PIECE * PIECE;
        let length = self.directory_bytes().saturating_sub(piece).min(PIECE) as usize;
        let bytes = self.pieces.get(source, self.directory + piece, length, "the grain directory")?;
        let raw = entry(bytes, (byte - piece) as usize, self.entries);
        let bad = |message: &str| {
            corrupt(format!("grain directory: {message}")).with("index", index).with("entry", hex(raw))
        };
        let slot = self.directory_slot(raw).ok_or_else(|| bad("the entry makes no sense"))?;
        if let Slot::At(offset) = slot {
            let length = self.table_bytes(index);
            if offset + length > source.size() {
                return Err(bad("the grain table lies past the end of the file; it may be cut short")
                    .with("file-size", hex(source.size())));
            }
            if let Some(what) = self.overlapped(offset, length) {
                return Err(bad(&format!("the grain table overlaps {what}")));
            }
        }
        Ok(slot)
    }

    fn directory_slot(&self, raw: u64) -> Option<Slot> {
        match self.entries {
            _ if raw == 0 => Some(Slot::Unallocated),
            Entries::Sectors { zeroed: true } if raw == 1 => Some(Slot::Zero),
            Entries::Sectors { .. } => Some(Slot::At(raw * SECTOR)),
            Entries::SeSparse { tables, .. } => {
                let size = self.table_entries * 8;
                let offset = (raw & 0xffff_ffff) * size;
                let inside = raw >> 32 == 0x1000_0000 && offset + size <= tables.length;
                inside.then_some(Slot::At(tables.offset + offset))
            }
        }
    }

    fn grain_slot(&self, raw: u64) -> Option<Slot> {
        let (grain, entries) = (self.grain, self.entries);
        match entries {
            _ if raw == 0 => Some(Slot::Unallocated),
            Entries::Sectors { zeroed: true } if raw == 1 => Some(Slot::Zero),
            Entries::Sectors { .. } => Some(Slot::At(raw * SECTOR)),
            Entries::SeSparse { grains, .. } => match raw >> 60 {
                // Unmapped by the guest, and zeros.
                1 | 2 => Some(Slot::Zero),
                3 => {
                    let number = (raw & 0x0fff_0000_0000_0000) >> 48 | (raw & 0x0000_ffff_ffff_ffff) << 12;
                    let offset = number.checked_mul(grain)?;
                    let inside = offset.checked_add(grain).is_some_and(|end| end <= grains.length);
                    inside.then_some(Slot::At(grains.offset.saturating_add(offset)))
                }
                _ => None,
            },
        }
    }

    /// Adds what lies at byte `at` of the extent up to `end`. False when the page is full, or enough for one call; `seen`
    /// counts the entries that were looked at.
    pub fn push<R: ReadAt>(
        &mut self,
        source: &R,
        id: u32,
        at: u64,
        end: u64,
        runs: &mut PageRuns,
        seen: &mut u64,
    ) -> Result<bool, Error> {
        let mut at = at;
        while at < end {
            if *seen >= MAX_ENTRIES {
                return Ok(false);
            }
            let index = at / self.table_span();
            let stop = (index + 1).saturating_mul(self.table_span()).min(end);
            *seen += 1;
            let more = match self.table_at(source, index)? {
                Slot::Unallocated => runs.push_unallocated(stop - at),
                Slot::Zero => runs.push_zero(stop - at),
                Slot::At(offset) => {
                    *seen += self.table_entries;
                    self.push_table(source, id, (index, offset), at..stop, runs)?
                }
            };
            if !more {
                return Ok(false);
            }
            at = stop;
        }
        Ok(true)
    }

    fn push_table<R: ReadAt>(
        &mut self,
        source: &R,
        id: u32,
        (index, offset): (u64, u64),
        range: std::ops::Range<u64>,
        runs: &mut PageRuns,
    ) -> Result<bool, Error> {
        let length = self.table_bytes(index) as usize;
        // Taken out so that the other fields can be used beside it.
        let mut window = std::mem::take(&mut self.tables);
        let table = window.get(source, offset, length, "a grain table");
        let pushed = table.and_then(|table| self.push_entries(source, id, index, table, range, runs));
        self.tables = window;
        pushed
    }

    fn push_entries<R: ReadAt>(
        &self,
        source: &R,
        id: u32,
        index: u64,
        table: &[u8],
        range: std::ops::Range<u64>,
        runs: &mut PageRuns,
    ) -> Result<bool, Error> {
        // Most tables of a large disk; zeros are compared faster than entries are read.
        if table.iter().all(|byte| *byte == 0) {
            return Ok(runs.push_unallocated(range.end - range.start));
        }
        let first = index * self.table_span();
        let mut at = range.start;
        while at < range.end {
            let nth = (at - first) / self.grain;
            let start = first + nth * self.grain;
            let length = (start + self.grain).min(range.end) - at;
            let raw = self.entry_of(table, nth);
            let bad = || corrupt("grain table: the entry makes no sense").with("entry", hex(raw));
            let slot = self.grain_slot(raw).ok_or_else(bad);
            let pushed = match slot.map_err(|error| error.with("guest-offset", hex(runs.position())))? {
                Slot::Unallocated => runs.push_unallocated(length),
                Slot::Zero => runs.push_zero(length),
                Slot::At(offset) => {
                    let next = match self.grain_slot(self.entry_of(table, nth + 1)) {
                        Some(Slot::At(next)) => Some(next),
                        _ => None,
                    };
                    let used = self.grain.min(self.capacity - start);
                    let grain = Grain { source: id, offset, start, size: self.grain, used, next };
                    self.check_grain(source, &grain).map_err(|error| {
                        error.with("guest-offset", hex(runs.position())).with("offset", hex(offset))
                    })?;
                    self.compression.push(source, &grain, at - start, length, runs)?
                }
            };
            if !pushed {
                return Ok(false);
            }
            at += length;
        }
        Ok(true)
    }

    fn entry_of(&self, table: &[u8], nth: u64) -> u64 {
        entry(table, (nth * self.entry_bytes()) as usize, self.entries)
    }

    fn check_grain<R: ReadAt>(&self, source: &R, grain: &Grain) -> Result<(), Error> {
        let length = if self.compression == Compression::None { grain.used } else { 1 };
        if grain.offset.checked_add(length).is_none_or(|end| end > source.size()) {
            return Err(corrupt("a grain lies past the end of the file; it may be cut short")
                .with("length", length)
                .with("file-size", hex(source.size())));
        }
        match self.overlapped(grain.offset, length) {
            Some(what) => Err(corrupt(format!("a grain overlaps {what}"))),
            None => Ok(()),
        }
    }

    /// Which structure at a fixed place lies in a range of the file.
    fn overlapped(&self, offset: u64, length: u64) -> Option<&'static str> {
        self.fixed.iter().find(|(_, area)| area.overlaps(offset, length)).map(|(what, _)| *what)
    }
}

/// Whether a structure lies apart from others.
pub(crate) fn check_apart(what: &str, area: Area, others: &[(&'static str, Area)]) -> Result<(), Error> {
    match others.iter().find(|(_, other)| other.overlaps(area.offset, area.length)) {
        Some((other, _)) => Err(corrupt(format!("{what} overlaps {other}")).with("offset", hex(area.offset))),
        None => Ok(()),
    }
}

fn entry(bytes: &[u8], offset: usize, entries: Entries) -> u64 {
    match entries {
        Entries::Sectors { .. } => u64::from(le32(bytes, offset).unwrap_or_default()),
        Entries::SeSparse { .. } => le64(bytes, offset).unwrap_or_default(),
    }
}

fn corrupt(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Corrupt, message)
}

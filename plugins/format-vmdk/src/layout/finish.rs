//! The metadata of a new image, page by page.

use witvirt_sdk::core::format::{Ending, Write};

use super::records::{Cursor, Records};
use super::{End, GRAIN, MAX_SECTOR, Subformat, TABLE, TABLE_ENTRIES, Target, invalid, text};
use crate::sector::SECTOR;
use crate::sparse::grain::GRAIN_MARKER;
use crate::sparse::stream::{DIRECTORY, END, FOOTER, TABLE as TABLE_MARKER};
use crate::{Error, ErrorKind};

/// Metadata of one answer, in bytes; the contract's bound is 4 MiB.
const PAGE: u64 = 2 << 20;
/// Writes of one answer: most are markers of 12 bytes, which cost more than that to hand over.
const MAX_WRITES: usize = 16 << 10;

/// How much of the metadata is done.
#[derive(Debug)]
pub(super) struct Finish {
    step: Step,
    cursor: Cursor,
    end: End,
    /// Streams: the sector of each grain table, 0 where there is none.
    directory: Vec<u32>,
    /// Writes of the page and their bytes.
    writes: Vec<Write>,
    bytes: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Grain tables, and the markers of grains.
    Tables,
    /// Directories, from this table on.
    Directories(u64),
    /// What comes last.
    Front,
    Done,
}

/// A grain table in the making.
struct Table {
    index: u64,
    entries: Vec<u8>,
}

impl Table {
    fn new(index: u64) -> Self {
        Self { index, entries: vec![0; (TABLE * SECTOR) as usize] }
    }

    fn set(&mut self, grain: u64, sector: u64) {
        let at = (grain % TABLE_ENTRIES) as usize * 4;
        if let Some(entry) = self.entries.get_mut(at..at + 4) {
            entry.copy_from_slice(&(sector as u32).to_le_bytes());
        }
    }
}

impl Finish {
    pub fn new(target: &Target) -> Self {
        let tables = match target.subformat {
            Subformat::MonolithicSparse => 0,
            Subformat::StreamOptimized => target.tables() as usize,
        };
        Self {
            step: Step::Tables,
            cursor: Cursor::default(),
            end: End::new(target),
            directory: vec![0; tables],
            writes: Vec::new(),
            bytes: 0,
        }
    }

    pub fn page(&mut self, target: &Target, records: &Records) -> Result<Ending, Error> {
        while self.bytes < PAGE && self.writes.len() < MAX_WRITES {
            match self.step {
                Step::Tables => self.table(target, records),
                Step::Directories(first) => self.directories(target, first),
                Step::Front => {
                    self.front(target, records)?;
                    break;
                }
                Step::Done => return Err(invalid("the image is finished")),
            }
        }
        self.bytes = 0;
        let writes = std::mem::take(&mut self.writes);
        Ok(Ending { writes, size: self.end.at, next: self.step != Step::Done })
    }

    fn write(&mut self, offset: u64, bytes: Vec<u8>) {
        self.bytes += bytes.len() as u64;
        match self.writes.last_mut() {
            Some(last) if last.offset + last.bytes.len() as u64 == offset => last.bytes.extend(bytes),
            _ => self.writes.push(Write { offset, bytes }),
        }
    }

    /// The next grain table and the markers of its grains: both come in the order of the guest.
    fn table(&mut self, target: &Target, records: &Records) {
        let Some((first, _)) = records.peek(&self.cursor) else {
            self.step = Step::Directories(0);
            return;
        };
        let mut table = Table::new(first / TABLE_ENTRIES);
        while let Some((grain, stored)) = records.peek(&self.cursor)
            && grain / TABLE_ENTRIES == table.index
        {
            let offset = self.end.place(target.subformat, grain, stored);
            records.advance(&mut self.cursor);
            if target.subformat == Subformat::MonolithicSparse {
                table.set(grain, offset / SECTOR);
                continue;
            }
            let start = offset - GRAIN_MARKER;
            table.set(grain, start / SECTOR);
            let mut marker = (grain * GRAIN).to_le_bytes().to_vec();
            marker.extend((stored as u32).to_le_bytes());
            self.write(start, marker);
        }
        self.store_table(target, table);
    }

    fn store_table(&mut self, target: &Target, table: Table) {
        let Table { index, entries } = table;
        if target.subformat == Subformat::MonolithicSparse {
            for directory in [target.redundant(), target.primary()] {
                self.write(table_sector(target, directory, index) * SECTOR, entries.clone());
            }
            return;
        }
        let offset = self.end.close_table();
        if let Some(entry) = self.directory.get_mut(index as usize) {
            *entry = (offset / SECTOR + 1) as u32;
        }
        let bytes = [text::marker(TABLE, TABLE_MARKER), entries].concat();
        self.write(offset, bytes);
    }

    /// A piece of the directories.
    fn directories(&mut self, target: &Target, first: u64) {
        let last = (first + PAGE / 16).min(target.tables());
        if target.subformat == Subformat::MonolithicSparse {
            for directory in [target.redundant(), target.primary()] {
                let sectors = (first..last).map(|index| table_sector(target, directory, index) as u32);
                let bytes = sectors.flat_map(u32::to_le_bytes).collect();
                self.write(directory * SECTOR + first * 4, bytes);
            }
        } else {
            let start = self.end.at;
            let mut bytes = match first {
                0 => text::marker(target.directory(), DIRECTORY),
                _ => Vec::new(),
            };
            let entries = self.directory.get(first as usize..last as usize).unwrap_or_default();
            bytes.extend(entries.iter().flat_map(|sector| sector.to_le_bytes()));
            let offset = if first == 0 { start } else { start + SECTOR + first * 4 };
            self.write(offset, bytes);
        }
        self.step = if last == target.tables() { Step::Front } else { Step::Directories(last) };
    }

    fn front(&mut self, target: &Target, records: &Records) -> Result<(), Error> {
        if target.subformat == Subformat::StreamOptimized {
            let directory = self.end.at / SECTOR + 1;
            let footer = directory + target.directory();
            let bytes =
                [text::marker(1, FOOTER), text::header(target, directory), text::marker(0, END)].concat();
            self.end.at = (footer + 3) * SECTOR;
            self.write(footer * SECTOR, bytes);
        }
        if self.end.at / SECTOR > MAX_SECTOR {
            return Err(Error::new(ErrorKind::Limit, "the image file would be larger than 2 TiB"));
        }
        // The two highest numbers have a meaning.
        let cid = records.fingerprint(target.virtual_size).min(u32::MAX - 2);
        // A write of its own, the very last one: without its first sector the file is no image.
        self.bytes += SECTOR;
        self.writes.push(Write { offset: 0, bytes: text::front(target, cid) });
        self.step = Step::Done;
        Ok(())
    }
}

/// Where the table with this index is that belongs to the directory at a sector.
fn table_sector(target: &Target, directory: u64, index: u64) -> u64 {
    directory + target.directory() + index * TABLE
}

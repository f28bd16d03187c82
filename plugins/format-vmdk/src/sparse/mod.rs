//! Files that hold only what was written of their part of a disk.

pub(crate) mod cowd;
pub(crate) mod grain;
pub mod hosted;
pub(crate) mod se;
pub(crate) mod stream;
pub(crate) mod tables;

use witvirt_sdk::disk::{ReadAt, read_exact};

use crate::descriptor::ExtentType;
use crate::map::PageRuns;
use crate::sector::{SECTOR, bytes_of};
use crate::{Error, ErrorKind};

use self::grain::Compression;
use self::hosted::{DIRECTORY_AT_END, Header, MARKERS, ZEROED_GRAINS};
use self::stream::{Index, Map};
use self::tables::{Area, Entries, Shape, Tables};

/// An opened sparse extent.
#[derive(Debug)]
pub(crate) struct Sparse {
    grains: Grains,
    /// Bytes of a grain.
    grain: u64,
    /// Bytes of the disk that it holds.
    capacity: u64,
    /// Of hosted extents.
    header: Option<Header>,
}

#[derive(Debug)]
enum Grains {
    Tables(Box<Tables>),
    Index(Index),
}

impl Sparse {
    /// Opens the file of an extent of this type, of which the descriptor says that it holds `length` bytes.
    ///
    /// # Errors
    /// `corrupt` with what is wrong and where, `unsupported` with what is not known, or what the source reports.
    pub fn open<R: ReadAt>(kind: ExtentType, source: &R, length: u64) -> Result<Self, Error> {
        match kind {
            ExtentType::VmfsSparse => Self::from_tables(cowd::open(source)?, length, None),
            ExtentType::SeSparse => Self::from_tables(se::open(source)?, length, None),
            _ => {
                let head = read_exact(source, 0, SECTOR as usize, "the header of a sparse extent")?;
                Self::open_hosted(source, Header::parse(&head)?, length)
            }
        }
    }

    /// Opens a hosted sparse extent with this header.
    pub fn open_hosted<R: ReadAt>(source: &R, header: Header, length: u64) -> Result<Self, Error> {
        let (capacity, grain) = (header.capacity * SECTOR, header.grain * SECTOR);
        check_length(capacity, grain, length)?;
        let markers = header.has(MARKERS);
        let directory = if header.directory_offset == DIRECTORY_AT_END {
            if !(markers && header.compressed) {
                return Err(corrupt(
                    "the grain directory is said to be at the end of a file that is no stream",
                ));
            }
            match stream::find(source, &header)? {
                Map::Directory(offset) => Some(offset),
                Map::Grains(index) => {
                    let grains = Grains::Index(index);
                    return Ok(Self { grains, grain, capacity, header: Some(header) });
                }
            }
        } else {
            bytes_of(header.directory_offset)
        };
        let directory =
            directory.ok_or_else(|| corrupt("the offset of the grain directory makes no sense"))?;
        let table_entries = u64::from(header.table_entries);
        let directory_bytes = capacity.div_ceil(grain.saturating_mul(table_entries)).saturating_mul(4);
        let shape = Shape {
            entries: Entries::Sectors { zeroed: header.has(ZEROED_GRAINS) },
            capacity,
            grain,
            table_entries,
            directory,
            fixed: header.fixed(directory_bytes)?,
            compression: if header.compressed { Compression::Zlib { markers } } else { Compression::None },
        };
        check_directory(directory_bytes)?;
        Self::from_tables(Tables::new(source, shape)?, length, Some(header))
    }

    fn from_tables(tables: Tables, length: u64, header: Option<Header>) -> Result<Self, Error> {
        let (capacity, grain) = (tables.capacity, tables.grain);
        check_length(capacity, grain, length)?;
        Ok(Self { grains: Grains::Tables(Box::new(tables)), grain, capacity, header })
    }

    /// Bytes of a grain.
    pub fn grain(&self) -> u64 {
        self.grain
    }

    /// The header, of hosted extents.
    pub fn header(&self) -> Option<&Header> {
        self.header.as_ref()
    }

    /// The tables, where there are any.
    pub fn tables(&mut self) -> Option<&mut Tables> {
        match &mut self.grains {
            Grains::Tables(tables) => Some(tables),
            Grains::Index(_) => None,
        }
    }

    /// Bytes of the grain directory, which is read when the extent is opened.
    pub fn directory_bytes(&self) -> u64 {
        match &self.grains {
            Grains::Tables(tables) => tables.directory_bytes(),
            Grains::Index(_) => 0,
        }
    }

    /// Adds what lies at byte `at` of the extent up to `end`. False when the page is full, or enough for one call; `seen`
    /// counts the table entries that were looked at.
    pub fn push<R: ReadAt>(
        &mut self,
        source: &R,
        id: u32,
        at: u64,
        end: u64,
        runs: &mut PageRuns,
        seen: &mut u64,
    ) -> Result<bool, Error> {
        let end = end.min(self.capacity);
        match &mut self.grains {
            Grains::Tables(tables) => tables.push(source, id, at, end, runs, seen),
            Grains::Index(index) => index.push(source, id, at, end, runs),
        }
    }
}

/// Most bytes of grain directories: 256 TiB of a disk with the grains and tables that VMware writes.
pub(crate) const MAX_DIRECTORY: u64 = 32 << 20;

/// Checks what will be read at once.
pub(crate) fn check_directory(bytes: u64) -> Result<(), Error> {
    if bytes > MAX_DIRECTORY {
        return Err(Error::new(ErrorKind::Limit, "the grain directory is too large")
            .with("length", bytes)
            .with("limit", MAX_DIRECTORY));
    }
    Ok(())
}

/// A file holds what the descriptor says, or that rounded up to whole grains, as VirtualBox has it.
fn check_length(capacity: u64, grain: u64, length: u64) -> Result<(), Error> {
    if capacity == length || length.checked_next_multiple_of(grain) == Some(capacity) {
        return Ok(());
    }
    Err(corrupt("the header of the extent and the descriptor disagree on its length")
        .with("header-bytes", capacity)
        .with("descriptor-bytes", length))
}

fn area(what: &str, offset: u64, length: u64) -> Result<Area, Error> {
    Area::of_sectors(offset, length).ok_or_else(|| corrupt(format!("the place of {what} makes no sense")))
}

fn corrupt(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Corrupt, message)
}

//! The directory that is in force.

use witvirt_sdk::disk::{ReadAt, be64, hex, read_exact};

use crate::entry::plain;
use crate::header::{ENTRY, Header, place};
use crate::{Error, ErrorKind};

/// The most tables: 8 MiB of memory, some 130 PiB of disk with chunks of 1 MiB.
const MAX_TABLES: u64 = 1 << 20;

/// The tables of the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Directory {
    /// The higher one is in force.
    pub version: u64,
    /// The chunk of each table; 0 where nothing was written.
    pub tables: Vec<u64>,
}

impl Directory {
    /// Reads the directory with the higher version. One that cannot be read is passed over when the other can: it was
    /// being written.
    ///
    /// # Errors
    /// `corrupt` with what is wrong and where, `limit` for too many tables, or what the source reports.
    pub fn read<R: ReadAt>(source: &R, header: &Header) -> Result<Self, Error> {
        let count = header.disk_size.div_ceil(header.table_size());
        if count > MAX_TABLES {
            return Err(Error::new(
                ErrorKind::Limit,
                format!("the disk needs {count} tables, more than {MAX_TABLES}"),
            ));
        }
        let version = |offset: u64| {
            // Chunk 0 starts with the header.
            let bytes = read_exact(source, offset, ENTRY as usize, "a directory");
            bytes.map(|bytes| (be64(&bytes, 0).unwrap_or_default(), offset))
        };
        let [first, second] = header.directories.map(version);
        let (version, offset) = match (first, second) {
            (Ok(first), Ok(second)) if second.0 > first.0 => second,
            (Ok(first), _) => first,
            (Err(_), Ok(second)) => second,
            (Err(error), Err(_)) => return Err(error),
        };
        let bytes = read_exact(source, offset + ENTRY, (count * ENTRY) as usize, "the directory")?;
        let mut tables = Vec::with_capacity(count as usize);
        for raw in bytes.chunks_exact(ENTRY as usize) {
            let raw = be64(raw, 0).unwrap_or_default();
            let table = plain(raw).ok_or_else(|| {
                Error::new(ErrorKind::Unsupported, "a directory entry has bits of unknown meaning")
                    .with("entry", hex(raw))
            })?;
            let chunk = table.unwrap_or_default();
            if chunk != 0 {
                place(header, source.size(), chunk, 0, ENTRY, "a table")?;
            }
            tables.push(chunk);
        }
        check_unique(&tables)?;
        Ok(Self { version, tables })
    }
}

/// A table that is named again and again would make a small file a map without end.
fn check_unique(tables: &[u64]) -> Result<(), Error> {
    let mut named: Vec<u64> = tables.iter().copied().filter(|chunk| *chunk != 0).collect();
    named.sort_unstable();
    match named.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(Error::new(ErrorKind::Corrupt, "two directory entries name the same table")
            .with("chunk", hex(pair[0]))),
        None => Ok(()),
    }
}

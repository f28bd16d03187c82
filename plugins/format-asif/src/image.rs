//! An opened image.

use witvirt_sdk::core::extent::{ExtentKind, Geometry, Page};
use witvirt_sdk::disk::{ImageReader, ReadAt, Runs, Window, be64, hex};

use crate::directory::Directory;
use crate::entry::{Entry, is_stored, plain};
use crate::header::{ENTRY, Header, VERSION, place};
use crate::{Error, ErrorKind};

/// Entries and blocks that one page looks at, so that no call takes long.
const MAX_SEEN: u64 = 1 << 21;

/// An image whose header and directory are sound; everything else is checked where it is met.
#[derive(Debug)]
pub struct Image<R> {
    source: R,
    header: Header,
    directory: Directory,
    groups: Window,
    bitmaps: Window,
}

/// The entries of a group.
struct Group {
    /// The first guest byte.
    start: u64,
    bytes: Vec<u8>,
}

impl<R: ReadAt> ImageReader for Image<R> {
    type Source = R;

    /// Reads the header and the directory.
    ///
    /// # Errors
    /// `invalid-input` when it is no ASIF image, `unsupported` with the name of the feature, `corrupt` with what is wrong
    /// and where, or what the source reports.
    fn open(source: R) -> Result<Self, Error> {
        let header = Header::read(&source)?;
        let directory = Directory::read(&source, &header)?;
        let (groups, bitmaps) = (Window::default(), Window::default());
        Ok(Self { source, header, directory, groups, bitmaps })
    }

    fn geometry(&self) -> Geometry {
        Geometry {
            virtual_size: self.header.disk_size,
            cluster_size: self.header.chunk_size as u32,
            logical_sector: self.header.block_size as u32,
        }
    }

    fn facts(&self) -> Vec<(String, String)> {
        let header = &self.header;
        let tables = self.directory.tables.iter().filter(|chunk| **chunk != 0).count();
        let facts = [
            ("version", VERSION.to_string()),
            ("id", header.id()),
            ("chunk-size", header.chunk_size.to_string()),
            ("block-size", header.block_size.to_string()),
            ("maximum-size", header.max_size.to_string()),
            ("directory-version", self.directory.version.to_string()),
            ("tables", tables.to_string()),
            ("flags", hex(header.flags.into())),
        ];
        facts.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    fn extents(&mut self, start: u64, length: u64, max: u32) -> Result<Page, Error> {
        let end = start.saturating_add(length).min(self.header.disk_size);
        let mut runs = Runs::new(start, max);
        let mut seen = 0;
        while runs.position() < end && seen < MAX_SEEN {
            let more = match self.group_at(runs.position())? {
                None => {
                    seen += 1;
                    let size = self.header.table_size();
                    let stop = (runs.position() / size + 1).saturating_mul(size).min(end);
                    runs.push(stop - runs.position(), ExtentKind::Unallocated)
                }
                Some(group) => self.push_group(&group, end, &mut seen, &mut runs)?,
            };
            if !more {
                break;
            }
        }
        Ok(runs.into_page(end))
    }
}

impl<R: ReadAt> Image<R> {
    /// The group for a guest offset; none where its table does not exist.
    fn group_at(&mut self, guest: u64) -> Result<Option<Group>, Error> {
        let header = &self.header;
        let table = (guest / header.table_size()) as usize;
        let chunk = self.directory.tables.get(table).copied().unwrap_or_default();
        if chunk == 0 {
            return Ok(None);
        }
        let group = guest % header.table_size() / header.group_size();
        let skip = group * header.group_length();
        let length = header.group_length();
        let offset = place(header, self.source.size(), chunk, skip, length, "a table")?;
        let start = guest / header.group_size() * header.group_size();
        let bytes = self.groups.get(&self.source, offset, length as usize, "a table")?.to_vec();
        Ok(Some(Group { start, bytes }))
    }

    fn push_group(
        &mut self,
        group: &Group,
        end: u64,
        seen: &mut u64,
        runs: &mut Runs,
    ) -> Result<bool, Error> {
        let size = self.header.chunk_size;
        let end = end.min(group.start + self.header.group_size());
        while runs.position() < end {
            let at = runs.position();
            let index = (at - group.start) / size;
            let raw = be64(&group.bytes, (index * ENTRY) as usize).unwrap_or_default();
            let entry = Entry::new(raw).ok_or_else(|| {
                Error::new(ErrorKind::Unsupported, "a chunk has a state of unknown meaning")
                    .with("guest-offset", hex(at))
                    .with("entry", hex(raw))
            })?;
            *seen += 1;
            let skip = at % size;
            let length = (size - skip).min(end - at);
            let more = match entry {
                Entry::Empty => runs.push(length, ExtentKind::Unallocated),
                Entry::Whole(chunk) => {
                    let offset = self.data(at, chunk, skip, length)?;
                    runs.push(length, ExtentKind::Data { source: 0, offset })
                }
                Entry::Partial(chunk) => {
                    *seen += size / self.header.block_size;
                    let offset = self.data(at, chunk, skip, length)?;
                    let header = self.header;
                    push_blocks(&header, self.bitmap(group, index)?, offset, length, runs)?
                }
            };
            if !more {
                return Ok(false);
            }
            if *seen >= MAX_SEEN {
                break;
            }
        }
        Ok(true)
    }

    /// Where `length` bytes of a data chunk from `skip` on lie.
    fn data(&self, guest: u64, chunk: u64, skip: u64, length: u64) -> Result<u64, Error> {
        place(&self.header, self.source.size(), chunk, skip, length, "a chunk")
            .map_err(|error| error.with("guest-offset", hex(guest)))
    }

    /// The part of a group's bitmap that is about the chunk at `index`: two bits a block.
    fn bitmap(&mut self, group: &Group, index: u64) -> Result<&[u8], Error> {
        let header = &self.header;
        let length = header.chunk_size / header.block_size / 4;
        let raw = be64(&group.bytes, (header.group_chunks() * ENTRY) as usize).unwrap_or_default();
        let chunk = plain(raw).flatten().ok_or_else(|| {
            Error::new(ErrorKind::Corrupt, "a group without a bitmap has chunks that are stored in part")
                .with("guest-offset", hex(group.start))
                .with("entry", hex(raw))
        })?;
        let offset = place(header, self.source.size(), chunk, index * length, length, "a bitmap")?;
        self.bitmaps.get(&self.source, offset, length as usize, "a bitmap")
    }
}

/// Adds `length` bytes of a chunk of which some blocks are stored; `offset` is where the first would be.
fn push_blocks(
    header: &Header,
    bitmap: &[u8],
    offset: u64,
    length: u64,
    runs: &mut Runs,
) -> Result<bool, Error> {
    let size = header.block_size;
    let end = runs.position() + length;
    let start = runs.position();
    while runs.position() < end {
        let at = runs.position();
        let index = at % header.chunk_size / size;
        let stored = is_stored(bitmap, index as usize).ok_or_else(|| {
            Error::new(ErrorKind::Unsupported, "a block has a state of unknown meaning")
                .with("guest-offset", hex(at))
        })?;
        let piece = (size - at % size).min(end - at);
        let kind = match stored {
            true => ExtentKind::Data { source: 0, offset: offset + (at - start) },
            false => ExtentKind::Unallocated,
        };
        if !runs.push(piece, kind) {
            return Ok(false);
        }
    }
    Ok(true)
}

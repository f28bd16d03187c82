//! Writing a new image, fixed or dynamic.
//!
//! A fixed image is the disk and a footer. A dynamic one is: copy of the footer, header, table, blocks of 2 MiB in the order
//! of the disk, footer. Each block's data is aligned to 4 KiB, so that a copy of it can share storage where the filesystem can
//! do that; the bitmap lies right in front of it. The copy of the footer is the last write.
//!
//! The creator is "qem2": every reader that tells creators apart goes by the size for it, to the byte. The geometry is that
//! of the disk where one comes to its size, else the largest, which means that it says nothing.

mod records;

use serde::Deserialize;
use witvirt_sdk::core::format::{Chunk, Ending, Write, WritePlan};
use witvirt_sdk::disk::{Blocks, ImageWriter};

use crate::footer::{self, Kind, MAX_SIZE};
use crate::geometry::{Geometry, SECTOR};
use crate::header::{self, UNUSED};
use crate::identity::{Digest, Identity};
use crate::{ALIAS, Error, ErrorKind, FORMAT};

/// Data of a block, as every known writer makes them.
const BLOCK_SIZE: u64 = 2 << 20;
/// Its bitmap: a bit a sector.
const BITMAP: u64 = BLOCK_SIZE / SECTOR / 8;
/// What the data of a block is aligned to.
const ALIGNMENT: u64 = 4096;
/// From one block to the next.
const STRIDE: u64 = BLOCK_SIZE + ALIGNMENT;
const HEADER_OFFSET: u64 = footer::LENGTH;
const TABLE_OFFSET: u64 = HEADER_OFFSET + header::LENGTH;
/// Metadata of one answer in bytes; the contract's bound is 4 MiB.
const PAGE: u64 = 2 << 20;

/// The options of a new image, all optional.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
struct Options {
    subformat: Subformat,
    force_size: bool,
    id: Option<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self { subformat: Subformat::Dynamic, force_size: true, id: None }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Subformat {
    Fixed,
    Dynamic,
}

/// What of the metadata is to come.
#[derive(Debug, Clone, Copy)]
enum Stage {
    /// The bitmaps of blocks of the disk from this one on.
    Bitmaps(u64),
    /// The table from this entry on.
    Table(u64),
    Done,
}

/// An image in the making.
#[derive(Debug)]
pub struct Writer {
    kind: Kind,
    /// What was asked for.
    asked_size: u64,
    /// What the image says; more only where the size is not forced.
    virtual_size: u64,
    geometry: Geometry,
    given_id: Option<Identity>,
    digest: Digest,
    used: Blocks,
    /// First guest byte that may still be named.
    next_guest: u64,
    stage: Option<Stage>,
}

impl ImageWriter for Writer {
    /// Starts an image of `virtual_size` bytes, a multiple of 512 up to 2040 GiB. `options` is a JSON object:
    /// - "subformat": "dynamic" (the default) or "fixed", the disk and a footer; Azure takes only these, of whole MiB;
    /// - "force-size": true (the default) for a disk of exactly that size; with false it is rounded up to a geometry, for
    ///   readers that go by that (Virtual PC), as qemu-img does when it is not told otherwise;
    /// - "id": the UUID of the image. Without it, it is made of the size and of the places of the data, so give it where two
    ///   disks may be laid out alike and one is to be the parent of a differencing image.
    ///
    /// # Errors
    /// `invalid-input` with what is wrong, `unsupported` for another format and for a backing image: differencing images
    /// are not written.
    fn create(
        format: &str,
        virtual_size: u64,
        options: &str,
        backing: Option<(String, String)>,
    ) -> Result<Self, Error> {
        if ![FORMAT, ALIAS].contains(&format) {
            let message = format!("this plugin writes vpc (vhd), not \"{}\"", format.escape_debug());
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        if backing.is_some() {
            let message = "vhd images over a backing image are not written; take qcow2 for an overlay";
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        let options: Options = serde_json::from_str(options)
            .map_err(|error| invalid(format!("the options of the new image: {error}")))?;
        let given_id = options.id.as_deref().map(given_id).transpose()?;
        let kind = match options.subformat {
            Subformat::Fixed => Kind::Fixed,
            Subformat::Dynamic => Kind::Dynamic,
        };
        let (geometry, size) = shape(virtual_size, options.force_size)?;
        let mut digest = Digest::new();
        [size, u64::from(kind.number())].into_iter().for_each(|value| digest.add(value));
        Ok(Self {
            kind,
            asked_size: virtual_size,
            virtual_size: size,
            geometry,
            given_id,
            digest,
            used: Blocks::default(),
            next_guest: 0,
            stage: None,
        })
    }

    /// How to hand data over: by blocks.
    fn plan(&self) -> WritePlan {
        WritePlan { chunk_size: BLOCK_SIZE as u32, codec: String::new() }
    }

    /// The file offset for a chunk. Chunks come in ascending order.
    fn allocate(&mut self, chunk: &Chunk) -> Result<u64, Error> {
        if self.stage.is_some() {
            return Err(invalid("the image is finished"));
        }
        self.check_chunk(chunk).map_err(|message| {
            invalid(message)
                .with("start", chunk.start)
                .with("length", chunk.length)
                .with("stored", chunk.stored)
        })?;
        self.next_guest = chunk.start + BLOCK_SIZE;
        self.digest.add(chunk.start);
        if self.kind == Kind::Fixed {
            return Ok(chunk.start);
        }
        let offset = self.block_offset(self.used.count());
        self.used.insert(chunk.start / BLOCK_SIZE);
        Ok(offset + BITMAP)
    }

    /// The metadata, in pages; see `witvirt:disk/layout.finish`.
    fn finish(&mut self) -> Result<Ending, Error> {
        let stage = match (self.stage, self.kind) {
            (Some(Stage::Done), _) => return Err(invalid("the image is finished")),
            (Some(stage), _) => stage,
            (None, Kind::Fixed) => return Ok(self.last(Vec::new())),
            (None, _) => Stage::Bitmaps(0),
        };
        let writes = match stage {
            Stage::Bitmaps(from) => self.bitmaps(from),
            Stage::Table(from) => {
                let (write, next) = self.table(from);
                if next >= self.entries() {
                    return Ok(self.last(vec![write]));
                }
                self.stage = Some(Stage::Table(next));
                vec![write]
            }
            Stage::Done => Vec::new(),
        };
        Ok(Ending { writes, size: self.file_size(), next: true })
    }
}

impl Writer {
    fn check_chunk(&self, chunk: &Chunk) -> Result<(), &'static str> {
        let end = chunk.start.checked_add(chunk.length).filter(|end| *end <= self.asked_size);
        let Some(end) = end else { return Err("the chunk lies past the end of the disk") };
        if chunk.start < self.next_guest {
            return Err("the chunks do not come in ascending order");
        }
        if !chunk.start.is_multiple_of(BLOCK_SIZE) {
            return Err("the chunk does not start at a block");
        }
        let whole = chunk.length == BLOCK_SIZE;
        if !whole && (end != self.asked_size || chunk.length == 0 || chunk.length > BLOCK_SIZE) {
            return Err("the chunk is not a whole block, nor the end of the disk");
        }
        if chunk.encoded || chunk.stored != chunk.length {
            return Err("the chunk has to be stored as it is");
        }
        Ok(())
    }

    /// Bitmaps of blocks that are whole: all of them are.
    fn bitmaps(&mut self, from: u64) -> Vec<Write> {
        let mut writes = Vec::new();
        let mut block = from;
        while block < self.entries() && (writes.len() as u64) < PAGE / BITMAP {
            if let Some(rank) = self.used.rank(block) {
                let bytes = vec![0xff; BITMAP as usize];
                writes.push(Write { offset: self.block_offset(rank), bytes });
            }
            block += 1;
        }
        self.stage = Some(if block < self.entries() { Stage::Bitmaps(block) } else { Stage::Table(0) });
        writes
    }

    /// A part of the table, and the entry after it. The table is filled up to whole sectors.
    fn table(&mut self, from: u64) -> (Write, u64) {
        let entries = self.table_length() / 4;
        let until = entries.min(from + PAGE / 4);
        let mut bytes = Vec::with_capacity(((until - from) * 4) as usize);
        for block in from..until {
            let entry = self.used.rank(block).map_or(UNUSED, |rank| {
                // Below 2^32 for every disk of at most MAX_SIZE.
                (self.block_offset(rank) / SECTOR) as u32
            });
            bytes.extend(entry.to_be_bytes());
        }
        (Write { offset: TABLE_OFFSET + from * 4, bytes }, until)
    }

    /// The last page: the footers come after everything else.
    fn last(&mut self, mut writes: Vec<Write>) -> Ending {
        self.stage = Some(Stage::Done);
        let size = self.file_size();
        let footer = self.footer();
        writes.push(Write { offset: size - footer::LENGTH, bytes: footer.clone() });
        if self.kind == Kind::Dynamic {
            let header = records::header(TABLE_OFFSET, self.entries() as u32, BLOCK_SIZE as u32);
            writes.push(Write { offset: HEADER_OFFSET, bytes: header });
            writes.push(Write { offset: 0, bytes: footer });
        }
        Ending { writes, size, next: false }
    }

    fn footer(&self) -> Vec<u8> {
        let header_offset = if self.kind == Kind::Dynamic { HEADER_OFFSET } else { u64::MAX };
        let id = self.given_id.unwrap_or_else(|| self.digest.identity(1));
        records::footer(self.kind, header_offset, self.virtual_size, self.geometry, id)
    }

    /// Blocks of the disk.
    fn entries(&self) -> u64 {
        self.virtual_size.div_ceil(BLOCK_SIZE)
    }

    fn table_length(&self) -> u64 {
        (self.entries() * 4).next_multiple_of(SECTOR)
    }

    /// Where the block that comes `rank`-th in the file begins, with its bitmap.
    fn block_offset(&self, rank: u64) -> u64 {
        let first = (TABLE_OFFSET + self.table_length() + BITMAP).next_multiple_of(ALIGNMENT) - BITMAP;
        first + rank * STRIDE
    }

    fn file_size(&self) -> u64 {
        let footer = match self.kind {
            Kind::Fixed => self.virtual_size,
            _ => match self.used.count().checked_sub(1) {
                None => TABLE_OFFSET + self.table_length(),
                Some(last) => self.block_offset(last) + BITMAP + BLOCK_SIZE,
            },
        };
        footer + footer::LENGTH
    }
}

/// The geometry of a disk, and its size where that is not forced.
fn shape(size: u64, force: bool) -> Result<(Geometry, u64), Error> {
    let bad = |message: &str| Err(invalid(message).with("virtual-size", size));
    if size == 0 || !size.is_multiple_of(SECTOR) {
        return bad("the size of the disk has to be a multiple of 512, and not 0");
    }
    if size > MAX_SIZE {
        return bad("a vhd disk has at most 2040 GiB; take vhdx for a larger one");
    }
    let geometry = Geometry::at_least(size / SECTOR);
    if geometry == Geometry::MAX || geometry.bytes() == size {
        return Ok((geometry, size));
    }
    Ok(if force { (Geometry::MAX, size) } else { (geometry, geometry.bytes()) })
}

fn given_id(text: &str) -> Result<Identity, Error> {
    Identity::parse(text)
        .ok_or_else(|| invalid("the id is no UUID, as 00112233-4455-6677-8899-aabbccddeeff is"))
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidInput, message)
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;

//! Writing a new image: header, map, blocks of 1 MiB, with the data aligned to 1 MiB as VirtualBox does.
//!
//! The file is: header and map from its beginning, data from the next MiB, in the order of [`Writer::allocate`] in a dynamic
//! image and in the order of the disk in a static one. The header is the last write.

mod identity;

use serde::Deserialize;
use witvirt_sdk::core::format::{Chunk, Ending, Write, WritePlan};
use witvirt_sdk::disk::{Blocks, ImageWriter};

use crate::header::{HEADER_END, Kind, PRE_HEADER, SECTOR, SIGNATURE, Uuid, VERSION};
use crate::{Error, ErrorKind, FORMAT};
use identity::Identity;

/// What QEMU reads, and what VirtualBox makes when it is not told otherwise.
const BLOCK_SIZE: u64 = 1 << 20;
/// 512 TiB; what is remembered of them takes 64 MiB.
const MAX_BLOCKS: u64 = 1 << 29;
/// Where the map begins.
const MAP_OFFSET: u64 = 512;
/// Length that the header says of itself: with the geometry at its end.
const HEADER_LENGTH: u32 = 0x190;
/// Metadata of one answer; the contract's bound is 4 MiB.
const PAGE: u64 = 3 << 20;
const TEXT: &[u8; 40] = b"<<< Oracle VM VirtualBox Disk Image >>>\n";

/// The options of a new image, all optional.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Options {
    /// "dynamic" when absent.
    subformat: Option<Subformat>,
    /// The image's UUID.
    id: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Subformat {
    Dynamic,
    Static,
}

/// An image in the making.
#[derive(Debug)]
pub struct Writer {
    kind: Kind,
    virtual_size: u64,
    /// Blocks of the disk.
    blocks: u64,
    data_offset: u64,
    given_id: Option<Uuid>,
    identity: Identity,
    used: Blocks,
    /// First guest byte that may still be named.
    next_guest: u64,
    /// Next entry of the map to emit; `None` before the first page and after the last.
    map_at: Option<u64>,
    finished: bool,
}

impl ImageWriter for Writer {
    /// Starts an image of `virtual_size` bytes, a multiple of 512. `options` is a JSON object:
    /// - "subformat": "dynamic" (the default) or "static", in which every block has its place; where nothing is written,
    ///   the file has a hole;
    /// - "id": the UUID of the image. Without it, it is made of the size and of the places of the data: VirtualBox wants one,
    ///   and it has to differ between the disks that one VirtualBox knows, so give it where two disks may be laid out alike.
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
        if format != FORMAT {
            let message = format!("this plugin writes vdi, not \"{}\"", format.escape_debug());
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        if backing.is_some() {
            let message = "VDI images over a backing image are not written; take qcow2 for an overlay";
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        let options: Options = serde_json::from_str(options)
            .map_err(|error| invalid(format!("the options of the new image: {error}")))?;
        let kind = match options.subformat {
            None | Some(Subformat::Dynamic) => Kind::Dynamic,
            Some(Subformat::Static) => Kind::Static,
        };
        let given_id = options.id.as_deref().map(parse_id).transpose()?;
        let blocks = check_size(virtual_size)?;
        let data_offset = (MAP_OFFSET + 4 * blocks).next_multiple_of(BLOCK_SIZE);
        Ok(Self {
            kind,
            virtual_size,
            blocks,
            data_offset,
            given_id,
            identity: Identity::new(virtual_size, kind),
            used: Blocks::default(),
            next_guest: 0,
            map_at: None,
            finished: false,
        })
    }

    /// How to hand data over: by blocks.
    fn plan(&self) -> WritePlan {
        WritePlan { chunk_size: BLOCK_SIZE as u32, codec: String::new() }
    }

    /// The file offset for a chunk. Chunks come in ascending order.
    fn allocate(&mut self, chunk: &Chunk) -> Result<u64, Error> {
        if self.finished || self.map_at.is_some() {
            return Err(invalid("the image is finished"));
        }
        self.check_chunk(chunk).map_err(|message| {
            invalid(message)
                .with("start", chunk.start)
                .with("length", chunk.length)
                .with("stored", chunk.stored)
        })?;
        let block = chunk.start / BLOCK_SIZE;
        let place = match self.kind {
            Kind::Static => block,
            _ => self.used.count(),
        };
        self.used.insert(block);
        self.identity.add(block);
        self.next_guest = chunk.start + BLOCK_SIZE;
        Ok(self.data_offset + place * BLOCK_SIZE)
    }

    /// The map in pages, and the header at the end; see `witvirt:disk/layout.finish`.
    fn finish(&mut self) -> Result<Ending, Error> {
        if self.finished {
            return Err(invalid("the image is finished"));
        }
        let first = self.map_at.unwrap_or(0);
        let stop = self.blocks.min(first + PAGE / 4);
        let mut bytes = Vec::with_capacity(((stop - first) * 4) as usize);
        for block in first..stop {
            let entry = match self.kind {
                Kind::Static => Some(block),
                _ => self.used.rank(block),
            };
            let entry = entry.map_or(crate::header::FREE, |place| place as u32);
            bytes.extend(entry.to_le_bytes());
        }
        let mut writes = vec![Write { offset: MAP_OFFSET + 4 * first, bytes }];
        self.map_at = Some(stop);
        self.finished = stop == self.blocks;
        if self.finished {
            writes.push(Write { offset: 0, bytes: self.header() });
        }
        let size = self.data_offset + self.allocated() * BLOCK_SIZE;
        Ok(Ending { writes, size, next: !self.finished })
    }
}

impl Writer {
    fn check_chunk(&self, chunk: &Chunk) -> Result<(), &'static str> {
        let end = chunk.start.checked_add(chunk.length).filter(|end| *end <= self.virtual_size);
        let Some(end) = end else { return Err("the chunk lies past the end of the disk") };
        if chunk.start < self.next_guest {
            return Err("the chunks do not come in ascending order");
        }
        if !chunk.start.is_multiple_of(BLOCK_SIZE) {
            return Err("the chunk does not start at a block");
        }
        let whole = chunk.length == BLOCK_SIZE;
        if !whole && (end != self.virtual_size || chunk.length == 0 || chunk.length > BLOCK_SIZE) {
            return Err("the chunk is not a whole block, nor the end of the disk");
        }
        if chunk.encoded || chunk.stored != chunk.length {
            return Err("the chunk is encoded; VDI images are not");
        }
        Ok(())
    }

    fn allocated(&self) -> u64 {
        if self.kind == Kind::Static { self.blocks } else { self.used.count() }
    }

    fn header(&self) -> Vec<u8> {
        let mut bytes = TEXT.to_vec();
        bytes.resize(64, 0);
        for word in [SIGNATURE, VERSION, HEADER_LENGTH, self.kind.number(), 0] {
            bytes.extend(word.to_le_bytes());
        }
        // No comment.
        bytes.resize(bytes.len() + 256, 0);
        // Map, data, no geometry, sectors of 512 bytes, a word that is not used.
        for word in [MAP_OFFSET as u32, self.data_offset as u32, 0, 0, 0, SECTOR as u32, 0] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(self.virtual_size.to_le_bytes());
        for word in [BLOCK_SIZE as u32, 0, self.blocks as u32, self.allocated() as u32] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(self.given_id.unwrap_or_else(|| self.identity.id()).0);
        bytes.extend(self.identity.modification().0);
        // No parent.
        bytes.resize(HEADER_END, 0);
        for word in [0, 0, 0, SECTOR as u32] {
            bytes.extend(word.to_le_bytes());
        }
        debug_assert_eq!(bytes.len() as u64, PRE_HEADER + u64::from(HEADER_LENGTH));
        bytes.resize(MAP_OFFSET as usize, 0);
        bytes
    }
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidInput, message)
}

fn parse_id(text: &str) -> Result<Uuid, Error> {
    Uuid::parse(text).filter(|id| !id.is_null()).ok_or_else(|| {
        invalid("id has to be a UUID that is not null, like 6ba7b810-9dad-11d1-80b4-00c04fd430c8")
            .with("id", text.escape_debug())
    })
}

/// How many blocks the disk has.
fn check_size(virtual_size: u64) -> Result<u64, Error> {
    if !virtual_size.is_multiple_of(SECTOR) {
        return Err(
            invalid("the size of the disk has to be a multiple of 512").with("virtual-size", virtual_size)
        );
    }
    let blocks = virtual_size.div_ceil(BLOCK_SIZE);
    if blocks > MAX_BLOCKS {
        return Err(invalid("the disk is too large for VDI")
            .with("virtual-size", virtual_size)
            .with("limit", MAX_BLOCKS * BLOCK_SIZE));
    }
    Ok(blocks)
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;

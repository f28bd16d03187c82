//! Writing a new dynamic image.
//!
//! The file is, in whole MiB: signature, headers and tables of regions; log; metadata; block allocation table; blocks in the
//! order of the disk. Blocks that nothing is written to are in the state "zero" and take no place. The signature is the last
//! write.

mod records;

use serde::Deserialize;
use witvirt_sdk::core::format::{Chunk, Ending, Write, WritePlan};
use witvirt_sdk::disk::{Blocks, ImageWriter};

use crate::bat::Shape;
use crate::guid::{Digest, Guid};
use crate::header;
use crate::metadata::MAX_SIZE;
use crate::region::{self, Range};
use crate::{Error, ErrorKind, FORMAT, MIB};

const SECTOR: u64 = 512;
/// Unit of what is written: parts of a block that are zeros stay holes of the file.
const CHUNK: u64 = MIB;
const MAX_BLOCK: u64 = 256 << 20;
/// Blocks of a disk, as long as larger blocks can keep them that few: their table then has 2 MiB.
const FEW_BLOCKS: u64 = 1 << 18;
const LOG: Range = Range { offset: MIB, length: MIB };
const METADATA: Range = Range { offset: 2 * MIB, length: MIB };
const BAT_OFFSET: u64 = 3 * MIB;
const ZERO: u64 = 2;
const PRESENT: u64 = 6;
/// Metadata of one answer in bytes; the contract's bound is 4 MiB.
const PAGE: u64 = 2 << 20;

/// The options of a new image, all optional.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Options {
    block_size: Option<u64>,
    id: Option<String>,
}

/// An image in the making.
#[derive(Debug)]
pub struct Writer {
    virtual_size: u64,
    shape: Shape,
    given_id: Option<Guid>,
    digest: Digest,
    used: Blocks,
    /// The block that was placed last.
    last_block: Option<u64>,
    /// First guest byte that may still be named.
    next_guest: u64,
    /// The entry of the table that comes next; `None` before the first page.
    next_entry: Option<u64>,
    done: bool,
}

impl ImageWriter for Writer {
    /// Starts an image of `virtual_size` bytes, a multiple of 512 up to 64 TiB. `options` is a JSON object:
    /// - "block-size": bytes, a power of two from 1 to 256 MiB. Without it, 1 MiB, or more for disks above 256 GiB;
    /// - "id": the GUID that differencing images over this one will know it by. Without it, it is made of the size and of
    ///   the places of the data, so give it where two disks may be laid out alike.
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
            let message = format!("this plugin writes vhdx, not \"{}\"", format.escape_debug());
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        if backing.is_some() {
            let message = "vhdx images over a backing image are not written; take qcow2 for an overlay";
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        let options: Options = serde_json::from_str(options)
            .map_err(|error| invalid(format!("the options of the new image: {error}")))?;
        if virtual_size == 0 || !virtual_size.is_multiple_of(SECTOR) || virtual_size > MAX_SIZE {
            let message = "the size of the disk has to be a multiple of 512, not 0, and at most 64 TiB";
            return Err(invalid(message).with("virtual-size", virtual_size));
        }
        let block_size = options.block_size.unwrap_or_else(|| usual_block(virtual_size));
        if !block_size.is_power_of_two() || !(MIB..=MAX_BLOCK).contains(&block_size) {
            let message = "block-size has to be a power of two from 1048576 to 268435456";
            return Err(invalid(message).with("block-size", block_size));
        }
        let bad_id = || invalid("the id is no GUID, as 00112233-4455-6677-8899-aabbccddeeff is");
        let given_id = options.id.as_deref().map(|text| Guid::parse(text).ok_or_else(bad_id)).transpose()?;
        let mut digest = Digest::new();
        [virtual_size, block_size].into_iter().for_each(|value| digest.add(value));
        Ok(Self {
            virtual_size,
            shape: Shape::of(virtual_size, block_size, SECTOR, false),
            given_id,
            digest,
            used: Blocks::default(),
            last_block: None,
            next_guest: 0,
            next_entry: None,
            done: false,
        })
    }

    /// How to hand data over: in whole MiB.
    fn plan(&self) -> WritePlan {
        WritePlan { chunk_size: CHUNK as u32, codec: String::new() }
    }

    /// The file offset for a chunk. Chunks come in ascending order.
    fn allocate(&mut self, chunk: &Chunk) -> Result<u64, Error> {
        if self.next_entry.is_some() {
            return Err(invalid("the image is finished"));
        }
        self.check_chunk(chunk).map_err(|message| {
            invalid(message)
                .with("start", chunk.start)
                .with("length", chunk.length)
                .with("stored", chunk.stored)
        })?;
        self.next_guest = chunk.start + CHUNK;
        self.digest.add(chunk.start);
        let block = chunk.start / self.shape.block_size;
        if self.last_block != Some(block) {
            self.used.insert(block);
            self.last_block = Some(block);
        }
        Ok(self.block_offset(self.used.count() - 1) + chunk.start % self.shape.block_size)
    }

    /// The metadata, in pages; see `witvirt:disk/layout.finish`.
    fn finish(&mut self) -> Result<Ending, Error> {
        if self.done {
            return Err(invalid("the image is finished"));
        }
        let from = self.next_entry.unwrap_or_default();
        let until = self.shape.entries().min(from + PAGE / 8);
        let mut writes = vec![Write { offset: BAT_OFFSET + from * 8, bytes: self.table(from, until) }];
        self.next_entry = Some(until);
        self.done = until == self.shape.entries();
        if self.done {
            writes.extend(self.front());
        }
        Ok(Ending { writes, size: self.block_offset(self.used.count()), next: !self.done })
    }
}

impl Writer {
    fn check_chunk(&self, chunk: &Chunk) -> Result<(), &'static str> {
        let end = chunk.start.checked_add(chunk.length).filter(|end| *end <= self.virtual_size);
        let Some(end) = end else { return Err("the chunk lies past the end of the disk") };
        if chunk.start < self.next_guest {
            return Err("the chunks do not come in ascending order");
        }
        if !chunk.start.is_multiple_of(CHUNK) {
            return Err("the chunk does not start at a whole MiB");
        }
        let whole = chunk.length == CHUNK;
        if !whole && (end != self.virtual_size || chunk.length == 0 || chunk.length > CHUNK) {
            return Err("the chunk is not a whole MiB, nor the end of the disk");
        }
        if chunk.encoded || chunk.stored != chunk.length {
            return Err("the chunk has to be stored as it is");
        }
        Ok(())
    }

    /// A part of the table. Entries of sector bitmaps, one behind each group of payload blocks, are zero.
    fn table(&mut self, from: u64, until: u64) -> Vec<u8> {
        let group = self.shape.ratio + 1;
        let mut bytes = Vec::with_capacity(((until - from) * 8) as usize);
        for index in from..until {
            let entry = match index % group == self.shape.ratio {
                true => 0,
                false => match self.used.rank(index - index / group) {
                    Some(rank) => self.block_offset(rank) | PRESENT,
                    None => ZERO,
                },
            };
            bytes.extend(entry.to_le_bytes());
        }
        bytes
    }

    /// Everything in front of the table, the signature last.
    fn front(&self) -> Vec<Write> {
        let metadata = records::Metadata {
            block_size: self.shape.block_size,
            virtual_size: self.virtual_size,
            disk_id: self.digest.guid(3),
        };
        let mut writes = vec![Write { offset: METADATA.offset, bytes: records::metadata(&metadata) }];
        let regions = records::regions(Range { offset: BAT_OFFSET, length: self.bat_length() }, METADATA);
        for offset in region::OFFSETS {
            writes.push(Write { offset, bytes: regions.clone() });
        }
        let data_write_id = self.given_id.unwrap_or_else(|| self.digest.guid(1));
        for (offset, sequence) in header::OFFSETS.into_iter().zip(1..) {
            let bytes = records::header(sequence, self.digest.guid(2), data_write_id, LOG);
            writes.push(Write { offset, bytes });
        }
        writes.push(Write { offset: 0, bytes: records::signature() });
        writes
    }

    fn bat_length(&self) -> u64 {
        (self.shape.entries() * 8).next_multiple_of(MIB)
    }

    /// Where the block that comes `rank`-th in the file begins.
    fn block_offset(&self, rank: u64) -> u64 {
        BAT_OFFSET + self.bat_length() + rank * self.shape.block_size
    }
}

/// The smallest block of which a disk has few.
fn usual_block(virtual_size: u64) -> u64 {
    let sizes = std::iter::successors(Some(MIB), |size| Some(size * 2)).take_while(|size| *size < MAX_BLOCK);
    sizes.into_iter().find(|size| virtual_size.div_ceil(*size) <= FEW_BLOCKS).unwrap_or(MAX_BLOCK)
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidInput, message)
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;

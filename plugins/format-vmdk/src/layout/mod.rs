//! Writing a new image: monolithicSparse, or streamOptimized.
//!
//! monolithicSparse: header, descriptor, redundant and primary directory each with all its tables (most of them holes of the
//! file), then grains of 64 KiB in the order of [`Writer::allocate`].
//!
//! streamOptimized: header, descriptor, and from sector 128 on, front to back, compressed grains behind their markers; after
//! the last grain of a grain table that table; the directory, the footer and the end mark. Nothing points backwards but the
//! tables, so that a reader needs no second look.

mod finish;
mod records;
mod text;

use serde::Deserialize;
use witvirt_sdk::core::format::{Chunk, Ending, WritePlan};
use witvirt_sdk::disk::ImageWriter;

use crate::sector::SECTOR;
use crate::sparse::grain::{GRAIN_MARKER, longest};
use crate::{Error, ErrorKind, FORMAT, codec};
use finish::Finish;
use records::Records;

/// Sectors of a grain.
const GRAIN: u64 = 128;
/// Bytes of a grain.
const GRAIN_BYTES: u64 = GRAIN * SECTOR;
/// Entries of a grain table.
const TABLE_ENTRIES: u64 = 512;
/// Sectors of a grain table.
const TABLE: u64 = TABLE_ENTRIES * 4 / SECTOR;
/// Where the descriptor is, in sectors, and its length.
const DESCRIPTOR: u64 = 1;
const DESCRIPTOR_SIZE: u64 = 20;
/// What the numbers of grains and tables allow with the directories that readers take; the host's bound is the same.
const MAX_SIZE: u64 = 64 << 40;
/// Entries of grain tables are 32 bits wide.
const MAX_SECTOR: u64 = u32::MAX as u64;

/// The options of a new image, all optional.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Options {
    /// "monolithicSparse" when absent.
    subformat: Option<Subformat>,
    /// "ide" when absent.
    adapter_type: Option<AdapterType>,
    /// Version of VMware's virtual hardware; 4 when absent.
    hardware_version: Option<u8>,
}

/// How the image is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
enum Subformat {
    #[serde(rename = "monolithicSparse")]
    MonolithicSparse,
    #[serde(rename = "streamOptimized")]
    StreamOptimized,
}

/// The controller that a guest expects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum AdapterType {
    Ide,
    Buslogic,
    Lsilogic,
}

/// What an image is to be.
#[derive(Debug)]
struct Target {
    subformat: Subformat,
    adapter_type: AdapterType,
    hardware_version: u8,
    virtual_size: u64,
}

impl Target {
    /// Entries of the grain directory.
    fn tables(&self) -> u64 {
        self.virtual_size.div_ceil(GRAIN_BYTES * TABLE_ENTRIES)
    }

    /// Sectors of a grain directory.
    fn directory(&self) -> u64 {
        (self.tables() * 4).div_ceil(SECTOR)
    }

    /// First sector of the redundant directory of a monolithic image; its tables follow.
    fn redundant(&self) -> u64 {
        DESCRIPTOR + DESCRIPTOR_SIZE
    }

    /// First sector of the primary directory of a monolithic image; its tables follow.
    fn primary(&self) -> u64 {
        self.redundant() + self.directory() + self.tables() * TABLE
    }

    /// First sector of the grains.
    fn overhead(&self) -> u64 {
        match self.subformat {
            Subformat::MonolithicSparse => {
                (self.primary() + self.directory() + self.tables() * TABLE).next_multiple_of(GRAIN)
            }
            Subformat::StreamOptimized => GRAIN,
        }
    }
}

/// The end of the file while grains are added, the same when they are laid out and when they are described.
#[derive(Debug, Clone, Copy)]
struct End {
    /// In bytes.
    at: u64,
    /// The grain table that the last grain belongs to.
    table: Option<u64>,
}

impl End {
    fn new(target: &Target) -> Self {
        Self { at: target.overhead() * SECTOR, table: None }
    }

    /// Where the data of a grain goes.
    fn place(&mut self, subformat: Subformat, grain: u64, stored: u64) -> u64 {
        if subformat == Subformat::MonolithicSparse {
            let offset = self.at;
            self.at += GRAIN_BYTES;
            return offset;
        }
        let table = grain / TABLE_ENTRIES;
        if self.table.is_some_and(|last| last != table) {
            self.close_table();
        }
        self.table = Some(table);
        let offset = self.at + GRAIN_MARKER;
        self.at = (offset + stored).next_multiple_of(SECTOR);
        offset
    }

    /// Leaves room for the marker and the table of the grains so far; returns where.
    fn close_table(&mut self) -> u64 {
        let offset = self.at;
        self.at += (1 + TABLE) * SECTOR;
        self.table = None;
        offset
    }
}

/// An image in the making.
#[derive(Debug)]
pub struct Writer {
    target: Target,
    records: Records,
    /// First guest byte that may still be named.
    next_guest: u64,
    end: End,
    finish: Option<Finish>,
}

impl ImageWriter for Writer {
    /// Starts an image of `virtual_size` bytes; `options` is a JSON object: "subformat" ("monolithicSparse", the default, or
    /// "streamOptimized"), "adapter-type" ("ide", the default, "buslogic" or "lsilogic"), "hardware-version" (default 4).
    ///
    /// # Errors
    /// `invalid-input` with what is wrong, `unsupported` for another format and for a backing image.
    fn create(
        format: &str,
        virtual_size: u64,
        options: &str,
        backing: Option<(String, String)>,
    ) -> Result<Self, Error> {
        if format != FORMAT {
            let message = format!("this plugin writes vmdk, not \"{}\"", format.escape_debug());
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        if backing.is_some() {
            let message = "vmdk overlays are not written: they record the identity of the parent's content, which is \
                           not known here";
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        let options: Options = serde_json::from_str(options)
            .map_err(|error| invalid(format!("the options of the new image: {error}")))?;
        if virtual_size == 0 || !virtual_size.is_multiple_of(SECTOR) || virtual_size > MAX_SIZE {
            return Err(invalid("the size of the disk has to be a multiple of 512 from 512 to 64 TiB")
                .with("virtual-size", virtual_size));
        }
        let target = Target {
            subformat: options.subformat.unwrap_or(Subformat::MonolithicSparse),
            adapter_type: options.adapter_type.unwrap_or(AdapterType::Ide),
            hardware_version: options.hardware_version.unwrap_or(4),
            virtual_size,
        };
        let end = End::new(&target);
        Ok(Self { target, records: Records::default(), next_guest: 0, end, finish: None })
    }

    /// How to hand data over: by grains.
    fn plan(&self) -> WritePlan {
        let codec = match self.target.subformat {
            Subformat::MonolithicSparse => "",
            Subformat::StreamOptimized => codec::ZLIB_ALWAYS,
        };
        WritePlan { chunk_size: GRAIN_BYTES as u32, codec: codec.to_owned() }
    }

    /// The file offset for a chunk. Chunks come in ascending order.
    fn allocate(&mut self, chunk: &Chunk) -> Result<u64, Error> {
        if self.finish.is_some() {
            return Err(invalid("the image is finished"));
        }
        self.check_chunk(chunk).map_err(|message| {
            invalid(message)
                .with("start", chunk.start)
                .with("length", chunk.length)
                .with("stored", chunk.stored)
        })?;
        let grain = chunk.start / GRAIN_BYTES;
        let mut end = self.end;
        let offset = end.place(self.target.subformat, grain, chunk.stored);
        if end.at / SECTOR > MAX_SECTOR {
            return Err(Error::new(ErrorKind::Limit, "the image file would be larger than 2 TiB"));
        }
        self.records.add(grain as u32, chunk.encoded.then_some(chunk.stored as u32))?;
        self.end = end;
        self.next_guest = (grain + 1) * GRAIN_BYTES;
        Ok(offset)
    }

    /// The metadata, in pages; see `witvirt:disk/layout.finish`.
    fn finish(&mut self) -> Result<Ending, Error> {
        let finish = self.finish.get_or_insert_with(|| Finish::new(&self.target));
        finish.page(&self.target, &self.records)
    }
}

impl Writer {
    fn check_chunk(&self, chunk: &Chunk) -> Result<(), &'static str> {
        let end = chunk.start.checked_add(chunk.length).filter(|end| *end <= self.target.virtual_size);
        let Some(end) = end else { return Err("the chunk lies past the end of the disk") };
        if chunk.start < self.next_guest {
            return Err("the chunks do not come in ascending order");
        }
        if !chunk.start.is_multiple_of(GRAIN_BYTES) {
            return Err("the chunk does not start at a grain");
        }
        let whole = chunk.length == GRAIN_BYTES;
        if !whole && (end != self.target.virtual_size || chunk.length == 0 || chunk.length > GRAIN_BYTES) {
            return Err("the chunk is not a whole grain, nor the end of the disk");
        }
        match (self.target.subformat, chunk.encoded) {
            (Subformat::MonolithicSparse, true) => {
                Err("the chunk is encoded and the image is not compressed")
            }
            (Subformat::StreamOptimized, false) => Err("every grain of a stream has to be compressed"),
            (_, false) if chunk.stored != chunk.length => {
                Err("the chunk is not encoded and yet of another length")
            }
            (_, true) if chunk.stored == 0 || chunk.stored > longest(GRAIN_BYTES) - GRAIN_MARKER => {
                Err("the chunk is longer than what readers of streams take")
            }
            _ => Ok(()),
        }
    }
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidInput, message)
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;

//! Writing a new image: version 3, 16-bit refcounts, data first and metadata last.
//!
//! The file is: header cluster, data in the order of [`Writer::allocate`], L2 tables, L1 table, refcount blocks, refcount
//! table. Plain clusters are aligned; compressed ones are packed without gaps. The header is the last write.

mod finish;
mod records;

use serde::Deserialize;
use witvirt_sdk::core::format::{Chunk, Ending, WritePlan};
use witvirt_sdk::disk::ImageWriter;

use crate::header::{Compression, MAX_L1_BYTES, MAX_NAME};
use crate::{Error, ErrorKind, FORMAT};
use finish::Finish;
use records::Records;

const DEFAULT_CLUSTER_SIZE: u32 = 64 << 10;
/// Far above any file; what every kind of L2 entry can hold with every cluster size.
const MAX_FILE_SIZE: u64 = 1 << 48;
/// What 16-bit refcounts can count.
const MAX_SHARING: u32 = u16::MAX as u32;
/// QEMU's bound for the name of a backing format.
const MAX_BACKING_FORMAT: usize = 15;

/// The options of a new image, all optional.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Options {
    /// A power of two from 512 to 2 MiB, in bytes; 65536 when absent.
    cluster_size: Option<u32>,
    /// "none" when absent.
    compression: Option<CompressionOption>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum CompressionOption {
    None,
    Zlib,
    Zstd,
}

/// What an image is to be.
#[derive(Debug)]
struct Target {
    cluster_bits: u32,
    virtual_size: u64,
    compression: Option<Compression>,
    /// Name and format.
    backing: Option<(String, String)>,
}

impl Target {
    fn cluster_size(&self) -> u64 {
        1 << self.cluster_bits
    }

    fn l2_entries(&self) -> u64 {
        self.cluster_size() / 8
    }

    /// Entries of the L1 table.
    fn l1_entries(&self) -> u64 {
        self.virtual_size.div_ceil(self.cluster_size() * self.l2_entries()).max(1)
    }
}

/// An image in the making.
#[derive(Debug)]
pub struct Writer {
    target: Target,
    records: Records,
    /// First guest byte that may still be named.
    next_guest: u64,
    /// First free byte of the file.
    end: u64,
    /// Compressed clusters that lie in the last cluster of the file.
    sharing: u32,
    finish: Option<Finish>,
}

impl ImageWriter for Writer {
    /// Starts an image of `virtual_size` bytes; `options` is a JSON object: "cluster-size" (bytes, a power of two from 512 to
    /// 2 MiB, default 65536), "compression" ("none", the default, "zlib" or "zstd"). `backing` is a name and a format to
    /// record.
    ///
    /// # Errors
    /// `invalid-input` with what is wrong, `unsupported` for another format.
    fn create(
        format: &str,
        virtual_size: u64,
        options: &str,
        backing: Option<(String, String)>,
    ) -> Result<Self, Error> {
        if format != FORMAT {
            let message = format!("this plugin writes qcow2, not \"{}\"", format.escape_debug());
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        let options: Options = serde_json::from_str(options)
            .map_err(|error| invalid(format!("the options of the new image: {error}")))?;
        let compression = match options.compression {
            None | Some(CompressionOption::None) => None,
            Some(CompressionOption::Zlib) => Some(Compression::Zlib),
            Some(CompressionOption::Zstd) => Some(Compression::Zstd),
        };
        let cluster_bits = cluster_bits(options.cluster_size.unwrap_or(DEFAULT_CLUSTER_SIZE))?;
        let target = Target { cluster_bits, virtual_size, compression, backing };
        check_size(&target)?;
        check_backing(&target)?;
        let end = target.cluster_size();
        Ok(Self { target, records: Records::default(), next_guest: 0, end, sharing: 0, finish: None })
    }

    /// How to hand data over: by clusters.
    fn plan(&self) -> WritePlan {
        WritePlan {
            chunk_size: self.target.cluster_size() as u32,
            codec: self.target.compression.map(Compression::codec).unwrap_or_default().to_owned(),
        }
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
        let cluster_size = self.target.cluster_size();
        let packed = chunk.encoded && self.sharing < MAX_SHARING;
        let host = if packed { self.end } else { self.end.next_multiple_of(cluster_size) };
        let taken = if chunk.encoded { chunk.stored } else { cluster_size };
        let end = host + taken;
        if end > MAX_FILE_SIZE {
            return Err(Error::new(ErrorKind::Limit, "the image file would be too large")
                .with("limit", MAX_FILE_SIZE));
        }
        self.records.add(
            chunk.start / cluster_size,
            host,
            chunk.encoded.then_some(chunk.stored as u32),
            cluster_size,
        )?;
        let same_cluster = (end - 1) / cluster_size == self.end.saturating_sub(1) / cluster_size;
        self.sharing = match chunk.encoded {
            false => 0,
            true if same_cluster => self.sharing + 1,
            true => 1,
        };
        self.end = end;
        self.next_guest = chunk.start + cluster_size;
        Ok(host)
    }

    /// The metadata, in pages; see `witvirt:disk/layout.finish`.
    fn finish(&mut self) -> Result<Ending, Error> {
        if self.finish.is_none() {
            self.finish = Some(Finish::new(&self.target, &self.records, self.end)?);
        }
        match &mut self.finish {
            Some(finish) => finish.page(&self.target, &self.records),
            None => Err(invalid("the image is not finished")),
        }
    }
}

impl Writer {
    fn check_chunk(&self, chunk: &Chunk) -> Result<(), &'static str> {
        let cluster_size = self.target.cluster_size();
        let end = chunk.start.checked_add(chunk.length).filter(|end| *end <= self.target.virtual_size);
        let Some(end) = end else { return Err("the chunk lies past the end of the disk") };
        if chunk.start < self.next_guest {
            return Err("the chunks do not come in ascending order");
        }
        if !chunk.start.is_multiple_of(cluster_size) {
            return Err("the chunk does not start at a cluster");
        }
        let whole = chunk.length == cluster_size;
        if !whole && (end != self.target.virtual_size || chunk.length == 0 || chunk.length > cluster_size) {
            return Err("the chunk is not a whole cluster, nor the end of the disk");
        }
        match chunk.encoded {
            false if chunk.stored != chunk.length => {
                Err("the chunk is not encoded and yet of another length")
            }
            true if self.target.compression.is_none() => {
                Err("the chunk is encoded and the image is not compressed")
            }
            true if !whole => Err("the chunk is shorter than a cluster and has to be stored as it is"),
            true if chunk.stored == 0 || chunk.stored >= cluster_size => {
                Err("the chunk is encoded and has to be smaller than a cluster")
            }
            _ => Ok(()),
        }
    }
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidInput, message)
}

fn cluster_bits(size: u32) -> Result<u32, Error> {
    let legal = size.is_power_of_two() && (512..=2 << 20).contains(&size);
    match legal {
        true => Ok(size.trailing_zeros()),
        false => {
            Err(invalid("cluster-size has to be a power of two from 512 to 2097152")
                .with("cluster-size", size))
        }
    }
}

fn check_size(target: &Target) -> Result<(), Error> {
    if !target.virtual_size.is_multiple_of(512) {
        return Err(invalid("the size of the disk has to be a multiple of 512")
            .with("virtual-size", target.virtual_size));
    }
    let limit = MAX_L1_BYTES / 8 * target.l2_entries() * target.cluster_size();
    if target.virtual_size > limit.min(i64::MAX as u64 & !511) {
        return Err(invalid("the disk is too large for this cluster-size; take a larger one")
            .with("virtual-size", target.virtual_size)
            .with("cluster-size", target.cluster_size())
            .with("limit", limit));
    }
    Ok(())
}

fn check_backing(target: &Target) -> Result<(), Error> {
    let Some((name, format)) = &target.backing else { return Ok(()) };
    for (what, text, limit) in [("name", name, MAX_NAME as usize), ("format", format, MAX_BACKING_FORMAT)] {
        if text.is_empty() || text.len() > limit || text.chars().any(char::is_control) {
            return Err(invalid(format!(
                "the {what} of the backing image has to be 1 to {limit} bytes without control characters"
            ))
            .with("length", text.len()));
        }
    }
    let front = finish::front_length(target);
    if front > target.cluster_size() {
        return Err(invalid(
            "the name of the backing image does not fit into the first cluster; take a larger cluster-size",
        )
        .with("needed", front)
        .with("cluster-size", target.cluster_size()));
    }
    Ok(())
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;

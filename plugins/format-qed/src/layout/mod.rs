//! Writing a new image: data first and metadata last.
//!
//! The file is: header cluster, L1 table, data in the order of [`Writer::allocate`], L2 tables. The header is the last write.

mod finish;
mod runs;

use serde::Deserialize;
use witvirt_sdk::core::format::{Chunk, Ending, WritePlan};
use witvirt_sdk::disk::ImageWriter;

use crate::header::{LENGTH, MAX_NAME, SECTOR, Shape, legal_cluster_size, legal_table_size};
use crate::{Error, ErrorKind, FORMAT};
use finish::Finish;
use runs::Runs;

const DEFAULT_CLUSTER_SIZE: u32 = 64 << 10;
const DEFAULT_TABLE_SIZE: u32 = 4;
/// What the host hands over at most at a time; QED itself has clusters of up to 64 MiB.
const MAX_CLUSTER_SIZE: u32 = 4 << 20;
/// QEMU takes the offset of a table of 1 cluster for an overflow.
const MIN_TABLE_SIZE: u32 = 2;
/// Far above any file.
const MAX_FILE_SIZE: u64 = 1 << 60;

/// The options of a new image, all optional.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Options {
    /// Bytes; 65536 when absent.
    cluster_size: Option<u32>,
    /// Clusters; 4 when absent.
    table_size: Option<u32>,
}

/// What an image is to be.
#[derive(Debug)]
struct Target {
    shape: Shape,
    virtual_size: u64,
    /// Name and format.
    backing: Option<(String, String)>,
}

impl Target {
    /// Where data begins.
    fn data_offset(&self) -> u64 {
        self.shape.cluster_size + self.shape.table_bytes()
    }
}

/// An image in the making.
#[derive(Debug)]
pub struct Writer {
    target: Target,
    runs: Runs,
    /// First guest byte that may still be named.
    next_guest: u64,
    finish: Option<Finish>,
}

impl ImageWriter for Writer {
    /// Starts an image of `virtual_size` bytes, a multiple of 512. `options` is a JSON object:
    /// - "cluster-size": bytes, a power of two from 4096 to 4194304, default 65536;
    /// - "table-size": clusters of a table, 2, 4 (the default; 2 with clusters of 4 MiB), 8 or 16. QEMU does not open
    ///   images with tables of 1, nor those whose tables could map 2^64 bytes.
    ///
    /// `backing` is a name and a format. QED can record of the format only that it is "raw"; of any other, a reader has to
    /// be told.
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
            let message = format!("this plugin writes qed, not \"{}\"", format.escape_debug());
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        let options: Options = serde_json::from_str(options)
            .map_err(|error| invalid(format!("the options of the new image: {error}")))?;
        let target = Target { shape: shape(&options)?, virtual_size, backing };
        check_size(&target)?;
        check_backing(&target)?;
        Ok(Self { target, runs: Runs::default(), next_guest: 0, finish: None })
    }

    /// How to hand data over: by clusters.
    fn plan(&self) -> WritePlan {
        WritePlan { chunk_size: self.target.shape.cluster_size as u32, codec: String::new() }
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
        let cluster_size = self.target.shape.cluster_size;
        let place = self.runs.push(chunk.start / cluster_size)?;
        self.next_guest = chunk.start + cluster_size;
        let offset = self.target.data_offset() + place * cluster_size;
        if offset > MAX_FILE_SIZE {
            return Err(Error::new(ErrorKind::Limit, "the image file would be too large")
                .with("limit", MAX_FILE_SIZE));
        }
        Ok(offset)
    }

    /// The metadata, in pages; see `witvirt:disk/layout.finish`.
    fn finish(&mut self) -> Result<Ending, Error> {
        let (target, runs) = (&self.target, &self.runs);
        self.finish.get_or_insert_with(|| Finish::new(target, runs)).page(target, runs)
    }
}

impl Writer {
    fn check_chunk(&self, chunk: &Chunk) -> Result<(), &'static str> {
        let cluster_size = self.target.shape.cluster_size;
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
        if chunk.encoded || chunk.stored != chunk.length {
            return Err("the chunk is encoded; QED images are not");
        }
        Ok(())
    }
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidInput, message)
}

fn shape(options: &Options) -> Result<Shape, Error> {
    let cluster_size = options.cluster_size.unwrap_or(DEFAULT_CLUSTER_SIZE);
    if !legal_cluster_size(cluster_size) || cluster_size > MAX_CLUSTER_SIZE {
        return Err(invalid("cluster-size has to be a power of two from 4096 to 4194304")
            .with("cluster-size", cluster_size));
    }
    let shape =
        |table_size: u32| Shape { cluster_size: u64::from(cluster_size), table_size: u64::from(table_size) };
    let default = if fits_qemu(shape(DEFAULT_TABLE_SIZE)) { DEFAULT_TABLE_SIZE } else { MIN_TABLE_SIZE };
    let table_size = options.table_size.unwrap_or(default);
    if !legal_table_size(table_size) || table_size < MIN_TABLE_SIZE {
        return Err(invalid("table-size has to be 2, 4, 8 or 16").with("table-size", table_size));
    }
    if !fits_qemu(shape(table_size)) {
        return Err(invalid(
            "QEMU opens no image with such large clusters and tables; take a smaller table-size",
        )
        .with("cluster-size", cluster_size)
        .with("table-size", table_size));
    }
    Ok(shape(table_size))
}

/// QEMU counts what the tables could map in 64 bits.
fn fits_qemu(shape: Shape) -> bool {
    shape.reach().checked_mul(shape.entries()).is_some()
}

fn check_size(target: &Target) -> Result<(), Error> {
    if !target.virtual_size.is_multiple_of(SECTOR) {
        return Err(invalid("the size of the disk has to be a multiple of 512")
            .with("virtual-size", target.virtual_size));
    }
    let limit = target.shape.reach().saturating_mul(target.shape.entries()).min(i64::MAX as u64);
    if target.virtual_size > limit {
        return Err(invalid(
            "the disk is too large for its tables; take a larger cluster-size or table-size",
        )
        .with("virtual-size", target.virtual_size)
        .with("limit", limit));
    }
    Ok(())
}

fn check_backing(target: &Target) -> Result<(), Error> {
    let Some((name, format)) = &target.backing else { return Ok(()) };
    let limit = (MAX_NAME as usize).min(target.shape.cluster_size as usize - LENGTH);
    if name.is_empty() || name.len() > limit || name.chars().any(char::is_control) {
        return Err(invalid(format!(
            "the name of the backing image has to be 1 to {limit} bytes without control characters"
        ))
        .with("length", name.len()));
    }
    if format.is_empty() {
        return Err(invalid("the format of the backing image has to be stated"));
    }
    Ok(())
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;

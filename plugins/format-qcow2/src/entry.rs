//! Entries of L1 and L2 tables.

use crate::header::Header;

const COPIED: u64 = 1 << 63;
const COMPRESSED: u64 = 1 << 62;
const ZERO: u64 = 1;
const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;
const L1_RESERVED: u64 = !(COPIED | OFFSET);
const L2_RESERVED: u64 = !(COPIED | COMPRESSED | OFFSET | ZERO);

/// Subclusters of a cluster with extended L2 entries.
pub(crate) const SUBCLUSTERS: u32 = 32;

/// What of a header decides how tables are read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub cluster_bits: u32,
    /// L2 entries are 16 bytes, with a bitmap.
    pub extended: bool,
    pub version: u32,
    /// Data lies in another file.
    pub data_file: bool,
}

impl Shape {
    pub fn new(header: &Header) -> Self {
        Self {
            cluster_bits: header.cluster_bits,
            extended: header.extended_l2(),
            version: header.version,
            data_file: header.has_data_file(),
        }
    }

    pub fn cluster_size(self) -> u64 {
        1 << self.cluster_bits
    }

    pub fn entry_size(self) -> usize {
        if self.extended { 16 } else { 8 }
    }

    /// Entries of an L2 table.
    pub fn l2_entries(self) -> u64 {
        self.cluster_size() / self.entry_size() as u64
    }

    /// Guest bytes that an L2 table maps, as a power of two.
    pub fn l2_bits(self) -> u32 {
        2 * self.cluster_bits - if self.extended { 4 } else { 3 }
    }

    fn aligned(self, offset: u64) -> bool {
        offset & (self.cluster_size() - 1) == 0
    }
}

/// Why an entry makes no sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    Reserved,
    Unaligned,
    ZeroInVersion2,
    CompressedWithDataFile,
    BitmapOfCompressed,
    BitmapContradiction,
}

impl Fault {
    /// A sentence about "the entry".
    pub fn message(self) -> &'static str {
        match self {
            Self::Reserved => "reserved bits of the entry are set",
            Self::Unaligned => "the entry's offset is not that of a cluster",
            Self::ZeroInVersion2 => "the entry is a zero cluster, which version 2 does not have",
            Self::CompressedWithDataFile => {
                "the entry is compressed, which images with an external data file cannot have"
            }
            Self::BitmapOfCompressed => "the entry is compressed and has a subcluster bitmap",
            Self::BitmapContradiction => "the entry's subcluster bitmap contradicts itself",
        }
    }

    /// A stable word.
    pub fn code(self) -> &'static str {
        match self {
            Self::Unaligned => "unaligned-offset",
            _ => "invalid-entry",
        }
    }
}

/// The L2 table of an L1 entry.
pub(crate) fn l1_entry(raw: u64, shape: Shape) -> Result<Option<u64>, Fault> {
    if raw & L1_RESERVED != 0 {
        return Err(Fault::Reserved);
    }
    match raw & OFFSET {
        0 => Ok(None),
        offset if shape.aligned(offset) => Ok(Some(offset)),
        _ => Err(Fault::Unaligned),
    }
}

/// The flag that the refcount of an entry's cluster is exactly 1.
pub(crate) fn copied(raw: u64) -> bool {
    raw & COPIED != 0
}

/// What a cluster is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cluster {
    /// Nothing here: look below.
    Unallocated,
    /// Zeros; the host cluster may be preallocated.
    Zero(Option<u64>),
    /// A host cluster.
    Data(u64),
    /// At most `length` bytes at any offset.
    Compressed { offset: u64, length: u64 },
    /// A bit per subcluster in `data` and `zero`, disjoint; neither: look below. `host` is absent where no bit of `data`
    /// is set.
    Split { host: Option<u64>, data: u32, zero: u32 },
}

/// Reads an L2 entry; `bitmap` is its second half with extended L2 entries, else 0.
pub(crate) fn l2_entry(raw: u64, bitmap: u64, shape: Shape) -> Result<Cluster, Fault> {
    if raw & COMPRESSED != 0 {
        return compressed(raw, bitmap, shape);
    }
    if raw & L2_RESERVED != 0 || (shape.extended && raw & ZERO != 0) {
        return Err(Fault::Reserved);
    }
    let offset = raw & OFFSET;
    if !shape.aligned(offset) {
        return Err(Fault::Unaligned);
    }
    // Offset 0 is the first cluster of an external data file when the entry is marked as copied.
    let host = (offset != 0 || (shape.data_file && copied(raw))).then_some(offset);
    if shape.extended {
        return split(host, bitmap);
    }
    match (raw & ZERO != 0, host) {
        (true, _) if shape.version < 3 => Err(Fault::ZeroInVersion2),
        (true, host) => Ok(Cluster::Zero(host)),
        (false, Some(offset)) => Ok(Cluster::Data(offset)),
        (false, None) => Ok(Cluster::Unallocated),
    }
}

fn compressed(raw: u64, bitmap: u64, shape: Shape) -> Result<Cluster, Fault> {
    if shape.data_file {
        return Err(Fault::CompressedWithDataFile);
    }
    if bitmap != 0 {
        return Err(Fault::BitmapOfCompressed);
    }
    let offset_bits = 62 - (shape.cluster_bits - 8);
    let offset = raw & ((1 << offset_bits) - 1);
    let more_sectors = (raw & !(COPIED | COMPRESSED)) >> offset_bits;
    Ok(Cluster::Compressed { offset, length: (more_sectors + 1) * 512 - (offset & 511) })
}

fn split(host: Option<u64>, bitmap: u64) -> Result<Cluster, Fault> {
    let (data, zero) = (bitmap as u32, (bitmap >> 32) as u32);
    if data & zero != 0 || (host.is_none() && data != 0) {
        return Err(Fault::BitmapContradiction);
    }
    Ok(match (host, data, zero) {
        (Some(offset), u32::MAX, _) => Cluster::Data(offset),
        (host, _, u32::MAX) => Cluster::Zero(host),
        (None, 0, 0) => Cluster::Unallocated,
        _ => Cluster::Split { host, data, zero },
    })
}

#[cfg(test)]
#[path = "entry_tests.rs"]
mod tests;

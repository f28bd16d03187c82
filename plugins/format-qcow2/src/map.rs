//! From L2 entries to long runs.

use witvirt_sdk::core::extent::{Encoded, ExtentKind, Page};
use witvirt_sdk::disk::{Runs, hex};

use crate::entry::{Cluster, Fault, SUBCLUSTERS, Shape, l2_entry};
use crate::{Error, ErrorKind};

/// What the extents of an image have in common.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sources {
    /// 0, or the id of the external data file.
    pub data: u32,
    /// Length of the file that data lies in.
    pub data_size: u64,
    /// Length of the image file, where compressed clusters lie.
    pub image_size: u64,
    /// Codec of compressed clusters.
    pub codec: &'static str,
    /// What unallocated clusters are.
    pub below: Below,
}

/// What lies under an unallocated cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Below {
    Backing,
    Nothing,
}

/// A page in the making, with what its extents have in common.
pub(crate) struct Clusters {
    sources: Sources,
    runs: Runs,
}

impl Clusters {
    pub fn new(sources: Sources, start: u64, max: u32) -> Self {
        Self { sources, runs: Runs::new(start, max) }
    }

    pub fn position(&self) -> u64 {
        self.runs.position()
    }

    pub fn into_page(self, end: u64) -> Page {
        self.runs.into_page(end)
    }

    /// False when the page is full; then nothing was added.
    pub fn push_unallocated(&mut self, length: u64) -> bool {
        let kind = match self.sources.below {
            Below::Backing => ExtentKind::Parent,
            Below::Nothing => ExtentKind::Unallocated,
        };
        self.runs.push(length, kind)
    }

    /// Adds the clusters of an L2 table from the current position up to `end`, which the table covers. Returns false when
    /// the page is full.
    pub fn push_table(&mut self, table: &[u8], end: u64, shape: Shape) -> Result<bool, Error> {
        let entry_size = shape.entry_size();
        let first = (self.position() >> shape.cluster_bits) & (shape.l2_entries() - 1);
        let entries = table.get(first as usize * entry_size..).unwrap_or_default();
        for entry in entries.chunks_exact(entry_size) {
            if self.position() >= end {
                break;
            }
            let (raw, bitmap) = words(entry);
            let cluster = l2_entry(raw, bitmap, shape).map_err(|fault| self.bad_entry(fault, raw))?;
            let skip = self.position() & (shape.cluster_size() - 1);
            let length = (shape.cluster_size() - skip).min(end - self.position());
            if !self.push_cluster(cluster, skip, length, shape)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn push_cluster(
        &mut self,
        cluster: Cluster,
        skip: u64,
        length: u64,
        shape: Shape,
    ) -> Result<bool, Error> {
        match cluster {
            Cluster::Unallocated => Ok(self.push_unallocated(length)),
            Cluster::Zero(_) => Ok(self.runs.push(length, ExtentKind::Zero)),
            Cluster::Data(host) => self.push_data(host + skip, length),
            Cluster::Compressed { offset, length: encoded } => {
                let kind = self.encoded(offset, encoded, skip, shape)?;
                Ok(self.runs.push(length, kind))
            }
            Cluster::Split { host, data, zero } => self.push_split(host, data, zero, skip, length, shape),
        }
    }

    fn push_data(&mut self, offset: u64, length: u64) -> Result<bool, Error> {
        if offset + length > self.sources.data_size {
            return Err(Error::new(
                ErrorKind::Corrupt,
                "a data cluster lies past the end of the file; it may be cut short",
            )
            .with("guest-offset", hex(self.position()))
            .with("offset", hex(offset))
            .with("length", length)
            .with("file-size", hex(self.sources.data_size)));
        }
        Ok(self.runs.push(length, ExtentKind::Data { source: self.sources.data, offset }))
    }

    /// The length in a descriptor is rounded up to sectors, so the last one may end up to 511 bytes after the file.
    fn encoded(&self, offset: u64, length: u64, skip: u64, shape: Shape) -> Result<ExtentKind, Error> {
        let size = self.sources.image_size;
        let end = offset.checked_add(length).filter(|end| offset < size && *end < size.saturating_add(512));
        let Some(end) = end else {
            return Err(Error::new(ErrorKind::Corrupt, "a compressed cluster runs past the end of the file")
                .with("guest-offset", hex(self.position()))
                .with("offset", hex(offset))
                .with("length", length)
                .with("file-size", hex(size)));
        };
        Ok(ExtentKind::Encoded(Encoded {
            codec: self.sources.codec.to_owned(),
            source: 0,
            offset,
            length: end.min(size) - offset,
            decoded_length: shape.cluster_size() as u32,
            skip: skip as u32,
        }))
    }

    fn push_split(
        &mut self,
        host: Option<u64>,
        data: u32,
        zero: u32,
        skip: u64,
        length: u64,
        shape: Shape,
    ) -> Result<bool, Error> {
        let size = shape.cluster_size() / u64::from(SUBCLUSTERS);
        let end = skip + length;
        let mut at = skip;
        while at < end {
            let bit = 1 << (at / size);
            let piece = (size - at % size).min(end - at);
            let pushed = match host {
                Some(host) if data & bit != 0 => self.push_data(host + at, piece)?,
                _ if zero & bit != 0 => self.runs.push(piece, ExtentKind::Zero),
                _ => self.push_unallocated(piece),
            };
            if !pushed {
                return Ok(false);
            }
            at += piece;
        }
        Ok(true)
    }

    fn bad_entry(&self, fault: Fault, raw: u64) -> Error {
        Error::new(ErrorKind::Corrupt, format!("L2 table: {}", fault.message()))
            .with("guest-offset", hex(self.position()))
            .with("entry", hex(raw))
    }
}

/// An entry, and its bitmap where it has one.
pub(crate) fn words(entry: &[u8]) -> (u64, u64) {
    let word = |bytes: Option<&[u8]>| {
        bytes.and_then(|bytes| bytes.try_into().ok()).map(u64::from_be_bytes).unwrap_or_default()
    };
    (word(entry.get(..8)), word(entry.get(8..16)))
}

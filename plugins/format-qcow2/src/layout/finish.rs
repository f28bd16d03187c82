//! The metadata of a new image, page by page.

use witvirt_sdk::core::format::{Ending, Write};

use super::records::{Records, Run};
use super::{Target, invalid};
use crate::extension::BACKING_FORMAT;
use crate::header::{COMPRESSION, Compression, MAGIC, MAX_REFCOUNT_TABLE_BYTES};
use crate::{Error, ErrorKind};

/// Metadata of one answer; the contract's bound is 4 MiB.
const PAGE: u64 = 3 << 20;
/// Refcounts are 16 bits wide.
const REFCOUNT_ORDER: u32 = 4;
const COPIED: u64 = 1 << 63;
const COMPRESSED: u64 = 1 << 62;

/// Where the metadata lies, in clusters of the file, and how much of it is done.
#[derive(Debug)]
pub(super) struct Finish {
    /// One bit for each entry of the L1 table that has an L2 table.
    used: Vec<u64>,
    l2: Range,
    l1: Range,
    blocks: Range,
    table: Range,
    /// Next cluster to emit.
    at: u64,
    /// The next used entry of the L1 table, and how many L2 tables come before it.
    l1_index: u64,
    ranked: u64,
    mapped: Cursor,
    counted: Cursor,
    done: bool,
}

/// Clusters of the file.
#[derive(Debug, Clone, Copy)]
struct Range {
    first: u64,
    count: u64,
}

impl Range {
    fn after(before: Range, count: u64) -> Self {
        Self { first: before.end(), count }
    }

    fn end(self) -> u64 {
        self.first + self.count
    }

    /// Which cluster of the range this is.
    fn index(self, cluster: u64) -> Option<u64> {
        cluster.checked_sub(self.first).filter(|index| *index < self.count)
    }
}

/// A place among the records.
#[derive(Debug, Default, Clone, Copy)]
struct Cursor {
    run: usize,
    /// Clusters of the run that are done, and the bytes of the file that they take.
    nth: u32,
    bytes: u64,
}

impl Cursor {
    fn next_run(&mut self) {
        *self = Self { run: self.run + 1, nth: 0, bytes: 0 };
    }
}

impl Finish {
    pub fn new(target: &Target, records: &Records, end: u64) -> Result<Self, Error> {
        let cluster_size = target.cluster_size();
        let used = used_tables(target, records);
        let tables = used.iter().map(|word| u64::from(word.count_ones())).sum();
        let data = Range { first: 0, count: end.div_ceil(cluster_size) };
        let l2 = Range::after(data, tables);
        let l1 = Range::after(l2, (target.l1_entries() * 8).div_ceil(cluster_size));
        let (blocks, table) = refcount_clusters(l1.end(), cluster_size);
        if table * cluster_size > MAX_REFCOUNT_TABLE_BYTES {
            return Err(Error::new(
                ErrorKind::Limit,
                "the refcount table would be too large; take a larger cluster-size",
            )
            .with("file-size", l1.end() * cluster_size)
            .with("cluster-size", cluster_size));
        }
        let blocks = Range::after(l1, blocks);
        let table = Range::after(blocks, table);
        let (mapped, counted) = (Cursor::default(), Cursor::default());
        Ok(Self {
            used,
            l2,
            l1,
            blocks,
            table,
            at: l2.first,
            l1_index: 0,
            ranked: 0,
            mapped,
            counted,
            done: false,
        })
    }

    pub fn page(&mut self, target: &Target, records: &Records) -> Result<Ending, Error> {
        if self.done {
            return Err(invalid("the image is finished"));
        }
        let cluster_size = target.cluster_size();
        let end = self.table.end();
        let stop = end.min(self.at + (PAGE / cluster_size).max(1));
        let offset = self.at * cluster_size;
        let mut bytes = Vec::with_capacity(((stop - self.at) * cluster_size) as usize);
        while self.at < stop {
            self.cluster(target, records, &mut bytes);
            self.at += 1;
            bytes.resize(bytes.len().next_multiple_of(cluster_size as usize), 0);
        }
        let mut writes = vec![Write { offset, bytes }];
        self.done = self.at == end;
        if self.done {
            writes.push(Write { offset: 0, bytes: self.front(target) });
        }
        Ok(Ending { writes, size: end * cluster_size, next: !self.done })
    }

    /// Appends the content of the cluster at `self.at`.
    fn cluster(&mut self, target: &Target, records: &Records, bytes: &mut Vec<u8>) {
        if self.l2.index(self.at).is_some() {
            self.l2_table(target, records, bytes);
        } else if let Some(index) = self.l1.index(self.at) {
            self.l1_part(target, index, bytes);
        } else if let Some(index) = self.blocks.index(self.at) {
            self.refcount_block(target, records, index, bytes);
        } else if let Some(index) = self.table.index(self.at) {
            self.refcount_table_part(target, index, bytes);
        }
    }

    /// The L2 table of the next run: tables come in the order of the guest, as the runs do.
    fn l2_table(&mut self, target: &Target, records: &Records, bytes: &mut Vec<u8>) {
        let Some(run) = records.run(self.mapped.run) else { return };
        let entries = target.l2_entries();
        let first = (run.cluster + u64::from(self.mapped.nth)) / entries * entries;
        let start = bytes.len();
        bytes.resize(start + target.cluster_size() as usize, 0);
        while let Some(run) = records.run(self.mapped.run) {
            let cluster = run.cluster + u64::from(self.mapped.nth);
            let Some(index) = cluster.checked_sub(first).filter(|index| *index < entries) else { break };
            let at = start + index as usize * 8;
            if let Some(slot) = bytes.get_mut(at..at + 8) {
                slot.copy_from_slice(&self.l2_entry(target, records, run).to_be_bytes());
            }
            self.mapped.nth += 1;
            if self.mapped.nth == run.count {
                self.mapped.next_run();
            }
        }
    }

    /// The entry at the cursor, whose bytes are then counted as done.
    fn l2_entry(&mut self, target: &Target, records: &Records, run: &Run) -> u64 {
        let host = run.host + self.mapped.bytes;
        let Some(size) = records.size(run, self.mapped.nth) else {
            self.mapped.bytes += target.cluster_size();
            return COPIED | host;
        };
        self.mapped.bytes += size;
        let more_sectors = (host + size - 1) / 512 - host / 512;
        COMPRESSED | more_sectors << (62 - (target.cluster_bits - 8)) | host
    }

    fn l1_part(&mut self, target: &Target, index: u64, bytes: &mut Vec<u8>) {
        let per_cluster = target.cluster_size() / 8;
        let stop = ((index + 1) * per_cluster).min(target.l1_entries());
        while self.l1_index < stop {
            let word = self.used.get((self.l1_index / 64) as usize).copied().unwrap_or_default();
            let used = word >> (self.l1_index % 64) & 1;
            let entry = used * (COPIED | ((self.l2.first + self.ranked) * target.cluster_size()));
            bytes.extend_from_slice(&entry.to_be_bytes());
            self.ranked += used;
            self.l1_index += 1;
        }
    }

    fn refcount_block(&mut self, target: &Target, records: &Records, index: u64, bytes: &mut Vec<u8>) {
        let per_block = target.cluster_size() / 2;
        let clusters = Range { first: index * per_block, count: per_block };
        // Every cluster of the file is used; those without compressed data once.
        let mut counts: Vec<u16> =
            (clusters.first..clusters.end()).map(|cluster| u16::from(cluster < self.table.end())).collect();
        self.count_compressed(target, records, clusters, &mut counts);
        bytes.extend(counts.into_iter().flat_map(u16::to_be_bytes));
    }

    /// Counts the compressed clusters that touch the clusters of a block. One that reaches into the next block stays at the
    /// cursor, to be counted there too.
    fn count_compressed(&mut self, target: &Target, records: &Records, clusters: Range, counts: &mut [u16]) {
        let bits = target.cluster_bits;
        // The first to touch a cluster replaces the 1 that stands there.
        let mut fresh = clusters.first;
        while let Some(run) = records.run(self.counted.run) {
            let host = run.host + self.counted.bytes;
            if host >> bits >= clusters.end() {
                return;
            }
            let Some(size) = records.size(run, self.counted.nth) else {
                self.counted.next_run();
                continue;
            };
            let last = (host + size - 1) >> bits;
            for cluster in (host >> bits).max(clusters.first)..=last {
                let Some(count) = clusters.index(cluster).and_then(|index| counts.get_mut(index as usize))
                else {
                    break;
                };
                *count = if cluster < fresh { *count + 1 } else { 1 };
                fresh = fresh.max(cluster + 1);
            }
            if last >= clusters.end() {
                return;
            }
            self.counted.nth += 1;
            self.counted.bytes += size;
            if self.counted.nth == run.count {
                self.counted.next_run();
            }
        }
    }

    fn refcount_table_part(&self, target: &Target, index: u64, bytes: &mut Vec<u8>) {
        let per_cluster = target.cluster_size() / 8;
        let stop = ((index + 1) * per_cluster).min(self.blocks.count);
        for block in index * per_cluster..stop {
            let offset = (self.blocks.first + block) * target.cluster_size();
            bytes.extend_from_slice(&offset.to_be_bytes());
        }
    }

    /// The header, its extensions and the name of the backing image.
    fn front(&self, target: &Target) -> Vec<u8> {
        let zstd = target.compression == Some(Compression::Zstd);
        let name = target.backing.as_ref().map(|(name, _)| name.as_str()).unwrap_or_default();
        let name_offset = if name.is_empty() { 0 } else { front_length(target) - name.len() as u64 };
        let cluster_size = target.cluster_size();
        let mut front = Front::default();
        front.u32(MAGIC).u32(3).u64(name_offset).u32(name.len() as u32).u32(target.cluster_bits);
        front
            .u64(target.virtual_size)
            .u32(0)
            .u32(target.l1_entries() as u32)
            .u64(self.l1.first * cluster_size);
        front.u64(self.table.first * cluster_size).u32(self.table.count as u32);
        // No snapshots; incompatible, compatible and autoclear features.
        front.u32(0).u64(0).u64(if zstd { COMPRESSION } else { 0 }).u64(0).u64(0);
        front.u32(REFCOUNT_ORDER).u32(header_length(target) as u32);
        if zstd {
            front.0.extend([1, 0, 0, 0, 0, 0, 0, 0]);
        }
        if let Some((_, format)) = &target.backing {
            front.u32(BACKING_FORMAT).u32(format.len() as u32);
            front.0.extend(format.as_bytes());
            front.0.resize(front.0.len().next_multiple_of(8), 0);
        }
        front.u64(0);
        front.0.extend(name.as_bytes());
        front.0
    }
}

#[derive(Default)]
struct Front(Vec<u8>);

impl Front {
    fn u32(&mut self, value: u32) -> &mut Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    fn u64(&mut self, value: u64) -> &mut Self {
        self.0.extend(value.to_be_bytes());
        self
    }
}

/// With the compression type only where it says something, so that the oldest readers take the rest.
fn header_length(target: &Target) -> u64 {
    if target.compression == Some(Compression::Zstd) { 112 } else { 104 }
}

/// Length of what lies in the first cluster.
pub(super) fn front_length(target: &Target) -> u64 {
    let backing =
        target.backing.as_ref().map_or(0, |(name, format)| 8 + format.len().next_multiple_of(8) + name.len());
    header_length(target) + backing as u64 + 8
}

fn used_tables(target: &Target, records: &Records) -> Vec<u64> {
    let entries = target.l2_entries();
    let mut used = vec![0u64; target.l1_entries().div_ceil(64) as usize];
    for run in records.runs() {
        let last = run.cluster + u64::from(run.count) - 1;
        for table in run.cluster / entries..=last / entries {
            if let Some(word) = used.get_mut((table / 64) as usize) {
                *word |= 1 << (table % 64);
            }
        }
    }
    used
}

/// How many refcount blocks, and clusters of the table that names them, count `clusters` and themselves.
fn refcount_clusters(clusters: u64, cluster_size: u64) -> (u64, u64) {
    let (mut blocks, mut table) = (0u64, 0u64);
    loop {
        let needed = (clusters + blocks + table).div_ceil(cluster_size / 2);
        let table_needed = (needed * 8).div_ceil(cluster_size);
        if (needed, table_needed) == (blocks, table) {
            return (blocks, table);
        }
        (blocks, table) = (needed, table_needed);
    }
}

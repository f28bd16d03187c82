//! The metadata of a new image, page by page.

use witvirt_sdk::core::format::{Ending, Write};

use super::runs::Runs;
use super::{Target, invalid};
use crate::Error;
use crate::header::{BACKING_FILE, BACKING_NO_PROBE, LENGTH, MAGIC};

/// Table entries of one write.
const PIECE: u64 = (1 << 20) / 8;
/// Bytes of one answer, less a piece and the header; the contract's bound is 4 MiB.
const PAGE: usize = 2 << 20;

/// What is done of the metadata. Pieces of tables without an entry are not written: the file has holes there.
#[derive(Debug)]
pub(super) struct Finish {
    /// Entries of the L1 table that have an L2 table, ascending.
    used: Vec<u64>,
    /// Next L2 table, and its next entry.
    table: usize,
    entry: u64,
    /// Next entry of the L1 table, and how many before it are used.
    l1: u64,
    ranked: usize,
    done: bool,
}

impl Finish {
    pub fn new(target: &Target, runs: &Runs) -> Self {
        let used = runs.groups(target.shape.entries());
        Self { used, table: 0, entry: 0, l1: 0, ranked: 0, done: false }
    }

    pub fn page(&mut self, target: &Target, runs: &Runs) -> Result<Ending, Error> {
        if self.done {
            return Err(invalid("the image is finished"));
        }
        let l2_offset = target.data_offset() + runs.clusters() * target.shape.cluster_size;
        let size = l2_offset + self.used.len() as u64 * target.shape.table_bytes();
        let mut writes: Vec<Write> = Vec::new();
        let mut bytes = 0;
        while bytes < PAGE {
            let Some(write) = self.piece(target, runs, l2_offset) else {
                writes.push(Write { offset: 0, bytes: header(target) });
                self.done = true;
                break;
            };
            bytes += write.bytes.len();
            writes.push(write);
        }
        Ok(Ending { writes, size, next: !self.done })
    }

    /// The next piece of an L2 table, or of the L1 table after them.
    fn piece(&mut self, target: &Target, runs: &Runs, l2_offset: u64) -> Option<Write> {
        loop {
            let Some(group) = self.used.get(self.table).copied() else {
                return self.l1_piece(target, l2_offset);
            };
            let entries = target.shape.entries();
            let (first, stop) = (self.entry, (self.entry + PIECE).min(entries));
            let table = l2_offset + self.table as u64 * target.shape.table_bytes();
            (self.table, self.entry) = if stop == entries { (self.table + 1, 0) } else { (self.table, stop) };
            let bytes = l2_entries(target, runs, group * entries + first, stop - first);
            if let Some(bytes) = bytes {
                return Some(Write { offset: table + first * 8, bytes });
            }
        }
    }

    fn l1_piece(&mut self, target: &Target, l2_offset: u64) -> Option<Write> {
        // Past the last used entry the file has a hole.
        let end = self.used.last().map_or(0, |last| last + 1);
        if self.l1 >= end {
            return None;
        }
        let (first, stop) = (self.l1, (self.l1 + PIECE).min(end));
        let mut bytes = vec![0; ((stop - first) * 8) as usize];
        while let Some(index) = self.used.get(self.ranked).copied().filter(|index| *index < stop) {
            let table = l2_offset + self.ranked as u64 * target.shape.table_bytes();
            put(&mut bytes, index - first, table);
            self.ranked += 1;
        }
        self.l1 = stop;
        Some(Write { offset: target.shape.cluster_size + first * 8, bytes })
    }
}

/// The entries of the guest clusters from `first` on; `None` when all are empty.
fn l2_entries(target: &Target, runs: &Runs, first: u64, count: u64) -> Option<Vec<u8>> {
    let mut bytes: Option<Vec<u8>> = None;
    for run in runs.between(first, first + count) {
        let bytes = bytes.get_or_insert_with(|| vec![0; (count * 8) as usize]);
        for cluster in run.cluster.max(first)..(run.cluster + run.count).min(first + count) {
            let place = run.before + (cluster - run.cluster);
            put(bytes, cluster - first, target.data_offset() + place * target.shape.cluster_size);
        }
    }
    bytes
}

fn put(table: &mut [u8], index: u64, entry: u64) {
    let at = index as usize * 8;
    if let Some(slot) = table.get_mut(at..at + 8) {
        slot.copy_from_slice(&entry.to_le_bytes());
    }
}

fn header(target: &Target) -> Vec<u8> {
    let shape = target.shape;
    let (features, name) = match &target.backing {
        None => (0, ""),
        Some((name, format)) if format == "raw" => (BACKING_FILE | BACKING_NO_PROBE, name.as_str()),
        Some((name, _)) => (BACKING_FILE, name.as_str()),
    };
    let mut bytes = Vec::new();
    for word in [MAGIC, shape.cluster_size as u32, shape.table_size as u32, 1] {
        bytes.extend(word.to_le_bytes());
    }
    // Features, compatible and autoclear features, L1 table, size.
    for word in [features, 0, 0, shape.cluster_size, target.virtual_size] {
        bytes.extend(word.to_le_bytes());
    }
    let name_offset = if name.is_empty() { 0 } else { LENGTH as u32 };
    for word in [name_offset, name.len() as u32] {
        bytes.extend(word.to_le_bytes());
    }
    bytes.extend(name.as_bytes());
    bytes
}

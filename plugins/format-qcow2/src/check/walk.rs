//! Counting what refers to which cluster.

use witvirt_sdk::disk::{ERROR, ReadAt, Window, be16, be32, be64, hex, read_exact};

use super::refcounts::sound_block;
use super::{DATA, EXCLUSIVE, L2_TABLE, Pass, spend};
use crate::Error;
use crate::entry::{Cluster, l1_entry, l2_entry};
use crate::header::{BITMAPS_CONSISTENT, MAX_L1_BYTES};
use crate::image::Image;
use crate::map::words;

/// Tables are read in pieces of this many bytes.
const PIECE: u64 = 64 << 10;
/// QEMU's bounds.
const MAX_BITMAPS: u32 = 65535;
const MAX_SNAPSHOT_EXTRA: u32 = 1024;

const TABLE_OFFSET: u64 = 0x00ff_ffff_ffff_fe00;

impl<R: ReadAt> Pass<'_, R> {
    /// Everything that refers to clusters.
    pub(super) fn count(&mut self) -> Result<(), Error> {
        let header = self.header;
        self.mark(0, header.cluster_size().min(self.source.size()), EXCLUSIVE, "the header");
        let table_size = u64::from(header.refcount_table_clusters) << header.cluster_bits;
        self.mark(header.refcount_table_offset, table_size, EXCLUSIVE, "the refcount table");
        self.refcount_blocks()?;
        self.l1_table(header.l1_offset, header.l1_entries)?;
        self.snapshots()?;
        self.bitmaps()
    }

    fn report(&mut self, code: &str, message: String, offset: u64) {
        if let Some(findings) = &mut self.findings {
            findings.add(ERROR, code, message, Some(offset));
        }
    }

    /// Counts a reference to the clusters of a range.
    fn mark(&mut self, offset: u64, length: u64, kind: u8, what: &str) {
        if length == 0 {
            return;
        }
        let bits = self.header.cluster_bits;
        let clusters = self.source.size().div_ceil(1 << bits);
        let last = offset.saturating_add(length - 1) >> bits;
        if last >= clusters {
            self.report("past-end", format!("{what} lies past the end of the file"), offset);
        }
        let end = (last + 1).min(self.first + self.counts.len() as u64);
        for cluster in (offset >> bits).max(self.first)..end {
            let index = (cluster - self.first) as usize;
            if let (Some(count), Some(kinds)) = (self.counts.get_mut(index), self.kinds.get_mut(index)) {
                *count = count.saturating_add(1);
                *kinds |= kind;
            }
        }
    }

    fn refcount_blocks(&mut self) -> Result<(), Error> {
        let header = self.header;
        let table = header.refcount_table_offset;
        let size = (u64::from(header.refcount_table_clusters) << header.cluster_bits)
            .min(self.source.size().saturating_sub(table));
        for at in (0..size).step_by(PIECE as usize) {
            let bytes =
                read_exact(self.source, table + at, (size - at).min(PIECE) as usize, "the refcount table")?;
            spend(self.seen, bytes.len() as u64 / 8)?;
            for (index, entry) in bytes.chunks_exact(8).enumerate() {
                let (raw, _) = words(entry);
                if raw == 0 {
                    continue;
                }
                match sound_block(raw, header, self.source.size()) {
                    Some(block) => self.mark(block, header.cluster_size(), EXCLUSIVE, "a refcount block"),
                    None => {
                        let message = format!("the entry {} names no refcount block in the file", hex(raw));
                        self.report("refcount-table", message, table + at + index as u64 * 8);
                    }
                }
            }
        }
        Ok(())
    }

    /// An L1 table, its L2 tables and their clusters.
    fn l1_table(&mut self, offset: u64, entries: u32) -> Result<(), Error> {
        self.mark(offset, u64::from(entries) * 8, EXCLUSIVE, "an L1 table");
        let (source, image) = (self.source, self.image);
        each_l1_entry(source, offset, entries, |at, raw| {
            spend(self.seen, 1)?;
            match sound_table(image, raw) {
                Some(table) => self.l2_table(table),
                None if raw & TABLE_OFFSET == 0 => Ok(()),
                None => {
                    self.report(
                        "invalid-entry",
                        format!("the L1 entry {} names no L2 table in the file", hex(raw)),
                        at,
                    );
                    Ok(())
                }
            }
        })
    }

    fn l2_table(&mut self, table: u64) -> Result<(), Error> {
        let shape = self.image.shape;
        spend(self.seen, shape.l2_entries())?;
        self.mark(table, shape.cluster_size(), L2_TABLE, "an L2 table");
        let mut window = std::mem::take(&mut self.tables);
        let bytes = window.get(self.source, table, shape.cluster_size() as usize, "an L2 table")?;
        for (index, entry) in bytes.chunks_exact(shape.entry_size()).enumerate() {
            let (raw, bitmap) = words(entry);
            match l2_entry(raw, bitmap, shape) {
                Ok(Cluster::Compressed { offset, length }) => {
                    self.mark(offset, length, DATA, "a compressed cluster")
                }
                // Clusters of an external data file are not counted.
                Ok(
                    Cluster::Data(host) | Cluster::Zero(Some(host)) | Cluster::Split { host: Some(host), .. },
                ) if !shape.data_file => {
                    self.mark(host, shape.cluster_size(), DATA, "a data cluster");
                }
                Ok(_) => {}
                Err(fault) => {
                    let message = format!("L2 table: {} ({})", fault.message(), hex(raw));
                    self.report(fault.code(), message, table + (index * shape.entry_size()) as u64);
                }
            }
        }
        self.tables = window;
        Ok(())
    }

    fn snapshots(&mut self) -> Result<(), Error> {
        let table = self.header.snapshots_offset;
        let mut at = table;
        for number in 0..self.header.snapshots {
            spend(self.seen, 1)?;
            let Some((length, l1, entries)) = self.snapshot(at)? else {
                self.report("snapshot-table", format!("snapshot {number} cannot be read"), at);
                return Ok(());
            };
            at += length;
            if self.sound_l1(l1, entries) {
                self.l1_table(l1, entries)?;
            } else {
                self.report(
                    "snapshot-table",
                    format!("the L1 table of snapshot {number} cannot be read"),
                    at,
                );
            }
        }
        self.mark(table, at - table, EXCLUSIVE, "the snapshot table");
        Ok(())
    }

    /// Length of an entry of the snapshot table, and offset and entries of its L1 table.
    fn snapshot(&self, at: u64) -> Result<Option<(u64, u64, u32)>, Error> {
        let Some(bytes) = self.inside(at, 40)? else { return Ok(None) };
        let fields = (be64(&bytes, 0), be32(&bytes, 8), be16(&bytes, 12), be16(&bytes, 14), be32(&bytes, 36));
        let (Some(l1), Some(entries), Some(id), Some(name), Some(extra)) = fields else { return Ok(None) };
        if extra > MAX_SNAPSHOT_EXTRA {
            return Ok(None);
        }
        let length = 40 + u64::from(extra) + u64::from(id) + u64::from(name);
        Ok(Some((length.next_multiple_of(8), l1, entries)))
    }

    fn sound_l1(&self, offset: u64, entries: u32) -> bool {
        let size = u64::from(entries) * 8;
        let inside = offset.checked_add(size).is_some_and(|end| end <= self.source.size());
        inside && size <= MAX_L1_BYTES && offset.is_multiple_of(self.header.cluster_size())
    }

    /// Bitmaps count only where the image says that they are consistent, as for QEMU.
    fn bitmaps(&mut self) -> Result<(), Error> {
        let Some(bitmaps) = self.image.extensions.bitmaps else { return Ok(()) };
        if self.header.autoclear & BITMAPS_CONSISTENT == 0 {
            return Ok(());
        }
        let directory = bitmaps.directory_offset;
        let end = directory.checked_add(bitmaps.directory_size).filter(|end| *end <= self.source.size());
        let Some(end) = end.filter(|_| bitmaps.count <= MAX_BITMAPS) else {
            self.report("bitmap-directory", "the directory of bitmaps cannot be read".to_owned(), directory);
            return Ok(());
        };
        self.mark(directory, bitmaps.directory_size, EXCLUSIVE, "the directory of bitmaps");
        let mut at = directory;
        for number in 0..bitmaps.count {
            spend(self.seen, 1)?;
            let entry = if at.saturating_add(24) <= end { self.inside(at, 24)? } else { None };
            let entry = entry.unwrap_or_default();
            let fields = (be64(&entry, 0), be32(&entry, 8), be16(&entry, 18), be32(&entry, 20));
            let (Some(table), Some(entries), Some(name), Some(extra)) = fields else {
                self.report("bitmap-directory", format!("bitmap {number} cannot be read"), at);
                return Ok(());
            };
            self.bitmap(table, entries, number)?;
            at += (24 + u64::from(name) + u64::from(extra)).next_multiple_of(8);
        }
        Ok(())
    }

    fn bitmap(&mut self, table: u64, entries: u32, number: u32) -> Result<(), Error> {
        let size = u64::from(entries) * 8;
        if table.checked_add(size).is_none_or(|end| end > self.source.size()) {
            self.report("bitmap-directory", format!("the table of bitmap {number} cannot be read"), table);
            return Ok(());
        }
        self.mark(table, size, EXCLUSIVE, "the table of a bitmap");
        spend(self.seen, u64::from(entries))?;
        for at in (0..size).step_by(PIECE as usize) {
            let bytes = read_exact(
                self.source,
                table + at,
                (size - at).min(PIECE) as usize,
                "the table of a bitmap",
            )?;
            for entry in bytes.chunks_exact(8) {
                let offset = words(entry).0 & TABLE_OFFSET;
                if offset != 0 {
                    self.mark(offset, self.header.cluster_size(), EXCLUSIVE, "a bitmap");
                }
            }
        }
        Ok(())
    }

    /// `None` when it is not in the file.
    fn inside(&self, at: u64, len: usize) -> Result<Option<Vec<u8>>, Error> {
        match at.checked_add(len as u64) {
            Some(end) if end <= self.source.size() => read_exact(self.source, at, len, "a table").map(Some),
            _ => Ok(None),
        }
    }
}

/// The L2 table of an L1 entry, if it can be read.
pub(super) fn sound_table<R: ReadAt>(image: &Image<R>, raw: u64) -> Option<u64> {
    let table = l1_entry(raw, image.shape).ok()??;
    (table + image.shape.cluster_size() <= image.source.size()).then_some(table)
}

/// Calls `each` with the offset and value of every entry of an L1 table.
pub(super) fn each_l1_entry<R: ReadAt>(
    source: &R,
    offset: u64,
    entries: u32,
    mut each: impl FnMut(u64, u64) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut window = Window::default();
    let size = u64::from(entries) * 8;
    for at in (0..size).step_by(PIECE as usize) {
        let bytes = window.get(source, offset + at, (size - at).min(PIECE) as usize, "an L1 table")?;
        for (index, entry) in bytes.chunks_exact(8).enumerate() {
            each(offset + at + index as u64 * 8, words(entry).0)?;
        }
    }
    Ok(())
}

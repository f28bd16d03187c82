//! Inconsistencies that do not stop a reader: clusters that are used twice or not at all, entries that make no sense.

use witvirt_sdk::core::extent::Finding;
use witvirt_sdk::disk::{ERROR, Findings, ReadAt, WARNING, Window, hex, le64};

use crate::image::{Image, PIECE, UNALLOCATED, ZERO};
use crate::{Error, ErrorKind};

/// Clusters that are counted at a time, one byte each.
const CLUSTERS: u64 = 16 << 20;
/// Table entries that a check looks at in all.
const MAX_ENTRIES: u64 = 1 << 28;

/// A pass over the tables that counts how often some of the clusters are used.
struct Pass<'a, R> {
    image: &'a Image<R>,
    first: u64,
    counts: Vec<u8>,
    /// What does not depend on the window is reported by the first pass only.
    findings: Option<&'a mut Findings>,
    seen: &'a mut u64,
}

impl<R: ReadAt> Image<R> {
    /// At most 1,000 findings, worst first.
    ///
    /// # Errors
    /// `limit` when the image is too large to check in one call, or what the source reports.
    pub(crate) fn findings(&self) -> Result<Vec<Finding>, Error> {
        let mut findings = Findings::default();
        if self.header.needs_check() {
            let message = "the image was not closed: clusters may be lost".to_owned();
            findings.add(WARNING, "need-check", message, None);
        }
        let clusters = self.source.size() / self.header.shape.cluster_size;
        let mut seen = 0;
        for first in (0..clusters).step_by(CLUSTERS as usize) {
            let counts = vec![0; (clusters - first).min(CLUSTERS) as usize];
            let mut pass = Pass {
                image: self,
                first,
                counts,
                findings: (first == 0).then_some(&mut findings),
                seen: &mut seen,
            };
            pass.count()?;
            let counts = pass.counts;
            self.report(first, &counts, &mut findings);
        }
        Ok(findings.into_sorted())
    }

    fn report(&self, first: u64, counts: &[u8], findings: &mut Findings) {
        for (index, count) in counts.iter().enumerate() {
            let offset = (first + index as u64) * self.header.shape.cluster_size;
            if offset < self.header.header_bytes {
                continue;
            }
            match count {
                0 => findings.add(
                    WARNING,
                    "leaked-cluster",
                    "nothing uses the cluster".to_owned(),
                    Some(offset),
                ),
                1 => {}
                _ => {
                    let message = "the cluster is used more than once".to_owned();
                    findings.add(ERROR, "overlapping-clusters", message, Some(offset));
                }
            }
        }
    }
}

impl<R: ReadAt> Pass<'_, R> {
    fn count(&mut self) -> Result<(), Error> {
        let header = &self.image.header;
        let (shape, l1) = (header.shape, header.l1_offset);
        self.mark(l1, shape.table_bytes());
        let mut tables = Window::default();
        for at in (0..shape.table_bytes()).step_by(PIECE as usize) {
            let bytes = self.piece(&mut tables, l1, at, "the L1 table")?;
            for (entry, offset) in entries(&bytes, l1 + at) {
                match self.image.l1_fault(entry) {
                    Some(fault) => self.add("l1-entry", format!("{fault} ({})", hex(entry)), offset),
                    None if entry == UNALLOCATED => {}
                    None => self.l2_table(entry)?,
                }
            }
        }
        Ok(())
    }

    fn l2_table(&mut self, table: u64) -> Result<(), Error> {
        let header = &self.image.header;
        let (shape, first) = (header.shape, header.header_bytes);
        let file_size = self.image.source.size();
        self.mark(table, shape.table_bytes());
        let mut window = Window::default();
        for at in (0..shape.table_bytes()).step_by(PIECE as usize) {
            let bytes = self.piece(&mut window, table, at, "an L2 table")?;
            for (entry, offset) in entries(&bytes, table + at) {
                match entry {
                    UNALLOCATED | ZERO => {}
                    _ if !entry.is_multiple_of(shape.cluster_size) || entry < first || entry >= file_size => {
                        let message = format!("the entry {} names no cluster of the file", hex(entry));
                        self.add("l2-entry", message, offset);
                    }
                    _ => self.mark(entry, shape.cluster_size),
                }
            }
        }
        Ok(())
    }

    fn piece(&mut self, window: &mut Window, table: u64, at: u64, what: &str) -> Result<Vec<u8>, Error> {
        let want = (self.image.header.shape.table_bytes() - at).min(PIECE);
        *self.seen += want / 8;
        if *self.seen > MAX_ENTRIES {
            return Err(Error::new(
                ErrorKind::Limit,
                "the image has too many table entries to check in one call",
            )
            .with("limit", MAX_ENTRIES));
        }
        Ok(window.get(&self.image.source, table + at, want as usize, what)?.to_vec())
    }

    fn mark(&mut self, offset: u64, length: u64) {
        let cluster_size = self.image.header.shape.cluster_size;
        for cluster in offset / cluster_size..(offset + length).div_ceil(cluster_size) {
            let index = cluster.checked_sub(self.first).and_then(|index| usize::try_from(index).ok());
            if let Some(count) = index.and_then(|index| self.counts.get_mut(index)) {
                *count = count.saturating_add(1);
            }
        }
    }

    fn add(&mut self, code: &str, message: String, offset: u64) {
        if let Some(findings) = &mut self.findings {
            findings.add(ERROR, code, message, Some(offset));
        }
    }
}

/// The entries of a piece of a table that lies at `offset`, with their own offsets.
fn entries(bytes: &[u8], offset: u64) -> impl Iterator<Item = (u64, u64)> {
    (0..bytes.len() / 8)
        .map(move |index| (le64(bytes, index * 8).unwrap_or(UNALLOCATED), offset + index as u64 * 8))
}

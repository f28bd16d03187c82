//! Inconsistencies that do not stop a reader: wrong reference counts, overlaps, bad entries.
//!
//! All references are counted anew, as `qemu-img check` does, a window of the file at a time so that memory stays bounded,
//! and compared with the stored refcounts and with the flags that say "refcount is 1".

mod refcounts;
mod walk;

use witvirt_sdk::core::extent::Finding;
use witvirt_sdk::disk::{ERROR, Findings, ReadAt, WARNING, Window};

use crate::entry::{Cluster, copied, l2_entry};
use crate::header::{DIRTY, Header};
use crate::image::Image;
use crate::map::words;
use crate::{Error, ErrorKind};
use refcounts::Refcounts;

/// Clusters that are counted at a time, at 5 bytes each.
const CLUSTERS: u64 = 4 << 20;
/// Table entries that a check looks at in all.
const MAX_ENTRIES: u64 = 1 << 28;

/// What a cluster holds: bits, so that contradictions show.
const EXCLUSIVE: u8 = 1;
const L2_TABLE: u8 = 2;
const DATA: u8 = 4;

/// A pass over the image, which counts the references to some of its clusters.
struct Pass<'a, R> {
    source: &'a R,
    image: &'a Image<R>,
    header: &'a Header,
    /// First cluster that is counted.
    first: u64,
    counts: Vec<u16>,
    kinds: Vec<u8>,
    /// What does not depend on the window is reported by the first pass only.
    findings: Option<&'a mut Findings>,
    seen: &'a mut u64,
    tables: Window,
}

impl<R: ReadAt> Image<R> {
    /// At most 1,000 findings, worst first.
    ///
    /// # Errors
    /// `limit` when the image is too large to check in one call, or what the source reports.
    pub(crate) fn findings(&self) -> Result<Vec<Finding>, Error> {
        let mut findings = Findings::default();
        if self.header.incompatible & DIRTY != 0 {
            findings.add(
                WARNING,
                "dirty",
                "the image was not closed cleanly: refcounts may be stale".to_owned(),
                None,
            );
        }
        let clusters = self.source.size().div_ceil(self.header.cluster_size());
        let mut seen = 0;
        let mut first = 0;
        while first < clusters {
            let count = (clusters - first).min(CLUSTERS) as usize;
            let mut pass = Pass {
                source: &self.source,
                image: self,
                header: &self.header,
                first,
                counts: vec![0; count],
                kinds: vec![0; count],
                findings: (first == 0).then_some(&mut findings),
                seen: &mut seen,
                tables: Window::default(),
            };
            pass.count()?;
            let (counts, kinds) = (pass.counts, pass.kinds);
            let stored = Refcounts::new(&self.source, &self.header).read(first, count)?;
            self.compare(first, &counts, &kinds, &stored, &mut findings);
            // The flags of a dirty image are ahead of its refcounts.
            if !self.shape.data_file && self.header.incompatible & DIRTY == 0 {
                self.check_flags(first, &stored, &mut seen, &mut findings)?;
            }
            first += CLUSTERS;
        }
        Ok(findings.into_sorted())
    }

    fn compare(&self, first: u64, counts: &[u16], kinds: &[u8], stored: &[u16], findings: &mut Findings) {
        let too_low = if self.header.incompatible & DIRTY != 0 { WARNING } else { ERROR };
        for (index, ((count, kind), stored)) in counts.iter().zip(kinds).zip(stored).enumerate() {
            let offset = (first + index as u64) * self.header.cluster_size();
            let shared_table = kind & L2_TABLE != 0 && *count > 1 && self.header.snapshots == 0;
            if kind & EXCLUSIVE != 0 && *count > 1 || kind & L2_TABLE != 0 && kind & DATA != 0 || shared_table
            {
                let message = format!("the cluster is used {count} times, for things that cannot share it");
                findings.add(ERROR, "overlapping-clusters", message, Some(offset));
            }
            if stored > count {
                let message = format!("refcount {stored}, but {count} references");
                findings.add(WARNING, "leaked-cluster", message, Some(offset));
            } else if stored < count {
                let message = format!("refcount {stored}, but {count} references: it may be overwritten");
                findings.add(too_low, "refcount-too-low", message, Some(offset));
            }
        }
    }

    /// Bit 63 of an active entry has to say whether the refcount is 1. Clusters outside the window are left to other passes.
    fn check_flags(
        &self,
        first: u64,
        stored: &[u16],
        seen: &mut u64,
        findings: &mut Findings,
    ) -> Result<(), Error> {
        let mut flag = |raw: u64, host: u64, at: u64| {
            let index = (host >> self.header.cluster_bits).checked_sub(first);
            let Some(refcount) = index.and_then(|index| stored.get(usize::try_from(index).ok()?)) else {
                return;
            };
            if copied(raw) && *refcount != 1 {
                let message =
                    format!("an entry claims its cluster for itself, and the refcount is {refcount}");
                findings.add(ERROR, "copied-flag", message, Some(at));
            } else if !copied(raw) && *refcount == 1 {
                let message = "an entry does not claim its cluster, and the refcount is 1".to_owned();
                findings.add(WARNING, "copied-flag", message, Some(at));
            }
        };
        let mut l2 = Window::default();
        walk::each_l1_entry(&self.source, self.header.l1_offset, self.header.l1_entries, |at, raw| {
            spend(seen, 1)?;
            let Some(table) = walk::sound_table(self, raw) else { return Ok(()) };
            flag(raw, table, at);
            spend(seen, self.shape.l2_entries())?;
            let size = self.header.cluster_size() as usize;
            let bytes = l2.get(&self.source, table, size, "an L2 table")?;
            for (index, entry) in bytes.chunks_exact(self.shape.entry_size()).enumerate() {
                let (raw, bitmap) = words(entry);
                let host = match l2_entry(raw, bitmap, self.shape) {
                    Ok(
                        Cluster::Data(host)
                        | Cluster::Zero(Some(host))
                        | Cluster::Split { host: Some(host), .. },
                    ) => host,
                    _ => continue,
                };
                flag(raw, host, table + (index * self.shape.entry_size()) as u64);
            }
            Ok(())
        })
    }
}

/// Counts entries that were looked at, so that tables that name each other end too.
fn spend(seen: &mut u64, entries: u64) -> Result<(), Error> {
    *seen = seen.saturating_add(entries);
    if *seen > MAX_ENTRIES {
        return Err(Error::new(
            ErrorKind::Limit,
            "the image has too many table entries to check in one call",
        )
        .with("limit", MAX_ENTRIES));
    }
    Ok(())
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;

//! A raw image is its length.

use witvirt_sdk::core::extent::{Extent, ExtentKind, Geometry, Page};
use witvirt_sdk::{Error, ErrorKind};

const SECTOR: u64 = 512;

/// An opened raw image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Raw {
    /// Length of the file in bytes.
    file_size: u64,
    /// What a guest sees: whole sectors.
    virtual_size: u64,
}

impl Raw {
    /// A file of `file_size` bytes.
    ///
    /// # Errors
    /// `limit` for one that no file system can have.
    pub fn new(file_size: u64) -> Result<Self, Error> {
        let virtual_size = file_size.checked_next_multiple_of(SECTOR).filter(|size| *size <= i64::MAX as u64);
        let virtual_size = virtual_size.ok_or_else(|| {
            Error::new(ErrorKind::Limit, "the file is longer than a disk can be").with("length", file_size)
        })?;
        Ok(Self { file_size, virtual_size })
    }

    /// What a guest sees.
    pub fn geometry(&self) -> Geometry {
        Geometry { virtual_size: self.virtual_size, cluster_size: 0, logical_sector: SECTOR as u32 }
    }

    /// The file's length, where the disk is longer.
    pub fn facts(&self) -> Vec<(String, String)> {
        let rounded = self.file_size != self.virtual_size;
        rounded.then(|| ("file-size".to_owned(), self.file_size.to_string())).into_iter().collect()
    }

    /// The map from `start` for `length` bytes, cut at the end of the disk: at most the file and the rest of its last sector.
    pub fn extents(&self, start: u64, length: u64, max: u32) -> Page {
        let end = start.saturating_add(length).min(self.virtual_size);
        let data = (start < self.file_size).then(|| Extent {
            start,
            length: end.min(self.file_size).saturating_sub(start),
            kind: ExtentKind::Data { source: 0, offset: start },
        });
        let rest = start.max(self.file_size);
        let tail = Extent { start: rest, length: end.saturating_sub(rest), kind: ExtentKind::Unallocated };
        let all = data.into_iter().chain([tail]).filter(|extent| extent.length > 0);
        let extents: Vec<Extent> = all.take(max.max(1) as usize).collect();
        let covered = extents.last().map_or(end, |last| last.start + last.length);
        Page { extents, next: (covered < end).then_some(covered) }
    }
}

#[cfg(test)]
mod tests {
    use witvirt_sdk::core::extent::ExtentKind;

    use super::Raw;

    fn page(raw: &Raw, start: u64, length: u64, max: u32) -> (Vec<(u64, u64, bool)>, Option<u64>) {
        let page = raw.extents(start, length, max);
        let extents = page.extents.iter().map(|extent| {
            if let ExtentKind::Data { source, offset } = extent.kind {
                assert_eq!((source, offset), (0, extent.start));
            }
            (extent.start, extent.length, extent.kind != ExtentKind::Unallocated)
        });
        (extents.collect(), page.next)
    }

    #[test]
    fn is_one_extent() {
        let raw = Raw::new(1 << 20).unwrap();
        assert_eq!(raw.geometry().virtual_size, 1 << 20);
        assert!(raw.facts().is_empty());
        assert_eq!(page(&raw, 0, 1 << 20, 100), (vec![(0, 1 << 20, true)], None));
        assert_eq!(page(&raw, 5, 10, 1), (vec![(5, 10, true)], None));
        assert_eq!(page(&raw, 1000, u64::MAX, 1), (vec![(1000, (1 << 20) - 1000, true)], None));
        assert_eq!(page(&raw, 1 << 20, 1, 1), (vec![], None));
        assert_eq!(page(&raw, u64::MAX, u64::MAX, 0), (vec![], None));
        assert_eq!(page(&raw, 5, 0, 1), (vec![], None));
    }

    #[test]
    fn rounds_up_to_sectors() {
        let raw = Raw::new(1000).unwrap();
        assert_eq!(raw.geometry().virtual_size, 1024);
        assert_eq!(raw.facts(), [("file-size".to_owned(), "1000".to_owned())]);
        assert_eq!(page(&raw, 0, 1024, 2), (vec![(0, 1000, true), (1000, 24, false)], None));
        assert_eq!(page(&raw, 0, 1024, 1), (vec![(0, 1000, true)], Some(1000)));
        assert_eq!(page(&raw, 1000, 24, 1), (vec![(1000, 24, false)], None));
        assert_eq!(page(&raw, 1010, u64::MAX, 1), (vec![(1010, 14, false)], None));
        assert_eq!(page(&raw, 0, 0, 1), (vec![], None));
    }

    #[test]
    fn has_edges() {
        assert_eq!(Raw::new(0).unwrap().geometry().virtual_size, 0);
        assert_eq!(page(&Raw::new(0).unwrap(), 0, 512, 1), (vec![], None));
        assert!(Raw::new(u64::MAX).is_err());
        assert!(Raw::new(i64::MAX as u64).is_err());
    }
}

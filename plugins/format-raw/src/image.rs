//! A raw image is its length.

use witvirt_sdk::core::extent::{ExtentKind, Geometry, Page};
use witvirt_sdk::disk::{ImageReader, ReadAt, Runs};
use witvirt_sdk::{Error, ErrorKind};

const SECTOR: u64 = 512;

/// An opened raw image.
#[derive(Debug)]
pub struct Image<R> {
    source: R,
    /// What a guest sees: whole sectors.
    virtual_size: u64,
}

impl<R: ReadAt> ImageReader for Image<R> {
    type Source = R;

    /// Any file.
    ///
    /// # Errors
    /// `limit` for one that no file system can have.
    fn open(source: R) -> Result<Self, Error> {
        let length = source.size();
        let virtual_size = length.checked_next_multiple_of(SECTOR).filter(|size| *size <= i64::MAX as u64);
        let virtual_size = virtual_size.ok_or_else(|| {
            Error::new(ErrorKind::Limit, "the file is longer than a disk can be").with("length", length)
        })?;
        Ok(Self { source, virtual_size })
    }

    fn geometry(&self) -> Geometry {
        Geometry { virtual_size: self.virtual_size, cluster_size: 0, logical_sector: SECTOR as u32 }
    }

    /// The file's length, where the disk is longer.
    fn facts(&self) -> Vec<(String, String)> {
        let length = self.source.size();
        let rounded = length != self.virtual_size;
        rounded.then(|| ("file-size".to_owned(), length.to_string())).into_iter().collect()
    }

    /// At most the file and the rest of its last sector.
    fn extents(&mut self, start: u64, length: u64, max: u32) -> Result<Page, Error> {
        let end = start.saturating_add(length).min(self.virtual_size);
        let mut runs = Runs::new(start, max);
        let stored = end.min(self.source.size());
        if start < stored {
            runs.push(stored - start, ExtentKind::Data { source: 0, offset: start });
        }
        if runs.position() < end {
            runs.push(end - runs.position(), ExtentKind::Unallocated);
        }
        Ok(runs.into_page(end))
    }
}

#[cfg(test)]
mod tests {
    use witvirt_sdk::Error;
    use witvirt_sdk::core::extent::ExtentKind;
    use witvirt_sdk::disk::{ImageReader, ReadAt};

    use super::Image;

    /// A file of which only the length matters.
    struct Length(u64);

    impl ReadAt for Length {
        fn size(&self) -> u64 {
            self.0
        }

        fn read_at(&self, _: u64, _: u32) -> Result<Vec<u8>, Error> {
            panic!("a raw image is not read")
        }
    }

    fn raw(length: u64) -> Image<Length> {
        Image::open(Length(length)).unwrap()
    }

    fn page(
        raw: &mut Image<Length>,
        start: u64,
        length: u64,
        max: u32,
    ) -> (Vec<(u64, u64, bool)>, Option<u64>) {
        let page = raw.extents(start, length, max).unwrap();
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
        let mut raw = raw(1 << 20);
        assert_eq!(raw.geometry().virtual_size, 1 << 20);
        assert!(raw.facts().is_empty());
        assert_eq!(page(&mut raw, 0, 1 << 20, 100), (vec![(0, 1 << 20, true)], None));
        assert_eq!(page(&mut raw, 5, 10, 1), (vec![(5, 10, true)], None));
        assert_eq!(page(&mut raw, 1000, u64::MAX, 1), (vec![(1000, (1 << 20) - 1000, true)], None));
        assert_eq!(page(&mut raw, 1 << 20, 1, 1), (vec![], None));
        assert_eq!(page(&mut raw, u64::MAX, u64::MAX, 0), (vec![], None));
        assert_eq!(page(&mut raw, 5, 0, 1), (vec![], None));
    }

    #[test]
    fn rounds_up_to_sectors() {
        let mut raw = raw(1000);
        assert_eq!(raw.geometry().virtual_size, 1024);
        assert_eq!(raw.facts(), [("file-size".to_owned(), "1000".to_owned())]);
        assert_eq!(page(&mut raw, 0, 1024, 2), (vec![(0, 1000, true), (1000, 24, false)], None));
        assert_eq!(page(&mut raw, 0, 1024, 1), (vec![(0, 1000, true)], Some(1000)));
        assert_eq!(page(&mut raw, 1000, 24, 1), (vec![(1000, 24, false)], None));
        assert_eq!(page(&mut raw, 1010, u64::MAX, 1), (vec![(1010, 14, false)], None));
        assert_eq!(page(&mut raw, 0, 0, 1), (vec![], None));
    }

    #[test]
    fn has_edges() {
        assert_eq!(raw(0).geometry().virtual_size, 0);
        assert_eq!(page(&mut raw(0), 0, 512, 1), (vec![], None));
        assert!(Image::open(Length(u64::MAX)).is_err());
        assert!(Image::open(Length(i64::MAX as u64)).is_err());
    }
}

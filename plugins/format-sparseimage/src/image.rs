//! An opened sparse image.

use std::marker::PhantomData;

use witvirt_sdk::core::extent::{ExtentKind, Geometry, Page};
use witvirt_sdk::disk::{ImageReader, ReadAt, Runs};

use crate::header::{Header, VERSION};
use crate::index::{self, Stored};
use crate::{Error, SECTOR};

/// An image whose index is sound.
#[derive(Debug)]
pub struct Image<R> {
    header: Header,
    /// In the order of the disk.
    stored: Vec<Stored>,
    /// Nothing is read after the index.
    source: PhantomData<R>,
}

impl<R: ReadAt> ImageReader for Image<R> {
    type Source = R;

    /// Reads the header and all index nodes.
    ///
    /// # Errors
    /// `invalid-input` when it is no sparse image, `unsupported` for another version, `corrupt` with what is wrong and
    /// where, `limit` where a bound is passed, or what the source reports.
    fn open(source: R) -> Result<Self, Error> {
        let (header, node) = Header::read(&source)?;
        let stored = index::read(&source, &header, &node)?;
        Ok(Self { header, stored, source: PhantomData })
    }

    fn geometry(&self) -> Geometry {
        Geometry {
            virtual_size: self.header.disk_size,
            cluster_size: u32::try_from(self.header.band_size).unwrap_or(0),
            logical_sector: SECTOR as u32,
        }
    }

    fn facts(&self) -> Vec<(String, String)> {
        let facts = [
            ("version", VERSION.to_string()),
            ("band-size", self.header.band_size.to_string()),
            ("bands", self.header.bands().to_string()),
            ("stored-bands", self.stored.len().to_string()),
            ("flags", format!("{:#x}", self.header.flags)),
        ];
        facts.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    fn extents(&mut self, start: u64, length: u64, max: u32) -> Result<Page, Error> {
        let end = start.saturating_add(length).min(self.header.disk_size);
        let size = self.header.band_size;
        let mut runs = Runs::new(start, max);
        let first = self.stored.partition_point(|stored| u64::from(stored.band) < start / size);
        let mut bands = self.stored[first..].iter().peekable();
        while runs.position() < end {
            let at = runs.position();
            let (stop, kind) = match bands.next_if(|stored| u64::from(stored.band) == at / size) {
                Some(stored) => {
                    let offset = stored.offset + at % size;
                    ((at / size + 1).saturating_mul(size), ExtentKind::Data { source: 0, offset })
                }
                None => {
                    let next = bands.peek().map_or(end, |stored| u64::from(stored.band) * size);
                    (next, ExtentKind::Unallocated)
                }
            };
            if !runs.push(stop.min(end) - at, kind) {
                break;
            }
        }
        Ok(runs.into_page(end))
    }
}

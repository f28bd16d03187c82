//! An opened sparse image.

use witvirt_sdk::core::extent::{Extent, ExtentKind, Finding, Geometry, Page};

use crate::header::{Header, VERSION};
use crate::index::{self, Stored};
use crate::read::ReadAt;
use crate::{Error, SECTOR};

/// The most extents of a page.
const MAX_EXTENTS: u32 = 16_384;

/// An image whose index is sound.
#[derive(Debug)]
pub struct Image {
    header: Header,
    /// In the order of the disk.
    stored: Vec<Stored>,
}

impl Image {
    /// Reads the header and all index nodes.
    ///
    /// # Errors
    /// `invalid-input` when it is no sparse image, `unsupported` for another version, `corrupt` with what is wrong and
    /// where, `limit` where a bound is passed, or what the source reports.
    pub fn open<R: ReadAt>(source: &R) -> Result<Self, Error> {
        let (header, node) = Header::read(source)?;
        let stored = index::read(source, &header, &node)?;
        Ok(Self { header, stored })
    }

    /// What a guest sees.
    pub fn geometry(&self) -> Geometry {
        Geometry {
            virtual_size: self.header.disk_size,
            cluster_size: u32::try_from(self.header.band_size).unwrap_or(0),
            logical_sector: SECTOR as u32,
        }
    }

    /// Name and value pairs, always the same names.
    pub fn facts(&self) -> Vec<(String, String)> {
        let facts = [
            ("version", VERSION.to_string()),
            ("band-size", self.header.band_size.to_string()),
            ("bands", self.header.bands().to_string()),
            ("stored-bands", self.stored.len().to_string()),
            ("flags", format!("{:#x}", self.header.flags)),
        ];
        facts.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// A page of the map from `start` for `length` guest bytes, cut at the end of the disk.
    pub fn extents(&self, start: u64, length: u64, max: u32) -> Page {
        let end = start.saturating_add(length).min(self.header.disk_size);
        let max = max.clamp(1, MAX_EXTENTS) as usize;
        let size = self.header.band_size;
        let mut extents: Vec<Extent> = Vec::new();
        let mut at = start;
        let first = self.stored.partition_point(|stored| u64::from(stored.band) < start / size);
        let mut bands = self.stored[first..].iter().peekable();
        while at < end {
            let here = bands.next_if(|stored| u64::from(stored.band) == at / size);
            let next = bands.peek().map_or(end, |stored| u64::from(stored.band) * size);
            let (stop, kind) = match here {
                Some(stored) => {
                    let offset = stored.offset + at % size;
                    ((at / size + 1).saturating_mul(size), ExtentKind::Data { source: 0, offset })
                }
                None => (next, ExtentKind::Unallocated),
            };
            let length = stop.min(end) - at;
            let full = extents.len() == max;
            match extents.last_mut() {
                Some(last) if continues(last, &kind) => last.length += length,
                _ if full => break,
                _ => extents.push(Extent { start: at, length, kind }),
            }
            at += length;
        }
        Page { extents, next: (at < end).then_some(at) }
    }

    /// Everything that could be wrong stops a reader, so nothing is left to find.
    pub fn check(&self) -> Vec<Finding> {
        Vec::new()
    }
}

fn continues(last: &Extent, next: &ExtentKind) -> bool {
    match (&last.kind, next) {
        (ExtentKind::Unallocated, ExtentKind::Unallocated) => true,
        (ExtentKind::Data { offset, .. }, ExtentKind::Data { offset: next, .. }) => {
            offset + last.length == *next
        }
        _ => false,
    }
}

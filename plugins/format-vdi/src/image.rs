//! An opened image.

use witvirt_sdk::core::extent::{ExtentKind, Finding, Geometry, Page, Reference};
use witvirt_sdk::disk::{ImageReader, ReadAt, Runs, Window, hex, le32};

use crate::header::{FREE, Header, Kind, ZERO};
use crate::{Error, ErrorKind, facts};

/// Reference id of the parent.
pub const PARENT: u32 = 1;

/// Map entries that one page looks at, so that no call takes long.
const MAX_ENTRIES: u64 = 1 << 22;
/// The map is read in pieces of at most this many bytes.
pub(crate) const MAP_PIECE: u64 = 64 << 10;

/// An image whose header is sound; entries of the map are checked where they are met.
#[derive(Debug)]
pub struct Image<R> {
    pub(crate) source: R,
    pub(crate) header: Header,
    map: Window,
}

impl<R: ReadAt> ImageReader for Image<R> {
    type Source = R;

    /// Checks the header.
    ///
    /// # Errors
    /// As [`Header::read`].
    fn open(source: R) -> Result<Self, Error> {
        let header = Header::read(&source)?;
        Ok(Self { source, header, map: Window::default() })
    }

    fn geometry(&self) -> Geometry {
        Geometry {
            virtual_size: self.header.virtual_size(),
            cluster_size: self.header.block_size,
            logical_sector: 512,
        }
    }

    fn facts(&self) -> Vec<(String, String)> {
        facts::facts(self)
    }

    /// The parent of a differencing image, by its identity.
    fn references(&self) -> Vec<Reference> {
        let parent = (self.header.kind == Kind::Differencing).then(|| Reference {
            id: PARENT,
            role: "parent".to_owned(),
            name: format!("uuid:{}", self.header.linkage),
            format_hint: Some(crate::FORMAT.to_owned()),
            required: true,
        });
        parent.into_iter().collect()
    }

    fn extents(&mut self, start: u64, length: u64, max: u32) -> Result<Page, Error> {
        let end = start.saturating_add(length).min(self.header.virtual_size());
        let block_size = u64::from(self.header.block_size);
        let mut runs = Runs::new(start, max);
        for _ in 0..MAX_ENTRIES {
            let at = runs.position();
            if at >= end {
                break;
            }
            let skip = at % block_size;
            let length = (block_size - skip).min(end - at);
            let entry = self.entry(at / block_size)?;
            let kind = self.kind(entry, at, skip, length)?;
            if !runs.push(length, kind) {
                break;
            }
        }
        Ok(runs.into_page(end))
    }

    fn check(&mut self) -> Result<Vec<Finding>, Error> {
        self.findings()
    }
}

impl<R: ReadAt> Image<R> {
    /// The header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    fn kind(&self, entry: u32, at: u64, skip: u64, length: u64) -> Result<ExtentKind, Error> {
        match entry {
            FREE if self.header.kind == Kind::Differencing => Ok(ExtentKind::Parent),
            FREE => Ok(ExtentKind::Unallocated),
            ZERO => Ok(ExtentKind::Zero),
            block => {
                let offset = self.header.block_offset(block) + skip;
                if offset + length > self.source.size() {
                    return Err(Error::new(
                        ErrorKind::Corrupt,
                        "a block lies past the end of the file; it may be cut short",
                    )
                    .with("guest-offset", hex(at))
                    .with("offset", hex(offset))
                    .with("length", length)
                    .with("file-size", hex(self.source.size())));
                }
                Ok(ExtentKind::Data { source: 0, offset })
            }
        }
    }

    /// The map's entry for a block of the disk.
    fn entry(&mut self, block: u64) -> Result<u32, Error> {
        let byte = block * 4;
        let piece = byte / MAP_PIECE * MAP_PIECE;
        let length = self.header.map_length().saturating_sub(piece).min(MAP_PIECE) as usize;
        let bytes =
            self.map.get(&self.source, self.header.map_offset + piece, length, "the map of blocks")?;
        le32(bytes, (byte - piece) as usize).ok_or_else(|| {
            Error::new(ErrorKind::Corrupt, "the map of blocks ends before the disk").with("block", block)
        })
    }
}

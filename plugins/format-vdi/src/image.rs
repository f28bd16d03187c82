//! An opened image.

use witvirt_sdk::core::extent::{ExtentKind, Geometry, Page, Reference};

use crate::header::{FREE, Header, Kind, ZERO};
use crate::read::{ReadAt, hex, le32};
use crate::runs::Runs;
use crate::window::Window;
use crate::{Error, ErrorKind};

/// Reference id of the parent.
pub const PARENT: u32 = 1;

/// The most extents of a page.
const MAX_EXTENTS: u32 = 16_384;
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

impl<R: ReadAt> Image<R> {
    /// Checks the header.
    ///
    /// # Errors
    /// As [`Header::read`].
    pub fn open(source: R) -> Result<Self, Error> {
        let header = Header::read(&source)?;
        Ok(Self { source, header, map: Window::default() })
    }

    /// What a guest sees.
    pub fn geometry(&self) -> Geometry {
        Geometry {
            virtual_size: self.header.virtual_size(),
            cluster_size: self.header.block_size,
            logical_sector: 512,
        }
    }

    /// The header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The parent of a differencing image, by its identity.
    pub fn references(&self) -> Vec<Reference> {
        let parent = (self.header.kind == Kind::Differencing).then(|| Reference {
            id: PARENT,
            role: "parent".to_owned(),
            name: format!("uuid:{}", self.header.linkage),
            format_hint: Some(crate::FORMAT.to_owned()),
            required: true,
        });
        parent.into_iter().collect()
    }

    /// There is nothing to attach: the host follows the parent itself.
    ///
    /// # Errors
    /// `not-found`, always.
    pub fn attach(&mut self, id: u32) -> Result<(), Error> {
        Err(Error::new(ErrorKind::NotFound, "the image has no such file to attach").with("reference", id))
    }

    /// A page of the map from `start` for `length` guest bytes, cut at the end of the disk.
    ///
    /// # Errors
    /// `corrupt` with what is wrong and where, or what the source reports.
    pub fn extents(&mut self, start: u64, length: u64, max: u32) -> Result<Page, Error> {
        let end = start.saturating_add(length).min(self.header.virtual_size());
        let block_size = u64::from(self.header.block_size);
        let mut runs = Runs::new(start, max.clamp(1, MAX_EXTENTS) as usize);
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
        let next = (runs.position() < end).then(|| runs.position());
        Ok(Page { extents: runs.into_extents(), next })
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

//! An opened image.

use witvirt_sdk::core::extent::{ExtentKind, Finding, Geometry, Page, Reference};
use witvirt_sdk::disk::{ImageReader, ReadAt, Runs, Window, hex, le64};

use crate::header::{BACKING_NO_PROBE, Header};
use crate::{Error, ErrorKind, facts};

/// Reference id of the backing image.
pub const BACKING: u32 = 1;

/// Table entries that one page looks at, so that no call takes long.
const MAX_ENTRIES: u64 = 1 << 22;
/// Tables are read in pieces of at most this many bytes.
pub(crate) const PIECE: u64 = 64 << 10;

/// Entry of a cluster that is not there.
pub(crate) const UNALLOCATED: u64 = 0;
/// Entry of a cluster of zeros in an L2 table.
pub(crate) const ZERO: u64 = 1;

/// An image whose header and L1 table are sound; L2 tables are checked where they are met.
#[derive(Debug)]
pub struct Image<R> {
    pub(crate) source: R,
    pub(crate) header: Header,
    l1: Window,
    l2: Window,
}

impl<R: ReadAt> ImageReader for Image<R> {
    type Source = R;

    /// Checks the header and every entry of the L1 table that the disk needs.
    ///
    /// # Errors
    /// As [`Header::read`]; `corrupt` for an entry that names no table in the file.
    fn open(source: R) -> Result<Self, Error> {
        let header = Header::read(&source)?;
        let mut image = Self { source, header, l1: Window::default(), l2: Window::default() };
        image.check_l1()?;
        Ok(image)
    }

    fn geometry(&self) -> Geometry {
        Geometry {
            virtual_size: self.header.disk_size,
            cluster_size: self.header.shape.cluster_size as u32,
            logical_sector: 512,
        }
    }

    fn facts(&self) -> Vec<(String, String)> {
        facts::facts(self)
    }

    /// The backing image. It is raw where its format must not be probed, else nothing says what it is.
    fn references(&self) -> Vec<Reference> {
        let raw = self.header.features & BACKING_NO_PROBE != 0;
        let backing = self.header.backing.as_ref().map(|name| Reference {
            id: BACKING,
            role: "backing".to_owned(),
            name: name.clone(),
            format_hint: raw.then(|| "raw".to_owned()),
            required: true,
        });
        backing.into_iter().collect()
    }

    fn extents(&mut self, start: u64, length: u64, max: u32) -> Result<Page, Error> {
        let end = start.saturating_add(length).min(self.header.disk_size);
        let shape = self.header.shape;
        let mut runs = Runs::new(start, max);
        for _ in 0..MAX_ENTRIES {
            let at = runs.position();
            if at >= end {
                break;
            }
            let index = at / shape.reach();
            let pushed = match self.l1_entry(index)? {
                UNALLOCATED => {
                    let table_end = (index + 1).saturating_mul(shape.reach()).min(end);
                    runs.push(table_end - at, self.below())
                }
                table => {
                    let skip = at % shape.cluster_size;
                    let length = (shape.cluster_size - skip).min(end - at);
                    let kind = self.cluster(table, at, skip, length)?;
                    runs.push(length, kind)
                }
            };
            if !pushed {
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

    fn below(&self) -> ExtentKind {
        if self.header.backing.is_some() { ExtentKind::Parent } else { ExtentKind::Unallocated }
    }

    /// What the guest bytes at `at` are, `skip` bytes into their cluster.
    fn cluster(&mut self, table: u64, at: u64, skip: u64, length: u64) -> Result<ExtentKind, Error> {
        let shape = self.header.shape;
        let index = at % shape.reach() / shape.cluster_size;
        let byte = index * 8;
        let piece = byte / PIECE * PIECE;
        let want = (shape.table_bytes() - piece).min(PIECE) as usize;
        let bytes = self.l2.get(&self.source, table + piece, want, "an L2 table")?;
        let entry = le64(bytes, (byte - piece) as usize).unwrap_or(UNALLOCATED);
        let fault = match entry {
            UNALLOCATED => return Ok(self.below()),
            ZERO => return Ok(ExtentKind::Zero),
            _ if !entry.is_multiple_of(shape.cluster_size) => "is not at a cluster",
            _ if entry < self.header.header_bytes => "overlaps the header",
            _ if self.in_l1(entry, shape.cluster_size) => "overlaps the L1 table",
            _ if entry.checked_add(skip + length).is_none_or(|end| end > self.source.size()) => {
                "lies past the end of the file; it may be cut short"
            }
            _ => return Ok(ExtentKind::Data { source: 0, offset: entry + skip }),
        };
        Err(Error::new(ErrorKind::Corrupt, format!("a data cluster {fault}"))
            .with("guest-offset", hex(at))
            .with("entry", hex(entry))
            .with("file-size", hex(self.source.size())))
    }

    /// Whether bytes of the file are part of the L1 table. Both begin at clusters.
    fn in_l1(&self, offset: u64, length: u64) -> bool {
        let (start, end) = (self.header.l1_offset, self.header.l1_offset + self.header.shape.table_bytes());
        offset < end && offset.saturating_add(length) > start
    }

    fn l1_entry(&mut self, index: u64) -> Result<u64, Error> {
        let byte = index * 8;
        let piece = byte / PIECE * PIECE;
        let want = (self.header.shape.table_bytes() - piece).min(PIECE) as usize;
        let bytes = self.l1.get(&self.source, self.header.l1_offset + piece, want, "the L1 table")?;
        le64(bytes, (byte - piece) as usize).ok_or_else(|| {
            Error::new(ErrorKind::Corrupt, "the L1 table ends before the disk").with("index", index)
        })
    }

    /// Why an entry names no L2 table in the file; `None` when it does or is empty.
    pub(crate) fn l1_fault(&self, entry: u64) -> Option<&'static str> {
        let shape = self.header.shape;
        match entry {
            UNALLOCATED => None,
            _ if !entry.is_multiple_of(shape.cluster_size) => Some("an L2 table is not at a cluster"),
            _ if entry < self.header.header_bytes => Some("an L2 table overlaps the header"),
            _ if self.in_l1(entry, shape.table_bytes()) => Some("an L2 table overlaps the L1 table"),
            _ if entry.checked_add(shape.table_bytes()).is_none_or(|end| end > self.source.size()) => {
                Some("an L2 table lies past the end of the file; it may be cut short")
            }
            _ => None,
        }
    }

    fn check_l1(&mut self) -> Result<(), Error> {
        let shape = self.header.shape;
        let mut tables = 0u64;
        for index in 0..shape.l1_needed(self.header.disk_size) {
            let entry = self.l1_entry(index)?;
            if let Some(fault) = self.l1_fault(entry) {
                return Err(Error::new(ErrorKind::Corrupt, fault)
                    .with("index", index)
                    .with("entry", hex(entry))
                    .with("file-size", hex(self.source.size())));
            }
            tables += u64::from(entry != UNALLOCATED);
        }
        if tables > self.source.size() / shape.table_bytes() {
            return Err(Error::new(
                ErrorKind::Corrupt,
                "the L1 table names more L2 tables than the file can hold",
            )
            .with("tables", tables)
            .with("file-size", hex(self.source.size())));
        }
        Ok(())
    }
}

//! An opened image.

use witvirt_sdk::core::extent::{Extent, ExtentKind, Finding, Geometry, Page, Reference};
use witvirt_sdk::disk::{ImageReader, ReadAt, Window, be64, hex, no_such_file};

use crate::entry::{Shape, l1_entry};
use crate::extension::Extensions;
use crate::header::{Front, Header, file_name};
use crate::map::{Below, Clusters, Sources};
use crate::{Error, ErrorKind, facts};

/// Reference id of the backing image.
pub const BACKING: u32 = 1;
/// Reference id of the external data file.
pub const DATA_FILE: u32 = 2;

/// Table entries that one page looks at, so that no call takes long: some 20 ms.
const MAX_ENTRIES: u64 = 1 << 22;
/// The L1 table is read in pieces of at most this many bytes.
const L1_PIECE: u64 = 128 << 10;

/// An image whose header and L1 table are sound; everything else is checked where it is met.
#[derive(Debug)]
pub struct Image<R> {
    pub(crate) source: R,
    pub(crate) header: Header,
    pub(crate) extensions: Extensions,
    pub(crate) shape: Shape,
    backing: Option<String>,
    data_file: Option<String>,
    /// Length of the attached external data file.
    data_size: Option<u64>,
    l1: Window,
    l2: Window,
}

impl<R: ReadAt> ImageReader for Image<R> {
    type Source = R;

    /// Checks the header and every entry of the L1 table.
    ///
    /// # Errors
    /// `invalid-input` when it is no qcow2 image, `unsupported` with the name of the feature, `corrupt` with what is wrong
    /// and where, or what the source reports.
    fn open(source: R) -> Result<Self, Error> {
        let Front { header, extensions, backing } = Front::read(&source)?;
        let data_file = data_file_name(&header, &extensions)?;
        let shape = Shape::new(&header);
        let (l1, l2) = (Window::default(), Window::default());
        let mut image =
            Self { source, header, extensions, shape, backing, data_file, data_size: None, l1, l2 };
        image.check_l1()?;
        Ok(image)
    }

    fn geometry(&self) -> Geometry {
        Geometry {
            virtual_size: self.header.virtual_size(),
            cluster_size: self.header.cluster_size() as u32,
            logical_sector: 512,
        }
    }

    fn facts(&self) -> Vec<(String, String)> {
        facts::facts(self)
    }

    /// The files that the image names: at most a backing image and a data file.
    fn references(&self) -> Vec<Reference> {
        let backing = self.backing.as_ref().map(|name| Reference {
            id: BACKING,
            role: "backing".to_owned(),
            name: name.clone(),
            format_hint: self
                .extensions
                .backing_format
                .as_ref()
                .map(|hint| String::from_utf8_lossy(hint).into_owned()),
            required: true,
        });
        let data = self.data_file.as_ref().map(|name| Reference {
            id: DATA_FILE,
            role: "data-file".to_owned(),
            name: name.clone(),
            format_hint: Some("raw".to_owned()),
            required: true,
        });
        backing.into_iter().chain(data).collect()
    }

    /// Takes the length of the data file: its bytes are the host's business.
    fn attach(&mut self, id: u32, content: R) -> Result<(), Error> {
        if id != DATA_FILE || self.data_file.is_none() {
            return Err(no_such_file(id));
        }
        self.data_size = Some(content.size());
        Ok(())
    }

    fn extents(&mut self, start: u64, length: u64, max: u32) -> Result<Page, Error> {
        let end = start.saturating_add(length).min(self.header.virtual_size());
        let mut clusters = Clusters::new(self.sources()?, start, max);
        let mut seen = 0;
        while clusters.position() < end && seen < MAX_ENTRIES {
            let stop = self.end_of_table(clusters.position()).min(end);
            seen += 1;
            let more = match self.l2_of(clusters.position())? {
                None => clusters.push_unallocated(stop - clusters.position()),
                Some(offset) => {
                    seen += self.shape.l2_entries();
                    let size = self.shape.cluster_size() as usize;
                    let table = self.l2.get(&self.source, offset, size, "an L2 table")?;
                    clusters.push_table(table, stop, self.shape)?
                }
            };
            if !more {
                break;
            }
        }
        let page = clusters.into_page(end);
        self.check_overlap(&page.extents)?;
        Ok(page)
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

    fn sources(&self) -> Result<Sources, Error> {
        let image_size = self.source.size();
        let (data, data_size) = match (&self.data_file, self.data_size) {
            (None, _) => (0, image_size),
            (Some(_), Some(size)) => (DATA_FILE, size),
            (Some(name), None) => {
                return Err(Error::new(
                    ErrorKind::NotFound,
                    format!("the external data file \"{name}\" is not attached"),
                ));
            }
        };
        let below = if self.backing.is_some() { Below::Backing } else { Below::Nothing };
        Ok(Sources { data, data_size, image_size, codec: self.header.compression.codec(), below })
    }

    fn end_of_table(&self, position: u64) -> u64 {
        ((position >> self.shape.l2_bits()) + 1) << self.shape.l2_bits()
    }

    fn l2_of(&mut self, position: u64) -> Result<Option<u64>, Error> {
        let index = position >> self.shape.l2_bits();
        let raw = self.l1_raw(index)?;
        l1_entry(raw, self.shape).map_err(|fault| bad_l1(fault.message(), index, raw))
    }

    fn l1_raw(&mut self, index: u64) -> Result<u64, Error> {
        let byte = index * 8;
        let piece = byte / L1_PIECE * L1_PIECE;
        let length = self.header.l1_bytes().saturating_sub(piece).min(L1_PIECE) as usize;
        let bytes = self.l1.get(&self.source, self.header.l1_offset + piece, length, "the L1 table")?;
        be64(bytes, (byte - piece) as usize).ok_or_else(|| {
            Error::new(ErrorKind::Corrupt, "the L1 table ends before the disk").with("index", index)
        })
    }

    /// Every entry that the disk needs, and that the tables they name fit into the file without overlapping the header and
    /// the tables that the header names.
    fn check_l1(&mut self) -> Result<(), Error> {
        let size = self.shape.cluster_size();
        if self.header.l1_offset + self.header.l1_bytes() > self.source.size() {
            return Err(Error::new(ErrorKind::Corrupt, "the L1 table lies past the end of the file")
                .with("offset", hex(self.header.l1_offset))
                .with("length", self.header.l1_bytes())
                .with("file-size", hex(self.source.size())));
        }
        let mut tables = 0u64;
        for index in 0..self.header.l1_needed() {
            let raw = self.l1_raw(index)?;
            let table = l1_entry(raw, self.shape).map_err(|fault| bad_l1(fault.message(), index, raw))?;
            let Some(offset) = table else { continue };
            tables += 1;
            if offset + size > self.source.size() {
                return Err(bad_l1("the L2 table lies past the end of the file", index, raw)
                    .with("file-size", hex(self.source.size())));
            }
            if let Some(what) = self.overlapped(offset, size) {
                return Err(bad_l1(&format!("the L2 table overlaps {what}"), index, raw));
            }
        }
        if tables > self.source.size() / size {
            return Err(Error::new(
                ErrorKind::Corrupt,
                "the L1 table names more L2 tables than the file can hold",
            )
            .with("tables", tables)
            .with("clusters-in-file", self.source.size() / size));
        }
        Ok(())
    }

    /// Which structure that the header names lies in a range of the image file.
    fn overlapped(&self, offset: u64, length: u64) -> Option<&'static str> {
        let header = &self.header;
        let table_size = u64::from(header.refcount_table_clusters) << header.cluster_bits;
        let fixed = [
            ("the header", 0, u64::from(header.header_length)),
            ("the L1 table", header.l1_offset, header.l1_bytes()),
            ("the refcount table", header.refcount_table_offset, table_size),
        ];
        let end = offset.saturating_add(length);
        fixed
            .into_iter()
            .find(|(_, start, size)| offset < start + size && *start < end)
            .map(|(what, ..)| what)
    }

    fn check_overlap(&self, extents: &[Extent]) -> Result<(), Error> {
        for extent in extents {
            let ExtentKind::Data { source: 0, offset } = extent.kind else { continue };
            if let Some(what) = self.overlapped(offset, extent.length) {
                return Err(Error::new(ErrorKind::Corrupt, format!("a data cluster overlaps {what}"))
                    .with("guest-offset", hex(extent.start))
                    .with("offset", hex(offset)));
            }
        }
        Ok(())
    }
}

fn data_file_name(header: &Header, extensions: &Extensions) -> Result<Option<String>, Error> {
    if !header.has_data_file() {
        return Ok(None);
    }
    match extensions.data_file.as_deref() {
        None | Some([]) => {
            Err(Error::new(ErrorKind::Corrupt, "the image needs an external data file and does not name it"))
        }
        Some(name) => file_name("external data file", name).map(Some),
    }
}

fn bad_l1(message: &str, index: u64, raw: u64) -> Error {
    Error::new(ErrorKind::Corrupt, format!("L1 table: {message}"))
        .with("index", index)
        .with("entry", hex(raw))
}

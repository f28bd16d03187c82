//! An opened disk: one expanding image, or a bundle.

use witvirt_sdk::core::extent::{ExtentKind, Finding, Geometry, Page, Reference};
use witvirt_sdk::disk::{Findings, ImageReader, ReadAt, Runs, read_exact};

use crate::bundle::Bundle;
use crate::check;
use crate::descriptor::{Descriptor, MAX_BYTES};
use crate::expanding::{Expanding, HEADER, Header, InUse};
use crate::probe::is_descriptor;
use crate::{Error, ErrorKind};

/// Table entries that one page looks at, so that no call takes long.
const MAX_ENTRIES: u64 = 1 << 22;

/// An image whose header is sound, or a bundle whose descriptor is; the rest is checked where it is met.
#[derive(Debug)]
pub struct Image<R>(Disk<R>);

#[derive(Debug)]
enum Disk<R> {
    File(Expanding<R>),
    Bundle(Bundle<R>),
}

impl<R: ReadAt> ImageReader for Image<R> {
    type Source = R;

    /// Opens an image file, or the descriptor of a bundle.
    ///
    /// # Errors
    /// As [`Header::read`] and [`Descriptor::parse`]; `limit` for a descriptor above 1 MiB.
    fn open(source: R) -> Result<Self, Error> {
        let head = source.read_at(0, 8 << 10)?;
        if !is_descriptor(&head) {
            return Ok(Self(Disk::File(Expanding::open(source)?)));
        }
        if source.size() > MAX_BYTES {
            return Err(Error::new(ErrorKind::Limit, "the descriptor is too large")
                .with("size", source.size())
                .with("limit", MAX_BYTES));
        }
        let bytes = read_exact(&source, 0, source.size() as usize, "the descriptor")?;
        let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
        Ok(Self(Disk::Bundle(Bundle::new(Descriptor::parse(text.trim_ascii_start())?))))
    }

    fn geometry(&self) -> Geometry {
        let cluster_size = match &self.0 {
            Disk::File(image) => image.header.cluster_size,
            Disk::Bundle(bundle) => bundle.cluster_size(),
        };
        Geometry {
            virtual_size: self.size(),
            cluster_size: u32::try_from(cluster_size).unwrap_or(u32::MAX),
            logical_sector: 512,
        }
    }

    fn facts(&self) -> Vec<(String, String)> {
        let facts = match &self.0 {
            Disk::File(image) => file_facts(&image.header),
            Disk::Bundle(bundle) => bundle_facts(bundle),
        };
        facts.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// The files of a bundle.
    fn references(&self) -> Vec<Reference> {
        match &self.0 {
            Disk::File(_) => Vec::new(),
            Disk::Bundle(bundle) => bundle.references(),
        }
    }

    /// Hands over a file of a bundle.
    fn attach(&mut self, id: u32, source: R) -> Result<(), Error> {
        match &mut self.0 {
            Disk::File(_) => {
                Err(Error::new(ErrorKind::NotFound, "an image file has no other file").with("reference", id))
            }
            Disk::Bundle(bundle) => bundle.attach(id, source),
        }
    }

    fn extents(&mut self, start: u64, length: u64, max: u32) -> Result<Page, Error> {
        let end = start.saturating_add(length).min(self.size());
        let mut runs = Runs::new(start, max);
        let mut seen = 0;
        while runs.position() < end && seen < MAX_ENTRIES {
            let (length, kind, asked) = match &mut self.0 {
                Disk::File(image) => at(image, runs.position(), end)?,
                Disk::Bundle(bundle) => bundle.at(runs.position(), end)?,
            };
            seen += asked;
            if !runs.push(length, kind) {
                break;
            }
        }
        Ok(runs.into_page(end))
    }

    fn check(&mut self) -> Result<Vec<Finding>, Error> {
        let mut findings = Findings::default();
        let mut seen = 0;
        match &self.0 {
            Disk::File(image) => check::check(image, None, &mut seen, &mut findings)?,
            Disk::Bundle(bundle) => {
                for (name, image) in bundle.images() {
                    check::check(image, Some(name), &mut seen, &mut findings)?;
                }
            }
        }
        Ok(findings.into_sorted())
    }
}

impl<R: ReadAt> Image<R> {
    fn size(&self) -> u64 {
        match &self.0 {
            Disk::File(image) => image.header.disk_size,
            Disk::Bundle(bundle) => bundle.disk_size,
        }
    }
}

/// What lies at byte `at` of the disk, in its cluster and before `end`; one entry was looked at.
fn at<R: ReadAt>(image: &mut Expanding<R>, at: u64, end: u64) -> Result<(u64, ExtentKind, u64), Error> {
    let cluster_size = image.header.cluster_size;
    let length = (cluster_size - at % cluster_size).min(end - at);
    let place = image.locate(at, length)?;
    let kind = place.map_or(ExtentKind::Unallocated, |offset| ExtentKind::Data { source: 0, offset });
    Ok((length, kind, 1))
}

fn file_facts(header: &Header) -> Vec<(&'static str, String)> {
    let in_use = match header.in_use {
        InUse::No => "no".to_owned(),
        InUse::Yes => "yes".to_owned(),
        InUse::Unknown(value) => format!("{value:#x}"),
    };
    let mut facts = vec![
        ("version", "2".to_owned()),
        ("signature", if header.extended { "WithouFreSpacExt" } else { "WithoutFreeSpace" }.to_owned()),
        ("cluster-size", header.cluster_size.to_string()),
        ("data-offset", header.data_offset.max(HEADER).to_string()),
        ("in-use", in_use),
    ];
    if header.extension != 0 {
        facts.push(("format-extension", header.extension.to_string()));
    }
    facts
}

fn bundle_facts<R: ReadAt>(bundle: &Bundle<R>) -> Vec<(&'static str, String)> {
    let (storages, files) = bundle.counts();
    let mut facts = vec![
        ("bundle", "yes".to_owned()),
        ("storages", storages.to_string()),
        ("files", files.to_string()),
        ("snapshots", bundle.snapshots.to_string()),
    ];
    if let Some(top) = &bundle.top {
        facts.push(("top-snapshot", top.clone()));
    }
    facts
}

//! What a guest sees of an image, by the map.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use sha2::{Digest, Sha256};
use witvirt_core::extent::{Extent, ExtentKind};
use witvirt_disk::map::Validator;
use witvirt_sdk::disk::{Format, ImageReader, MAX_READ, ReadAt};
use witvirt_sdk::{Error, ErrorKind};

use crate::codec::decode;
use crate::map::map;
use crate::material::hex;
use crate::source::FileSource;

/// Extents of a page.
const PAGE: u32 = 1000;

/// What a guest sees of an image over `below`, the content of its backing image. `sources` are the primary file and the
/// attached ones, at the places of their ids.
///
/// # Errors
/// What the plugin reports.
///
/// # Panics
/// When the host would refuse the map.
pub fn content<I: ImageReader>(
    image: &mut I,
    sources: &[&I::Source],
    below: &[u8],
) -> Result<Vec<u8>, Error> {
    let sources = (0..).zip(sources.iter().copied()).collect();
    let size = image.geometry().virtual_size;
    upto(image, &sources, below, size)
}

/// What a guest sees of an image file, with the files that it names.
///
/// # Errors
/// As [`Disk::open`] and [`content`].
pub fn file_content<F: Format>(path: &Path) -> Result<Vec<u8>, Error> {
    Disk::<F>::open(path)?.content()
}

fn upto<I: ImageReader>(
    image: &mut I,
    sources: &BTreeMap<u32, &I::Source>,
    below: &[u8],
    size: u64,
) -> Result<Vec<u8>, Error> {
    let extents = checked_map(image, sources)?;
    let mut content = vec![0; size as usize];
    for extent in extents.iter().filter(|extent| extent.start < size) {
        let end = (extent.start + extent.length).min(size) as usize;
        let target = &mut content[extent.start as usize..end];
        match &extent.kind {
            ExtentKind::Parent => {
                let known = below.get(extent.start as usize..below.len().min(end)).unwrap_or_default();
                target[..known.len()].copy_from_slice(known);
            }
            _ => read_stored(image, sources, extent, |at, bytes| {
                let at = (at - extent.start) as usize;
                let length = target.len().saturating_sub(at).min(bytes.len());
                target[at..at + length].copy_from_slice(&bytes[..length]);
            })?,
        }
    }
    Ok(content)
}

/// The map, which the host takes as it is.
fn checked_map<I: ImageReader>(
    image: &mut I,
    sources: &BTreeMap<u32, &I::Source>,
) -> Result<Vec<Extent>, Error> {
    let extents = map(image, PAGE)?;
    let size = image.geometry().virtual_size;
    let sizes = sources.iter().map(|(id, source)| (*id, source.size())).collect();
    let backing = image.references().iter().any(|reference| reference.is_backing());
    let mut validator = Validator::new("tested", "0.0.0", size, sizes, backing);
    for pages in extents.chunks(PAGE as usize) {
        let (Some(first), Some(last)) = (pages.first(), pages.last()) else { break };
        let end = last.start + last.length;
        let page = witvirt_core::extent::Page { extents: pages.to_vec(), next: None };
        validator
            .check(first.start, end - first.start, PAGE, &page)
            .unwrap_or_else(|fault| panic!("{fault}"));
    }
    Ok(extents)
}

/// Hands over what an extent stores, with its place on the disk, in pieces of at most a MiB where it is stored as it is.
fn read_stored<I: ImageReader>(
    image: &I,
    sources: &BTreeMap<u32, &I::Source>,
    extent: &Extent,
    mut each: impl FnMut(u64, &[u8]),
) -> Result<(), Error> {
    match &extent.kind {
        ExtentKind::Zero | ExtentKind::Unallocated | ExtentKind::Parent => {}
        ExtentKind::Literal(bytes) => each(extent.start, bytes),
        ExtentKind::Data { source, offset } => {
            for at in (0..extent.length).step_by(MAX_READ as usize) {
                let length = (extent.length - at).min(u64::from(MAX_READ)) as u32;
                each(extent.start + at, &sources[source].read_at(offset + at, length)?);
            }
        }
        ExtentKind::Encoded(encoded) => {
            let source = sources[&encoded.source];
            let length = encoded.length.min(source.size() - encoded.offset);
            let bytes = (0..length)
                .step_by(MAX_READ as usize)
                .map(|at| source.read_at(encoded.offset + at, (length - at).min(u64::from(MAX_READ)) as u32));
            let bytes = bytes.collect::<Result<Vec<_>, _>>()?.concat();
            let decoded = decode(image, &encoded.codec, &bytes, encoded.decoded_length)?;
            each(extent.start, &decoded[encoded.skip as usize..][..extent.length as usize]);
        }
    }
    Ok(())
}

/// An image file with the files that it names beside it, as a host would open them.
pub struct Disk<F: Format> {
    /// The image itself.
    pub image: F::Image<FileSource>,
    /// By their ids.
    files: BTreeMap<u32, FileSource>,
    below: Option<Below<F>>,
}

enum Below<F: Format> {
    Raw(FileSource),
    Image(Box<Disk<F>>),
}

impl<F: Format> Disk<F> {
    /// Opens an image, attaches its files, and opens what is below: raw where the image says so, else of the same format.
    ///
    /// # Errors
    /// What the plugin reports, or `not-found` with the name of a file that is not there.
    ///
    /// # Panics
    /// When the image below is not the one that the facts say.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let image = F::Image::open(FileSource::open(path))?;
        let mut disk = Self { image, files: BTreeMap::from([(0, FileSource::open(path))]), below: None };
        for reference in disk.image.references() {
            let named = path.with_file_name(&reference.name);
            let file = || {
                let open = File::open(&named).map(FileSource);
                open.map_err(|error| Error::new(ErrorKind::NotFound, format!("{}: {error}", reference.name)))
            };
            if !reference.is_backing() {
                disk.image.attach(reference.id, file()?)?;
                disk.files.insert(reference.id, file()?);
            } else if reference.format_hint.as_deref() == Some("raw") {
                disk.below = Some(Below::Raw(file()?));
            } else {
                let hint = reference.format_hint.as_deref();
                assert!(hint.is_none_or(|hint| F::NAMES.contains(&hint)), "{hint:?}");
                file()?;
                let parent = Self::open(&named)?;
                assert_eq!(disk.fact("parent-id"), disk.fact("parent-id").and(parent.fact("id")));
                disk.below = Some(Below::Image(Box::new(parent)));
            }
        }
        Ok(disk)
    }

    /// Bytes of the disk.
    pub fn size(&self) -> u64 {
        self.image.geometry().virtual_size
    }

    /// The value of a fact.
    pub fn fact(&self, name: &str) -> Option<String> {
        self.image.facts().into_iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// As [`map`].
    ///
    /// # Errors
    /// As [`map`].
    pub fn map(&mut self, max: u32) -> Result<Vec<Extent>, Error> {
        map(&mut self.image, max)
    }

    /// What a guest sees.
    ///
    /// # Errors
    /// As [`content`].
    pub fn content(&mut self) -> Result<Vec<u8>, Error> {
        self.content_upto(self.size())
    }

    fn content_upto(&mut self, size: u64) -> Result<Vec<u8>, Error> {
        let below = match &mut self.below {
            None => Vec::new(),
            Some(Below::Raw(file)) => read_all(file, size.min(file.size()))?,
            Some(Below::Image(disk)) => disk.content_upto(size.min(disk.size()))?,
        };
        let sources = self.files.iter().map(|(id, file)| (*id, file)).collect();
        upto(&mut self.image, &sources, &below, size)
    }

    /// Hands over what this image stores, without what is below, in the order of the disk: for disks that are too large to
    /// be held in memory. A piece is at most a MiB, or as long as what was encoded together.
    ///
    /// # Errors
    /// As [`content`].
    pub fn stored(&mut self, mut each: impl FnMut(u64, &[u8])) -> Result<(), Error> {
        let sources = self.files.iter().map(|(id, file)| (*id, file)).collect();
        for extent in checked_map(&mut self.image, &sources)? {
            read_stored(&self.image, &sources, &extent, &mut each)?;
        }
        Ok(())
    }

    /// The digest of what a guest sees of an image without one below.
    ///
    /// # Errors
    /// As [`content`].
    pub fn sha256(&mut self) -> Result<String, Error> {
        assert!(self.below.is_none());
        let (mut digest, mut at) = (Sha256::new(), 0);
        let zeros = vec![0; MAX_READ as usize];
        let skip = |digest: &mut Sha256, length: u64| {
            for done in (0..length).step_by(zeros.len()) {
                digest.update(&zeros[..(length - done).min(zeros.len() as u64) as usize]);
            }
        };
        self.stored(|start, bytes| {
            skip(&mut digest, start - at);
            digest.update(bytes);
            at = start + bytes.len() as u64;
        })?;
        skip(&mut digest, self.size() - at);
        Ok(hex(&digest.finalize()))
    }
}

fn read_all(source: &impl ReadAt, length: u64) -> Result<Vec<u8>, Error> {
    witvirt_sdk::disk::read_exact(source, 0, length as usize, "the backing file")
}

//! The parts of a bundle, and the disk that they make.

use witvirt_sdk::core::extent::{ExtentKind, Reference};
use witvirt_sdk::disk::ReadAt;

use crate::descriptor::{Descriptor, Kind, Part};
use crate::expanding::Expanding;
use crate::{Error, ErrorKind};

/// An attached part.
#[derive(Debug)]
enum Content<R> {
    Plain,
    Expanding(Expanding<R>),
}

/// A file of the disk; its id is its place in the list, from 1.
#[derive(Debug)]
struct File<R> {
    part: Part,
    /// Length of its storage and its cluster size, in bytes.
    length: u64,
    cluster_size: u64,
    content: Option<Content<R>>,
}

/// A range of the disk and its files.
#[derive(Debug)]
struct Range {
    start: u64,
    end: u64,
    cluster_size: u64,
    /// Index of the top file and of the one after the bottom.
    files: (usize, usize),
}

/// A disk of several files.
#[derive(Debug)]
pub(crate) struct Bundle<R> {
    pub(crate) disk_size: u64,
    pub(crate) snapshots: usize,
    pub(crate) top: Option<String>,
    ranges: Vec<Range>,
    files: Vec<File<R>>,
}

impl<R: ReadAt> Bundle<R> {
    pub fn new(descriptor: Descriptor) -> Self {
        let Descriptor { disk_size, storages, snapshots, top } = descriptor;
        let (mut ranges, mut files) = (Vec::new(), Vec::new());
        for storage in storages {
            let (start, end, cluster_size) = (storage.start, storage.end, storage.cluster_size);
            let first = files.len();
            let length = end - start;
            files.extend(storage.chain.into_iter().map(|part| File {
                part,
                length,
                cluster_size,
                content: None,
            }));
            ranges.push(Range { start, end, cluster_size, files: (first, files.len()) });
        }
        Self { disk_size, snapshots, top, ranges, files }
    }

    /// The largest of the storages; 0 where all are plain.
    pub fn cluster_size(&self) -> u64 {
        self.ranges.iter().map(|range| range.cluster_size).max().unwrap_or(0)
    }

    /// Storages and files.
    pub fn counts(&self) -> (usize, usize) {
        (self.ranges.len(), self.files.len())
    }

    pub fn references(&self) -> Vec<Reference> {
        let reference = |(id, file): (u32, &File<R>)| Reference {
            id,
            role: "extent".to_owned(),
            name: file.part.name.clone(),
            format_hint: Some(
                match file.part.kind {
                    Kind::Plain => "raw",
                    Kind::Expanding => crate::FORMAT,
                }
                .to_owned(),
            ),
            required: true,
        };
        (1..).zip(&self.files).map(reference).collect()
    }

    /// Takes a part, which has to be as its storage says.
    pub fn attach(&mut self, id: u32, source: R) -> Result<(), Error> {
        let index = (id as usize).checked_sub(1);
        let Some(file) = index.and_then(|index| self.files.get_mut(index)) else {
            return Err(
                Error::new(ErrorKind::NotFound, "the disk has no such file to attach").with("reference", id)
            );
        };
        let named = |error: Error| error.with("file", file.part.name.escape_debug());
        file.content = Some(match file.part.kind {
            Kind::Plain => {
                at_least(source.size(), file.length, "the plain image").map_err(named)?;
                Content::Plain
            }
            Kind::Expanding => {
                let opened = Expanding::open(source).map_err(named)?;
                let header = opened.header();
                at_least(header.disk_size, file.length, "the disk of the image").map_err(named)?;
                if header.cluster_size != file.cluster_size {
                    return Err(named(corrupt("the image has another cluster size than its storage"))
                        .with("cluster-size", header.cluster_size)
                        .with("block-size", file.cluster_size));
                }
                Content::Expanding(opened)
            }
        });
        Ok(())
    }

    /// What lies at byte `at` of the disk, up to `end` at most, and how many files were asked for it.
    pub fn at(&mut self, at: u64, end: u64) -> Result<(u64, ExtentKind, u64), Error> {
        let index = self.ranges.partition_point(|range| range.end <= at);
        let Some(range) = self.ranges.get(index) else {
            return Err(corrupt("the storages end before the disk").with("offset", at));
        };
        let (position, mut length) = (at - range.start, end.min(range.end) - at);
        if range.cluster_size != 0 {
            length = length.min(range.cluster_size - position % range.cluster_size);
        }
        let (first, last) = range.files;
        let mut asked = 0;
        for (id, file) in (first as u32 + 1..).zip(self.files.get_mut(first..last).unwrap_or_default()) {
            asked += 1;
            let place = match &mut file.content {
                Some(Content::Plain) => Some(position),
                Some(Content::Expanding(image)) => image
                    .locate(position, length)
                    .map_err(|error| error.with("file", file.part.name.escape_debug()))?,
                None => {
                    let name = file.part.name.escape_debug();
                    return Err(Error::new(
                        ErrorKind::NotFound,
                        format!("the file \"{name}\" is not attached"),
                    ));
                }
            };
            if let Some(offset) = place {
                return Ok((length, ExtentKind::Data { source: id, offset }, asked));
            }
        }
        Ok((length, ExtentKind::Unallocated, asked))
    }

    /// The attached expanding images, by name.
    pub fn images(&self) -> impl Iterator<Item = (&str, &Expanding<R>)> {
        self.files.iter().filter_map(|file| match &file.content {
            Some(Content::Expanding(image)) => Some((file.part.name.as_str(), image)),
            _ => None,
        })
    }
}

fn at_least(size: u64, length: u64, what: &str) -> Result<(), Error> {
    if size >= length {
        return Ok(());
    }
    Err(corrupt(&format!("{what} is shorter than its storage; it may be cut short"))
        .with("size", size)
        .with("storage", length))
}

fn corrupt(message: &str) -> Error {
    Error::new(ErrorKind::Corrupt, message)
}

//! An opened image.

use std::collections::BTreeMap;

use witvirt_sdk::core::extent::{Finding, Geometry, Page, Reference};
use witvirt_sdk::disk::{ImageReader, ReadAt, hex, no_such_file, read_exact};

use crate::descriptor::{CreateType, Descriptor, ExtentType, MAX_BYTES};
use crate::map::PageRuns;
use crate::sector::SECTOR;
use crate::sparse::hosted::{self, Header};
use crate::sparse::{MAX_DIRECTORY, Sparse, cowd, se};
use crate::{Error, ErrorKind, FORMAT, decode, facts};

/// Reference id of the parent image; the files of extents have the ids before it.
pub const PARENT: u32 = 1 << 16;

/// An image whose descriptor is sound. Files of extents are checked when they are attached, their tables where they are met.
#[derive(Debug)]
pub struct Image<R> {
    primary: R,
    pub(crate) descriptor: Descriptor,
    /// In the order of the disk.
    pub(crate) parts: Vec<Part>,
    /// The files of extents, of which the first has id 1.
    files: Vec<File<R>>,
    /// Bytes of all grain directories so far.
    directories: u64,
}

/// An extent.
#[derive(Debug)]
pub(crate) struct Part {
    /// First byte of the disk.
    pub start: u64,
    /// Bytes.
    pub length: u64,
    pub content: Content,
}

#[derive(Debug)]
pub(crate) enum Content {
    Zero,
    /// A range of file `id` from `offset` (bytes).
    Flat {
        id: u32,
        offset: u64,
    },
    /// In file `id`; closed until that is attached.
    Sparse {
        id: u32,
        kind: ExtentType,
        opened: Option<Box<Sparse>>,
    },
}

#[derive(Debug)]
struct File<R> {
    name: String,
    content: Option<R>,
}

impl Part {
    fn end(&self) -> u64 {
        self.start + self.length
    }

    fn file(&self) -> Option<u32> {
        match self.content {
            Content::Zero => None,
            Content::Flat { id, .. } | Content::Sparse { id, .. } => Some(id),
        }
    }
}

impl<R: ReadAt> ImageReader for Image<R> {
    type Source = R;

    /// Reads the descriptor, and the header where the file is also the disk's only extent.
    ///
    /// # Errors
    /// `invalid-input` when it is no VMDK image, `unsupported` with what is not known, `corrupt` with what is wrong and
    /// where, or what the source reports.
    fn open(primary: R) -> Result<Self, Error> {
        let head = primary.read_at(0, SECTOR as u32)?;
        if head.starts_with(hosted::MAGIC) {
            return Self::open_embedded(primary);
        }
        if head.starts_with(cowd::MAGIC) || is_se_sparse(&head) {
            return Err(Error::new(ErrorKind::Unsupported, NO_DESCRIPTOR));
        }
        if !crate::probe::is_descriptor(&head) {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                "not a VMDK image: neither a descriptor nor a sparse extent",
            ));
        }
        if primary.size() > MAX_BYTES {
            return Err(Error::new(ErrorKind::Limit, "the descriptor is too large")
                .with("file-size", primary.size())
                .with("limit", MAX_BYTES));
        }
        let text = read_exact(&primary, 0, primary.size() as usize, "the descriptor")?;
        let descriptor = Descriptor::parse(&text)?;
        let (files, parts) = lay_out(&descriptor)?;
        Ok(Self { primary, descriptor, parts, files, directories: 0 })
    }

    fn geometry(&self) -> Geometry {
        Geometry {
            virtual_size: self.size(),
            cluster_size: self.sparse().next().map_or(0, |sparse| sparse.grain() as u32),
            logical_sector: SECTOR as u32,
        }
    }

    fn facts(&self) -> Vec<(String, String)> {
        facts::facts(self)
    }

    /// The files that the image names: those of its extents, and its parent.
    fn references(&self) -> Vec<Reference> {
        let extents = self.files.iter().enumerate().map(|(index, file)| Reference {
            id: index as u32 + 1,
            role: "extent".to_owned(),
            name: file.name.clone(),
            format_hint: None,
            required: true,
        });
        let parent = self.descriptor.parent.iter().map(|(_, name)| Reference {
            id: PARENT,
            role: "parent".to_owned(),
            name: name.clone(),
            format_hint: Some(FORMAT.to_owned()),
            required: true,
        });
        extents.chain(parent).collect()
    }

    /// Hands over the file of reference `id`, and checks that it is what the descriptor says.
    fn attach(&mut self, id: u32, content: R) -> Result<(), Error> {
        let index = (id as usize).wrapping_sub(1);
        let Some(file) = self.files.get_mut(index) else {
            return Err(no_such_file(id));
        };
        for part in self.parts.iter_mut().filter(|part| part.file() == Some(id)) {
            open_part(part, &content, &mut self.directories)
                .map_err(|error| error.with("extent-file", file.name.as_str()))?;
        }
        file.content = Some(content);
        Ok(())
    }

    fn extents(&mut self, start: u64, length: u64, max: u32) -> Result<Page, Error> {
        let end = start.saturating_add(length).min(self.size());
        let parent = self.descriptor.parent.is_some();
        let mut runs = PageRuns::new(start, max, parent);
        let mut seen = 0;
        let first = self.parts.partition_point(|part| part.end() <= start);
        for part in self.parts.iter_mut().skip(first) {
            let at = runs.position();
            if at >= end {
                break;
            }
            let stop = part.end().min(end);
            if !push_part(part, &self.primary, &self.files, at..stop, &mut runs, &mut seen)? {
                break;
            }
        }
        Ok(runs.into_page(end))
    }

    fn decode(&self, codec: &str, data: &[u8], decoded_length: u32) -> Result<Vec<u8>, Error> {
        decode::decode(codec, data, decoded_length)
    }

    fn check(&mut self) -> Result<Vec<Finding>, Error> {
        self.findings()
    }
}

impl<R: ReadAt> Image<R> {
    fn open_embedded(primary: R) -> Result<Self, Error> {
        let head = read_exact(&primary, 0, SECTOR as usize, "the header")?;
        let header = Header::parse(&head)?;
        let descriptor = embedded(&primary, &header)?;
        let stream = descriptor.create_type == CreateType::StreamOptimized;
        if stream != header.compressed {
            let message = format!(
                "the descriptor says \"{}\", which the header disagrees with: its grains are {}compressed",
                descriptor.create_type_name,
                if header.compressed { "" } else { "not " }
            );
            return Err(Error::new(ErrorKind::Corrupt, message));
        }
        let [extent] = &descriptor.extents[..] else {
            return Err(disagree("it lists more than one extent"));
        };
        if extent.kind != ExtentType::Sparse {
            return Err(disagree("its extent is not SPARSE"));
        }
        // The extent is this file, whatever name the descriptor has for it: files are renamed.
        let length = extent.sectors * SECTOR;
        let sparse = Sparse::open_hosted(&primary, header, length)?;
        let content = Content::Sparse { id: 0, kind: ExtentType::Sparse, opened: Some(Box::new(sparse)) };
        let parts = vec![Part { start: 0, length, content }];
        Ok(Self { primary, descriptor, parts, files: Vec::new(), directories: 0 })
    }

    fn size(&self) -> u64 {
        self.parts.last().map_or(0, Part::end)
    }

    /// The opened sparse extents.
    pub(crate) fn sparse(&self) -> impl Iterator<Item = &Sparse> {
        self.parts.iter().filter_map(|part| match &part.content {
            Content::Sparse { opened: Some(sparse), .. } => Some(&**sparse),
            _ => None,
        })
    }

    /// The file of an id, where it is there.
    pub(crate) fn file(&self, id: u32) -> Option<&R> {
        file_of(&self.primary, &self.files, id)
    }

    /// Takes the parts out, for a walk that needs the files too; they have to be put back.
    pub(crate) fn take_parts(&mut self) -> Vec<Part> {
        std::mem::take(&mut self.parts)
    }
}

const NO_DESCRIPTOR: &str = "the file is an extent of a disk, without the descriptor: open the descriptor file that \
                             lists it (and its parent)";

fn is_se_sparse(head: &[u8]) -> bool {
    witvirt_sdk::disk::le64(head, 0) == Some(se::MAGIC)
}

fn embedded<R: ReadAt>(primary: &R, header: &Header) -> Result<Descriptor, Error> {
    if header.descriptor_size == 0 {
        return Err(Error::new(ErrorKind::Unsupported, NO_DESCRIPTOR));
    }
    let area = header.descriptor()?;
    if area.offset >= primary.size() {
        return Err(Error::new(
            ErrorKind::Corrupt,
            "the descriptor lies past the end of the file; it may be cut short",
        )
        .with("offset", hex(area.offset))
        .with("file-size", hex(primary.size())));
    }
    if area.length > MAX_BYTES {
        return Err(Error::new(ErrorKind::Limit, "the descriptor is too large")
            .with("length", area.length)
            .with("limit", MAX_BYTES));
    }
    let text = read_exact(primary, area.offset, area.length as usize, "the descriptor")?;
    if text.first() == Some(&0) {
        return Err(Error::new(ErrorKind::Unsupported, NO_DESCRIPTOR));
    }
    let descriptor = Descriptor::parse(&text)?;
    match descriptor.create_type {
        CreateType::MonolithicSparse | CreateType::StreamOptimized => Ok(descriptor),
        _ => Err(disagree(&format!("it says \"{}\"", descriptor.create_type_name))),
    }
}

fn disagree(how: &str) -> Error {
    let message =
        format!("the embedded descriptor disagrees with the file that it is in, one sparse extent: {how}");
    Error::new(ErrorKind::Corrupt, message)
}

/// The files that a descriptor names, and what of them is where.
fn lay_out<R>(descriptor: &Descriptor) -> Result<(Vec<File<R>>, Vec<Part>), Error> {
    let mut ids: BTreeMap<&str, u32> = BTreeMap::new();
    let mut files: Vec<File<R>> = Vec::new();
    let mut parts = Vec::with_capacity(descriptor.extents.len());
    let mut used: Vec<(u32, u64, u64)> = Vec::new();
    let mut start = 0;
    for extent in &descriptor.extents {
        // The descriptor has checked that none of these overflows.
        let (length, offset) = (extent.sectors * SECTOR, extent.offset * SECTOR);
        let content = if extent.kind == ExtentType::Zero {
            Content::Zero
        } else {
            let id = *ids.entry(&extent.name).or_insert_with(|| {
                files.push(File { name: extent.name.clone(), content: None });
                files.len() as u32
            });
            // A sparse file is one extent as a whole.
            let taken = if extent.kind.is_flat() { offset..offset + length } else { 0..u64::MAX };
            used.push((id, taken.start, taken.end));
            match extent.kind.is_flat() {
                true => Content::Flat { id, offset },
                false => Content::Sparse { id, kind: extent.kind, opened: None },
            }
        };
        parts.push(Part { start, length, content });
        start += length;
    }
    used.sort_unstable();
    if let Some(pair) = used.windows(2).find(|pair| pair[0].0 == pair[1].0 && pair[1].1 < pair[0].2) {
        let name = files.get(pair[0].0 as usize - 1).map(|file| file.name.clone()).unwrap_or_default();
        return Err(Error::new(ErrorKind::Corrupt, "two extents of the descriptor overlap in their file")
            .with("extent-file", name)
            .with("offset", hex(pair[1].1)));
    }
    Ok((files, parts))
}

fn open_part<R: ReadAt>(part: &mut Part, content: &R, directories: &mut u64) -> Result<(), Error> {
    match &mut part.content {
        Content::Zero => Ok(()),
        Content::Flat { offset, .. } => {
            if *offset + part.length > content.size() {
                let message =
                    "the file of an extent is shorter than the descriptor says; it may be cut short";
                return Err(Error::new(ErrorKind::Corrupt, message)
                    .with("needed", *offset + part.length)
                    .with("file-size", content.size()));
            }
            Ok(())
        }
        Content::Sparse { kind, opened, .. } => {
            let sparse = Sparse::open(*kind, content, part.length)?;
            *directories += sparse.directory_bytes();
            if *directories > MAX_DIRECTORY {
                return Err(Error::new(
                    ErrorKind::Limit,
                    "the grain directories of the extents are too large",
                )
                .with("limit", MAX_DIRECTORY));
            }
            *opened = Some(Box::new(sparse));
            Ok(())
        }
    }
}

fn push_part<R: ReadAt>(
    part: &mut Part,
    primary: &R,
    files: &[File<R>],
    range: std::ops::Range<u64>,
    runs: &mut PageRuns,
    seen: &mut u64,
) -> Result<bool, Error> {
    let (at, end) = (range.start - part.start, range.end - part.start);
    let id = part.file().unwrap_or_default();
    let missing = || {
        let name = files.get((id as usize).wrapping_sub(1)).map_or("", |file| &file.name);
        Error::new(ErrorKind::NotFound, format!("the file of an extent, \"{name}\", is not attached"))
    };
    let source = file_of(primary, files, id).ok_or_else(missing)?;
    *seen += 1;
    match &mut part.content {
        Content::Zero => Ok(runs.push_zero(end - at)),
        Content::Flat { offset, .. } => Ok(runs.push_data(end - at, id, *offset + at)),
        Content::Sparse { opened: None, .. } => Err(missing()),
        Content::Sparse { opened: Some(sparse), .. } => sparse.push(source, id, at, end, runs, seen),
    }
}

fn file_of<'a, R>(primary: &'a R, files: &'a [File<R>], id: u32) -> Option<&'a R> {
    match id.checked_sub(1) {
        None => Some(primary),
        Some(index) => files.get(index as usize)?.content.as_ref(),
    }
}

//! Directories, and how they are written.

use std::collections::HashMap;
use std::marker::PhantomData;

use super::names::Naming;
use super::{Extent, File, Image, InvalidFiles, MAX_BYTES, MAX_LEVELS, MAX_NAME, SECTOR, both16, both32};
use super::{rock_ridge, sectors};

/// The fixed part of a directory record, in bytes.
const RECORD: usize = 33;

/// The date of everything, so that equal files give equal bytes: the first of January 2000, in UTC.
pub(super) const DATE: [u8; 7] = [100, 1, 1, 0, 0, 0, 0];

/// The directory tree; the root is directory 0.
pub(super) struct Tree<'a> {
    directories: Vec<Directory<'a>>,
}

struct Directory<'a> {
    parent: usize,
    entries: Vec<(&'a str, Target)>,
}

/// What an entry leads to: a number of a directory or file.
#[derive(Clone, Copy)]
enum Target {
    Directory(usize),
    File(usize),
}

impl Target {
    fn is_directory(self) -> bool {
        matches!(self, Self::Directory(_))
    }
}

impl<'a> Tree<'a> {
    pub(super) fn new(files: &[File<'a>]) -> Result<Self, InvalidFiles> {
        let bytes = files.iter().fold(0u64, |sum, file| sum.saturating_add(file.content.len() as u64));
        if bytes > MAX_BYTES || files.len() as u64 > MAX_BYTES / SECTOR as u64 {
            return Err(InvalidFiles::TooLarge);
        }
        let mut tree = Self { directories: vec![Directory { parent: 0, entries: Vec::new() }] };
        let mut known: HashMap<(usize, &str), Target> = HashMap::new();
        for (index, file) in files.iter().enumerate() {
            let names: Vec<&str> = file.path.split('/').collect();
            let good = |name: &&str| {
                let reserved = name.is_empty() || *name == "." || *name == "..";
                !reserved && name.len() <= MAX_NAME && !name.contains('\0')
            };
            if names.len() > MAX_LEVELS || !names.iter().all(good) {
                return Err(InvalidFiles::Path(file.path.to_owned()));
            }
            let mut here = 0;
            for (level, name) in names.iter().enumerate() {
                let last = level + 1 == names.len();
                here = match (known.get(&(here, *name)), last) {
                    (Some(Target::Directory(directory)), false) => *directory,
                    (Some(_), _) => return Err(InvalidFiles::Twice(file.path.to_owned())),
                    (None, true) => {
                        known.insert((here, name), Target::File(index));
                        tree.directories[here].entries.push((name, Target::File(index)));
                        here
                    }
                    (None, false) => {
                        let target = tree.directories.len();
                        if target > usize::from(u16::MAX) {
                            return Err(InvalidFiles::TooLarge);
                        }
                        known.insert((here, name), Target::Directory(target));
                        tree.directories[here].entries.push((name, Target::Directory(target)));
                        tree.directories.push(Directory { parent: here, entries: Vec::new() });
                        target
                    }
                };
            }
        }
        Ok(tree)
    }

    /// Links to a directory: its name, its own, and those of the directories in it.
    fn links(&self, directory: usize) -> u32 {
        let entries = &self.directories[directory].entries;
        2 + entries.iter().filter(|(_, target)| target.is_directory()).count() as u32
    }
}

/// The tree as one of the two descriptors has it.
pub(super) struct View<N> {
    /// Of each directory: identifiers and entries (their number there), in order.
    entries: Vec<Vec<(Vec<u8>, usize)>>,
    /// Directories in the order of the path table: level by level.
    order: Vec<usize>,
    /// What a directory is called in its parent.
    identifiers: Vec<Vec<u8>>,
    extents: Vec<Extent>,
    naming: PhantomData<N>,
}

impl<N: Naming> View<N> {
    pub(super) fn new(tree: &Tree<'_>) -> Self {
        let mut view = Self {
            entries: Vec::with_capacity(tree.directories.len()),
            order: vec![0],
            identifiers: vec![vec![0]; tree.directories.len()],
            extents: Vec::with_capacity(tree.directories.len()),
            naming: PhantomData,
        };
        for directory in &tree.directories {
            let named: Vec<_> =
                directory.entries.iter().map(|(name, target)| (*name, target.is_directory())).collect();
            let mut entries: Vec<_> = N::identifiers(&named).into_iter().zip(0..).collect();
            entries.sort_by_cached_key(|(identifier, _)| N::order(identifier));
            for (identifier, entry) in &entries {
                if let (_, Target::Directory(target)) = directory.entries[*entry] {
                    view.identifiers[target].clone_from(identifier);
                }
            }
            view.entries.push(entries);
        }
        let mut at = 0;
        while let Some(directory) = view.order.get(at).copied() {
            at += 1;
            for (_, entry) in &view.entries[directory] {
                if let (_, Target::Directory(target)) = tree.directories[directory].entries[*entry] {
                    view.order.push(target);
                }
            }
        }
        for directory in 0..tree.directories.len() {
            let records =
                Self::records(tree, &view.entries, directory, &|_| Extent { sector: 0, bytes: 0 }, 0);
            view.extents.push(Extent { sector: 0, bytes: pack(&records).len() as u32 });
        }
        view
    }

    /// Bytes of a path table.
    pub(super) fn path_table_size(&self) -> usize {
        self.identifiers.iter().map(|identifier| 8 + identifier.len().next_multiple_of(2)).sum()
    }

    /// Gives the directories their sectors.
    pub(super) fn place(&mut self, next: &mut u32) {
        for directory in &self.order {
            self.extents[*directory].sector = *next;
            *next += sectors(self.extents[*directory].bytes as usize);
        }
    }

    /// The record of the root, for the volume descriptor.
    pub(super) fn root(&self) -> Vec<u8> {
        record(&[0], self.extents[0], true, &[])
    }

    /// The path table with numbers in little and in big endian.
    pub(super) fn path_tables(&self, tree: &Tree<'_>) -> (Vec<u8>, Vec<u8>) {
        let mut numbers = vec![0u16; self.order.len()];
        for (number, directory) in (1..).zip(&self.order) {
            numbers[*directory] = number;
        }
        let (mut little, mut big) = (Vec::new(), Vec::new());
        for directory in &self.order {
            let (identifier, extent) = (&self.identifiers[*directory], self.extents[*directory]);
            let parent = numbers[tree.directories[*directory].parent];
            let (sector, length) = (extent.sector, identifier.len() as u8);
            for (table, sector, parent) in [
                (&mut little, sector.to_le_bytes(), parent.to_le_bytes()),
                (&mut big, sector.to_be_bytes(), parent.to_be_bytes()),
            ] {
                table.extend_from_slice(&[length, 0]);
                table.extend_from_slice(&sector);
                table.extend_from_slice(&parent);
                table.extend_from_slice(identifier);
                table.resize(table.len().next_multiple_of(2), 0);
            }
        }
        (little, big)
    }

    /// Writes the directories; `files`: where the files lie, `continuation`: where the root's Rock Ridge entries go on.
    pub(super) fn write(&self, tree: &Tree<'_>, files: &[Extent], continuation: u32, image: &mut Image) {
        let place = |target| match target {
            Target::Directory(directory) => self.extents[directory],
            Target::File(file) => files[file],
        };
        for directory in 0..tree.directories.len() {
            let records = Self::records(tree, &self.entries, directory, &place, continuation);
            image.put(self.extents[directory].sector, &pack(&records));
        }
    }

    fn records(
        tree: &Tree<'_>,
        entries: &[Vec<(Vec<u8>, usize)>],
        directory: usize,
        place: &dyn Fn(Target) -> Extent,
        continuation: u32,
    ) -> Vec<Vec<u8>> {
        let of_directory = |number| match N::ROCK_RIDGE {
            true => rock_ridge::attributes(true, tree.links(number)),
            false => Vec::new(),
        };
        let parent = tree.directories[directory].parent;
        let mut own = of_directory(directory);
        if N::ROCK_RIDGE && directory == 0 {
            own = [rock_ridge::indicator(), own, rock_ridge::continued(continuation)].concat();
        }
        let mut records = vec![
            record(&[0], directory_extent(place, directory), true, &own),
            record(&[1], directory_extent(place, parent), true, &of_directory(parent)),
        ];
        for (identifier, entry) in &entries[directory] {
            let (name, target) = tree.directories[directory].entries[*entry];
            let mut extra = match target {
                Target::Directory(number) => of_directory(number),
                Target::File(_) if N::ROCK_RIDGE => rock_ridge::attributes(false, 1),
                Target::File(_) => Vec::new(),
            };
            if N::ROCK_RIDGE {
                extra.extend(rock_ridge::name(name));
            }
            records.push(record(identifier, place(target), target.is_directory(), &extra));
        }
        records
    }
}

/// A directory takes whole sectors, and says so.
fn directory_extent(place: &dyn Fn(Target) -> Extent, directory: usize) -> Extent {
    place(Target::Directory(directory))
}

/// A directory record. With names of at most 132 bytes and the entries of this module it has less than 255 bytes.
fn record(identifier: &[u8], extent: Extent, directory: bool, extra: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(RECORD + identifier.len() + 1 + extra.len());
    bytes.extend_from_slice(&[0, 0]);
    bytes.extend_from_slice(&both32(extent.sector));
    bytes.extend_from_slice(&both32(extent.bytes));
    bytes.extend_from_slice(&DATE);
    bytes.extend_from_slice(&[if directory { 2 } else { 0 }, 0, 0]);
    bytes.extend_from_slice(&both16(1));
    bytes.push(identifier.len() as u8);
    bytes.extend_from_slice(identifier);
    if identifier.len().is_multiple_of(2) {
        bytes.push(0);
    }
    bytes.extend_from_slice(extra);
    if !bytes.len().is_multiple_of(2) {
        bytes.push(0);
    }
    bytes[0] = bytes.len() as u8;
    bytes
}

/// Records one after another, none across the end of a sector, in whole sectors.
fn pack(records: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for record in records {
        let left = SECTOR - bytes.len() % SECTOR;
        if record.len() > left {
            bytes.resize(bytes.len() + left, 0);
        }
        bytes.extend_from_slice(record);
    }
    bytes.resize(bytes.len().next_multiple_of(SECTOR), 0);
    bytes
}

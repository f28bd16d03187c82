//! Builds ISO 9660 file systems in memory: small read-only disks with files for a guest.
//!
//! Files in, bytes out; the same files give the same bytes. A name stands in the file system three times: as ISO 9660 has it
//! (eight and three capital letters), as Joliet's second tree of directories has it (Windows; UTF-16, 64 units), and in Rock
//! Ridge entries beside the first (Linux, FreeBSD; up to 128 bytes). Formats: ECMA-119, the Joliet specification of 1995,
//! SUSP and RRIP 1.09 (`RRIP_1991A`).
//!
//! ```text
//! sector  0  nothing (system area)            19  path tables: ISO 9660 (little, big endian), Joliet (both)
//!        16  primary volume descriptor         .  directories of ISO 9660 with Rock Ridge
//!        17  Joliet's volume descriptor        .  what did not fit into the root's Rock Ridge entries
//!        18  end of descriptors                .  directories of Joliet, then the files, each from a sector on
//! ```

mod descriptor;
mod names;
mod rock_ridge;
#[cfg(test)]
mod tests;
mod tree;

use names::{Joliet, Primary};
use tree::{Tree, View};

/// Bytes of a sector.
const SECTOR: usize = 2048;

/// The first sector that is no descriptor.
const FIRST_FREE: u32 = 19;

/// The largest file system that is built, in bytes: all is in memory.
const MAX_BYTES: u64 = 64 << 20;

/// The longest name, in bytes: with its Rock Ridge entries it has to fit into one directory record of 255 bytes.
const MAX_NAME: usize = 128;

/// Directories below each other, the root included.
const MAX_LEVELS: usize = 8;

/// A file to be.
#[derive(Clone, Copy)]
pub struct File<'a> {
    /// From the root, with `/` between names.
    pub path: &'a str,
    /// All of it.
    pub content: &'a [u8],
}

/// Why there is no file system of some files.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidFiles {
    /// A path with an empty, reserved or too long name, or too deep.
    #[error("\"{}\" is not a path of names with 1 to 128 bytes, at most 8 levels deep", .0.escape_debug())]
    Path(String),
    /// Two files of one path, or a file below a file.
    #[error("\"{}\" is there twice, or lies below a file", .0.escape_debug())]
    Twice(String),
    /// A label that does not fit.
    #[error("the label is not 1 to 32 printable ASCII characters")]
    Label,
    /// More than is built in memory.
    #[error("the files and directories need more than 64 MiB, or there are more than 65535 directories")]
    TooLarge,
}

/// A file system called `label` with these files: whole sectors of 2048 bytes.
///
/// # Errors
/// [`InvalidFiles`], for what does not fit into the format.
pub fn build(label: &str, files: &[File<'_>]) -> Result<Vec<u8>, InvalidFiles> {
    if label.is_empty() || label.len() > 32 || !label.bytes().all(|byte| (0x20..0x7f).contains(&byte)) {
        return Err(InvalidFiles::Label);
    }
    let tree = Tree::new(files)?;
    let mut primary = View::<Primary>::new(&tree);
    let mut joliet = View::<Joliet>::new(&tree);
    let mut next = FIRST_FREE;
    let tables = [&primary.path_table_size(), &joliet.path_table_size()].map(|size| {
        let sectors = sectors(*size);
        let places = (next, next + sectors);
        next += 2 * sectors;
        places
    });
    primary.place(&mut next);
    let continuation = next;
    next += 1;
    joliet.place(&mut next);
    let places = place(files, &mut next);
    if u64::from(next) * SECTOR as u64 > MAX_BYTES {
        return Err(InvalidFiles::TooLarge);
    }

    let mut image = Image(vec![0; next as usize * SECTOR]);
    let volume = |root, table_size, tables| descriptor::Volume { sectors: next, root, table_size, tables };
    let root = primary.root();
    image.put(16, &descriptor::primary(label, &volume(root, primary.path_table_size(), tables[0])));
    let root = joliet.root();
    image.put(17, &descriptor::joliet(label, &volume(root, joliet.path_table_size(), tables[1])));
    image.put(18, &descriptor::end());
    for (view, (little, big)) in
        [primary.path_tables(&tree), joliet.path_tables(&tree)].into_iter().zip(tables)
    {
        image.put(little, &view.0);
        image.put(big, &view.1);
    }
    primary.write(&tree, &places, continuation, &mut image);
    image.put(continuation, &rock_ridge::extension_reference());
    joliet.write(&tree, &places, continuation, &mut image);
    for (file, at) in files.iter().zip(&places) {
        image.put(at.sector, file.content);
    }
    Ok(image.0)
}

/// Where something lies.
#[derive(Debug, Clone, Copy)]
struct Extent {
    sector: u32,
    bytes: u32,
}

/// Files follow one another; an empty one takes nothing.
fn place(files: &[File<'_>], next: &mut u32) -> Vec<Extent> {
    let mut places = Vec::with_capacity(files.len());
    for file in files {
        // Tree::new has bounded their sum.
        places.push(Extent { sector: *next, bytes: file.content.len() as u32 });
        *next += sectors(file.content.len());
    }
    // An empty file at the end lies nowhere, but not outside.
    *next = (*next).max(places.iter().map(|place| place.sector + 1).max().unwrap_or_default());
    places
}

fn sectors(bytes: usize) -> u32 {
    bytes.div_ceil(SECTOR) as u32
}

struct Image(Vec<u8>);

impl Image {
    /// `bytes` from a sector on; there is room, since sectors were given by size.
    fn put(&mut self, sector: u32, bytes: &[u8]) {
        let at = sector as usize * SECTOR;
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
    }
}

/// A number in both byte orders.
fn both32(number: u32) -> [u8; 8] {
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&number.to_le_bytes());
    bytes[4..].copy_from_slice(&number.to_be_bytes());
    bytes
}

/// A number in both byte orders.
fn both16(number: u16) -> [u8; 4] {
    let (little, big) = (number.to_le_bytes(), number.to_be_bytes());
    [little[0], little[1], big[0], big[1]]
}

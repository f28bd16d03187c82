//! `DiskDescriptor.xml`: which files make a disk.

use std::collections::HashMap;

use witvirt_sdk::xml::{Document, Fault, Id};

use crate::expanding::SECTOR;
use crate::probe::ROOT;
use crate::{Error, ErrorKind};

/// Bytes of a descriptor; those of Parallels have a few thousand.
pub(crate) const MAX_BYTES: u64 = 1 << 20;
/// The contract's bound for references.
const MAX_PARTS: usize = 4096;
/// Longest path.
const MAX_NAME: usize = 4095;
/// The snapshot on top where the descriptor does not say which it is.
const DEFAULT_TOP: u128 = 0x5fba_abe3_6958_40ff_92a7_860e_329a_ab41;

/// How a part is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Raw.
    Plain,
    /// An expanding image; the descriptor calls it "Compressed".
    Expanding,
}

/// A file of a bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// How it is stored.
    pub kind: Kind,
    /// As the descriptor has it.
    pub name: String,
}

/// A range of the disk with files of its own. Bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Storage {
    /// First byte of the disk.
    pub start: u64,
    /// The byte after its last.
    pub end: u64,
    /// Cluster size of its expanding images; 0 where it has none.
    pub cluster_size: u64,
    /// The top first. Never empty; only the last may be plain.
    pub chain: Vec<Part>,
}

/// What a descriptor says of the disk as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Descriptor {
    /// Bytes.
    pub disk_size: u64,
    /// From byte 0 to the end of the disk, without gaps.
    pub storages: Vec<Storage>,
    /// Snapshots in the tree, the top among them.
    pub snapshots: usize,
    /// GUID of the top; `None` without snapshots.
    pub top: Option<String>,
}

impl Descriptor {
    /// Reads a descriptor.
    ///
    /// # Errors
    /// `invalid-input` when it is no descriptor, `unsupported` with the feature, `corrupt` with what is wrong, `limit` when
    /// it names too many files.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let text = std::str::from_utf8(bytes).map_err(|_| invalid("the descriptor is not UTF-8"))?;
        let document = Document::parse(text).map_err(|error| {
            let kind = match error.fault {
                Fault::Doctype => ErrorKind::Unsupported,
                Fault::TooMany { .. } => ErrorKind::Limit,
                _ => ErrorKind::InvalidInput,
            };
            Error::new(kind, format!("the descriptor cannot be read as XML: {error}"))
        })?;
        let root = Node { document: &document, id: document.root() };
        if document.local_name(root.id) != ROOT {
            return Err(invalid("not a descriptor of a Parallels disk: the root element is another one"));
        }
        if document.attribute(root.id, "Version").as_deref() != Some("1.0") {
            return Err(Error::new(ErrorKind::Unsupported, "the descriptor is not of version 1.0"));
        }
        let disk_size = parameters(child(root, "Disk_Parameters")?)?;
        let shots = Shots::read(root)?;
        let mut storages = elements(child(root, "StorageData")?, "Storage")
            .map(|node| storage(node, &shots))
            .collect::<Result<Vec<_>, _>>()?;
        storages.sort_by_key(|storage| storage.start);
        check_storages(&storages, disk_size)?;
        let top = shots.chain.first().map(|guid| format!("{{{}}}", show(*guid)));
        Ok(Self { disk_size, storages, snapshots: shots.count, top })
    }
}

/// The snapshot tree.
struct Shots {
    count: usize,
    /// From the top to the root; empty without snapshots.
    chain: Vec<u128>,
}

impl Shots {
    fn read(root: Node<'_>) -> Result<Self, Error> {
        let none = Self { count: 0, chain: Vec::new() };
        let Some(node) = elements(root, "Snapshots").next() else { return Ok(none) };
        let mut parents = HashMap::new();
        for shot in elements(node, "Shot") {
            let (id, parent) = (guid(shot, "GUID")?, guid(shot, "ParentGUID")?);
            if parents.insert(id, parent).is_some() {
                return Err(corrupt("two snapshots have the same GUID").with("guid", show(id)));
            }
        }
        let top = match elements(node, "TopGUID").next() {
            Some(_) => guid(node, "TopGUID")?,
            None if parents.is_empty() => return Ok(none),
            None if parents.contains_key(&DEFAULT_TOP) => DEFAULT_TOP,
            None => return Err(corrupt("the descriptor does not say which snapshot is on top")),
        };
        let mut chain = Vec::new();
        let mut next = top;
        while next != 0 {
            if chain.len() == parents.len() {
                return Err(corrupt("a snapshot is below itself").with("guid", show(next)));
            }
            let Some(parent) = parents.get(&next) else {
                return Err(corrupt("a snapshot is named that is not there").with("guid", show(next)));
            };
            chain.push(next);
            next = *parent;
        }
        Ok(Self { count: parents.len(), chain })
    }
}

/// Size of the disk in bytes.
fn parameters(node: Node<'_>) -> Result<u64, Error> {
    if elements(node, "Padding").any(|padding| text(padding) != "0") {
        return Err(Error::new(ErrorKind::Unsupported, "a disk with padding: nothing says what it means"));
    }
    if elements(node, "LogicSectorSize").any(|size| text(size) != "512") {
        return Err(Error::new(ErrorKind::Unsupported, "a disk whose sectors are not of 512 bytes"));
    }
    let engines = elements(node, "Encryption").flat_map(|node| elements(node, "Engine"));
    if engines.into_iter().any(|engine| parse_guid(text(engine)) != Some(0) && !text(engine).is_empty()) {
        return Err(Error::new(ErrorKind::Unsupported, "an encrypted disk: export it without encryption"));
    }
    bytes(node, "Disk_size")
}

fn storage(node: Node<'_>, shots: &Shots) -> Result<Storage, Error> {
    let (start, end) = (bytes(node, "Start")?, bytes(node, "End")?);
    let mut parts = HashMap::new();
    let mut last = 0;
    for image in elements(node, "Image") {
        last = guid(image, "GUID")?;
        if parts.insert(last, part(image)?).is_some() {
            return Err(corrupt("two images of a storage have the same GUID").with("guid", show(last)));
        }
    }
    let chain = if !shots.chain.is_empty() {
        shots.chain.clone()
    } else if parts.len() == 1 {
        vec![last]
    } else {
        return Err(corrupt("a storage has to have one image where there are no snapshots")
            .with("images", parts.len()));
    };
    let chain = chain
        .into_iter()
        .map(|guid| {
            parts.remove(&guid).ok_or_else(|| {
                corrupt("a storage has no image for a snapshot").with("guid", show(guid)).with("start", start)
            })
        })
        .collect::<Result<Vec<Part>, _>>()?;
    let plain_over = chain.iter().rev().skip(1).any(|part| part.kind == Kind::Plain);
    if plain_over {
        return Err(corrupt("a plain image over another one, which it would hide").with("start", start));
    }
    let expanding = chain.iter().any(|part| part.kind == Kind::Expanding);
    let cluster_size = if expanding { bytes(node, "Blocksize")? } else { 0 };
    if expanding && (cluster_size == 0 || cluster_size > u64::from(u32::MAX)) {
        return Err(corrupt("the block size of a storage is none").with("bytes", cluster_size));
    }
    Ok(Storage { start, end, cluster_size, chain })
}

fn part(image: Node<'_>) -> Result<Part, Error> {
    let kind = match text(child(image, "Type")?) {
        "Plain" => Kind::Plain,
        "Compressed" => Kind::Expanding,
        other => {
            let other: String = other.chars().take(64).collect();
            let message = format!("an image of type \"{}\"", other.escape_debug());
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
    };
    let name = text(child(image, "File")?);
    if name.is_empty() || name.len() > MAX_NAME || name.chars().any(char::is_control) {
        return Err(corrupt("the name of an image is empty, too long, or has control characters")
            .with("length", name.len()));
    }
    Ok(Part { kind, name: name.to_owned() })
}

fn check_storages(storages: &[Storage], disk_size: u64) -> Result<(), Error> {
    let mut at = 0;
    for storage in storages {
        if storage.start != at || storage.end <= storage.start {
            return Err(corrupt("the storages do not follow each other")
                .with("expected", at)
                .with("start", storage.start)
                .with("end", storage.end));
        }
        at = storage.end;
    }
    if at != disk_size {
        return Err(corrupt("the storages do not end where the disk does")
            .with("end", at)
            .with("disk-size", disk_size));
    }
    let parts: usize = storages.iter().map(|storage| storage.chain.len()).sum();
    if parts > MAX_PARTS {
        return Err(Error::new(ErrorKind::Limit, "the disk has too many files")
            .with("files", parts)
            .with("limit", MAX_PARTS));
    }
    Ok(())
}

/// An element of the descriptor.
#[derive(Clone, Copy)]
struct Node<'a> {
    document: &'a Document,
    id: Id,
}

/// In whatever namespace.
fn elements<'a>(node: Node<'a>, name: &'static str) -> impl Iterator<Item = Node<'a>> {
    let document = node.document;
    let called = move |id: &Id| document.local_name(*id) == name;
    document.children(node.id).filter(called).map(move |id| Node { document, id })
}

fn child<'a>(node: Node<'a>, name: &'static str) -> Result<Node<'a>, Error> {
    elements(node, name)
        .next()
        .ok_or_else(|| corrupt(&format!("the descriptor has no {name} where one has to be")))
}

fn text<'a>(node: Node<'a>) -> &'a str {
    node.document.texts(node.id).next().unwrap_or_default().trim()
}

/// A number of sectors, in bytes.
fn bytes(node: Node<'_>, name: &'static str) -> Result<u64, Error> {
    let text = text(child(node, name)?);
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let sectors: Option<u64> = if digits { text.parse().ok() } else { None };
    let size = sectors.and_then(|sectors| sectors.checked_mul(SECTOR));
    size.filter(|size| *size <= i64::MAX as u64)
        .ok_or_else(|| corrupt(&format!("the descriptor's {name} is no number of sectors")))
}

fn guid(node: Node<'_>, name: &'static str) -> Result<u128, Error> {
    parse_guid(text(child(node, name)?))
        .ok_or_else(|| corrupt(&format!("the descriptor has a {name} that is no GUID")))
}

fn parse_guid(text: &str) -> Option<u128> {
    let inner = text.strip_prefix('{').map_or(Some(text), |text| text.strip_suffix('}'))?;
    let digits: String = inner.chars().filter(|char| *char != '-').collect();
    let sound = digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    u128::from_str_radix(&digits, 16).ok().filter(|_| sound)
}

fn show(guid: u128) -> String {
    let digits = format!("{guid:032x}");
    let part = |from, to| digits.get(from..to).unwrap_or_default();
    [part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-")
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidInput, message)
}

fn corrupt(message: &str) -> Error {
    Error::new(ErrorKind::Corrupt, message)
}

#[cfg(test)]
#[path = "descriptor_tests.rs"]
mod tests;

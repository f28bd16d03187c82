//! Which member is the image.

use super::whiteout::{Deleted, Whiteouts};
use super::{Entry, Meant};
use crate::error::{Error, ErrorKind, Result};

/// What disk images are called, alone or compressed.
const DISKS: [&str; 16] = [
    ".vmdk",
    ".qcow2",
    ".qcow",
    ".raw",
    ".img",
    ".vhd",
    ".vhdx",
    ".vdi",
    ".qed",
    ".hds",
    ".hdd",
    ".dmg",
    ".asif",
    ".sparseimage",
    ".vpc",
    ".iso",
];

/// Compression of a member.
const PACKED: [&str; 5] = [".gz", ".xz", ".zst", ".bz2", ".lz4"];

/// Names of candidates that a message lists.
const LISTED: usize = 8;

/// Looks at members in the order of the archive.
#[derive(Debug)]
pub(crate) struct Chooser {
    label: String,
    wanted: Option<String>,
    chosen: Option<String>,
    seen: Vec<String>,
    layers: Option<Layers>,
}

/// Where this archive is among the layers of an image.
#[derive(Debug)]
struct Layers {
    all: Whiteouts,
    /// What those above delete.
    above: Deleted,
    /// What this one deletes of those below.
    own: Deleted,
}

impl Chooser {
    /// Of an archive that messages call `label`.
    pub(crate) fn new(label: &str, meant: Meant<'_>) -> Self {
        let wanted = meant.path.map(|name| clean(name).trim_start_matches('/').to_owned());
        let layers = meant.whiteouts.map(|all| Layers {
            all: all.clone(),
            above: all.deleted(),
            own: Deleted::default(),
        });
        Self { label: label.to_owned(), wanted, chosen: None, seen: Vec::new(), layers }
    }

    /// Whether this is the one.
    ///
    /// # Errors
    /// `Denied` for one that could be meant but is no plain file; `InvalidInput` for a second one.
    pub(crate) fn consider(&mut self, entry: &Entry) -> Result<bool> {
        if let (Some(layers), Some(wanted)) = (&mut self.layers, &self.wanted) {
            layers.own.see(entry, wanted)?;
        }
        if !self.meant(entry) || self.is_deleted(entry) {
            if entry.regular && self.seen.len() < LISTED {
                self.seen.push(entry.name.clone());
            }
            return Ok(false);
        }
        let name = shown(&entry.name);
        let refused = |why: &str| {
            Error::new(ErrorKind::Denied, format!("{}: the member \"{name}\" is refused: {why}", self.label))
        };
        if entry.name.starts_with('/') || entry.name.split('/').any(|part| part == "..") {
            return Err(refused("its name leads out of the archive"));
        }
        if !entry.regular {
            return Err(refused("it is no regular file"));
        }
        match &self.chosen {
            Some(chosen) if *chosen == entry.name => Err(refused("there are two of this name")),
            Some(chosen) => {
                let message = format!(
                    "{} holds several disks, \"{}\" and \"{name}\": name the member to import",
                    self.label,
                    shown(chosen)
                );
                Err(Error::new(ErrorKind::InvalidInput, message))
            }
            None => {
                self.chosen = Some(entry.name.clone());
                Ok(true)
            }
        }
    }

    /// The chosen member's name, at the end of the archive.
    ///
    /// # Errors
    /// `NotFound`, with what there is; what this layer deletes counts for those below then.
    pub(crate) fn chosen(&self) -> Result<&str> {
        if let Some(chosen) = &self.chosen {
            return Ok(chosen);
        }
        if let Some(layers) = &self.layers {
            layers.all.add(&layers.own);
        }
        let seen: Vec<String> = self.seen.iter().map(|name| format!("\"{}\"", shown(name))).collect();
        let there = if seen.is_empty() { "no files".to_owned() } else { seen.join(", ") };
        let message = match &self.wanted {
            Some(wanted) => format!("{} has no member \"{}\" (there are {there})", self.label, shown(wanted)),
            None => format!(
                "none of the members of {} is called like a disk (there are {there}): name the one to import",
                self.label
            ),
        };
        Err(Error::new(ErrorKind::NotFound, message))
    }

    /// Whether a layer above deletes one that is meant.
    fn is_deleted(&self, entry: &Entry) -> bool {
        let Some(layers) = &self.layers else { return false };
        let deleted = layers.above.covers(entry.name.trim_start_matches('/'));
        if deleted && entry.regular {
            layers.all.note_hidden(&entry.name);
        }
        deleted
    }

    fn meant(&self, entry: &Entry) -> bool {
        let name = entry.name.trim_start_matches('/');
        match &self.wanted {
            Some(wanted) if wanted.ends_with('/') => {
                let below = name.strip_prefix(wanted.as_str()).filter(|below| !below.is_empty());
                // Marks of removed files in a container's layer.
                below.is_some_and(|below| !below.contains('/') && !below.starts_with(".wh."))
            }
            Some(wanted) => name == wanted,
            None => looks_like_disk(name),
        }
    }
}

fn looks_like_disk(name: &str) -> bool {
    let name = name.rsplit('/').next().unwrap_or(name).to_ascii_lowercase();
    // What macOS adds for the attributes of a file.
    if name.starts_with("._") {
        return false;
    }
    let plain = PACKED.iter().find_map(|ending| name.strip_suffix(ending)).unwrap_or(&name);
    DISKS.iter().any(|ending| plain.ends_with(ending))
}

/// Without "./" before it.
pub(super) fn clean(mut name: &str) -> &str {
    while let Some(rest) = name.strip_prefix("./") {
        name = rest;
    }
    name
}

/// A name for messages.
pub(super) fn shown(name: &str) -> String {
    name.chars().take(160).flat_map(char::escape_debug).collect()
}

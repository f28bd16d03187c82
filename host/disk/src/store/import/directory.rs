//! A directory of parts: which of its files is the image.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use witvirt_core::format::Image;

use crate::error::{Error, ErrorKind, Result};
use crate::map::{Ends, plugin_for};
use crate::progress::Progress;
use crate::request::{Access, ImportRequest, Imported};
use crate::source::{Located, show};
use crate::store::Store;

/// Most files that are looked at.
const MAX_FILES: usize = 1000;

/// In front of an identity in a reference that has no file name (VDI).
const BY_IDENTITY: &str = "uuid:";

impl Store {
    /// Finds the image among the files of a directory and imports it; what it names is also looked for beside it.
    pub(super) fn import_directory(
        &self,
        access: Access<'_>,
        path: &Path,
        request: &ImportRequest,
        progress: &Progress,
    ) -> Result<Imported> {
        progress.set_phase("looking for the image");
        let references = access.references.and_below(access.allowed, path)?;
        let primary = primary(access, path, request.reading.format.as_deref())?;
        let access = Access { references: &references, ..access };
        self.import_file(access, access.allowed.open(&primary)?, request, progress)
    }
}

/// A file that a plugin recognises.
struct Candidate {
    path: PathBuf,
    /// What it names, as paths.
    names: BTreeSet<PathBuf>,
    /// Which images it names by identity only.
    identities: BTreeSet<String>,
    /// Its own identity.
    id: Option<String>,
}

/// The one file that is recognised and that no other names.
fn primary(access: Access<'_>, path: &Path, format: Option<&str>) -> Result<PathBuf> {
    let names = access.allowed.list(path)?;
    if names.len() > MAX_FILES {
        let message = format!("{} has more than {MAX_FILES} files: name the image itself", show(path));
        return Err(Error::new(ErrorKind::Limit, message));
    }
    let mut candidates = BTreeMap::new();
    for name in names {
        let file = path.join(name);
        let located = match access.allowed.open(&file) {
            Ok(located) => located,
            // Directories, links and devices are no parts.
            Err(error) if error.kind() == ErrorKind::Denied => continue,
            Err(error) => return Err(error),
        };
        if let Some(candidate) = candidate(access, &file, &located, format)? {
            candidates.insert(file, candidate);
        }
    }
    let named: BTreeSet<&PathBuf> = candidates
        .values()
        .flat_map(|candidate| candidate.names.iter().filter(|name| **name != candidate.path))
        .collect();
    let identities: BTreeSet<&String> =
        candidates.values().flat_map(|candidate| &candidate.identities).collect();
    let is_part = |candidate: &&Candidate| {
        named.contains(&candidate.path) || candidate.id.as_ref().is_some_and(|id| identities.contains(id))
    };
    let mut primaries = candidates.values().filter(|candidate| !is_part(candidate));
    match (primaries.next(), primaries.next()) {
        (Some(primary), None) => Ok(primary.path.clone()),
        (Some(first), Some(second)) => {
            let message = format!(
                "{} holds several images, {} and {}: name the one to import",
                show(path),
                show(&first.path),
                show(&second.path)
            );
            Err(Error::new(ErrorKind::InvalidInput, message))
        }
        (None, _) if candidates.is_empty() => {
            let message = format!("no plugin recognises any of the files in {}", show(path));
            Err(Error::new(ErrorKind::Unsupported, message))
        }
        (None, _) => {
            let message = format!("the images in {} name each other in a circle", show(path));
            Err(Error::new(ErrorKind::Corrupt, message))
        }
    }
}

/// What a plugin makes of a file; `None` when no plugin recognises it, or it is not of `format`.
fn candidate(
    access: Access<'_>,
    path: &Path,
    located: &Located,
    format: Option<&str>,
) -> Result<Option<Candidate>> {
    let ends = Ends::read(located.source.as_ref())?;
    let found = match ends.format(access.formats, located.source.label()) {
        Ok(found) if format.is_none_or(|format| format == found) => found,
        Ok(_) => return Ok(None),
        Err(error) if error.kind() == ErrorKind::Unsupported => return Ok(None),
        Err(error) => return Err(error),
    };
    let plugin = plugin_for(access.formats, &found)?;
    let mut candidate =
        Candidate { path: path.to_owned(), names: BTreeSet::new(), identities: BTreeSet::new(), id: None };
    // One that cannot be opened names nothing; if it is the image, its import will say what is wrong.
    if let Ok(mut image) = plugin.open(located.source.clone(), &found) {
        note_references(&mut *image, located, &mut candidate);
    }
    Ok(Some(candidate))
}

fn note_references(image: &mut dyn Image, located: &Located, candidate: &mut Candidate) {
    for reference in image.references().unwrap_or_default() {
        match reference.name.strip_prefix(BY_IDENTITY) {
            Some(identity) => drop(candidate.identities.insert(identity.to_owned())),
            // As components: "./a" is "a".
            None => drop(candidate.names.insert(located.sibling(&reference.name).components().collect())),
        }
    }
    let facts = image.facts().unwrap_or_default();
    candidate.id = facts.into_iter().find(|(key, _)| key == "id").map(|(_, value)| value);
}

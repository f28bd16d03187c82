//! The image below an image: found by the name or by the identity that the image gives for it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use witvirt_core::extent::Reference;
use witvirt_core::format::Format;

use super::chain::{Opened, plugin_for};
use super::name;
use super::probe::probe_of;
use crate::error::{Error, ErrorKind, Result};
use crate::request::{Access, SourceFile};
use crate::source::{Located, Source};

/// The images of the store, which may be named by anybody who may read them from the store.
pub(crate) trait StoredImages {
    /// The disk of the image whose file in the store has this absolute path, as overlays record it; `None` when the path
    /// is not one of the store's.
    fn at(&self, path: &Path) -> Option<Result<Arc<dyn Source>>>;

    /// The disk of the image that was made from a file of this format and identity, and what is known of that file.
    ///
    /// # Errors
    /// `Denied` when several have that identity; whatever keeps the image from being opened.
    fn with_identity(&self, format: &str, identity: &str) -> Result<Option<Stored>>;
}

/// An image of the store, as the raw disk that it is there, and the facts about the file that it was made from.
pub(crate) type Stored = (Arc<dyn Source>, Vec<(String, String)>);

/// The file that a backing reference means.
pub(super) struct Followed {
    pub(super) located: Located,
    pub(super) format: String,
    /// What is known of it, where its bytes do not say it any more.
    pub(super) facts: Option<Vec<(String, String)>>,
}

/// In front of an identity in a reference that has no file name.
const BY_IDENTITY: &str = "uuid:";

/// Most files that are looked at to find one by its identity.
const MAX_CANDIDATES: usize = 1000;

/// The one backing image of an image, where it has one.
pub(super) fn backing_of(opened: &Opened) -> Result<Option<&Reference>> {
    let mut backing = opened.references.iter().filter(|reference| reference.is_backing());
    let first = backing.next();
    if backing.next().is_some() {
        let message = format!("{} names more than one backing image", opened.record.path);
        return Err(Error::new(ErrorKind::Unsupported, message));
    }
    Ok(first)
}

/// Opens the file that a backing reference means, and says which format it has. It is never probed: a guest may have
/// written into a raw backing file whatever it wanted to be taken for.
pub(super) fn follow(
    access: Access<'_>,
    images: &dyn StoredImages,
    located: &Located,
    reference: &Reference,
    file: &SourceFile,
    topmost: bool,
) -> Result<Followed> {
    let label = located.source.label();
    let given = if topmost { file.backing_format.clone() } else { None };
    let Some(format) = given.or_else(|| reference.format_hint.clone()) else {
        let message = format!(
            "{label} does not say which format its backing file \"{}\" has: state it, it is not guessed",
            name::show(&reference.name)
        );
        return Err(Error::new(ErrorKind::Denied, message));
    };
    if let Some(identity) = reference.name.strip_prefix(BY_IDENTITY) {
        return find(access, images, located, identity, &format);
    }
    let found = |located| Followed { located, format, facts: None };
    name::check(label, &reference.role, &reference.name)?;
    let path = located.sibling(&reference.name);
    if let Some(image) = images.at(&path) {
        let image = image.map_err(|error| error.during(format!("the backing file of {label}")))?;
        return Ok(found(Located::alone(image)));
    }
    let opened = access.references.open(&path);
    opened.map(found).map_err(|error| error.during(format!("the backing file of {label}")))
}

/// Looks for the image with an identity among the files beside the one that wants it, then among the store's images.
fn find(
    access: Access<'_>,
    images: &dyn StoredImages,
    located: &Located,
    identity: &str,
    format: &str,
) -> Result<Followed> {
    let plugin = plugin_for(access.formats, format)?;
    let mut looked_at = 0;
    for path in candidates(access, located)? {
        // Whatever cannot be read is not it.
        let Ok(candidate) = access.references.open(&path) else { continue };
        if candidate.source.identity() == located.source.identity() {
            continue;
        }
        looked_at += 1;
        if is_image(plugin.as_ref(), &candidate, format, identity) {
            return Ok(Followed { located: candidate, format: format.to_owned(), facts: None });
        }
    }
    if let Some((source, facts)) = images.with_identity(format, identity)? {
        let located = Located::alone(source);
        return Ok(Followed { located, format: "raw".to_owned(), facts: Some(facts) });
    }
    let message = format!(
        "{} has the parent \"{}\", which is none of the {looked_at} other files in its directory and no image of the store: \
         put the {format} image with that identity beside it, or import that first",
        located.source.label(),
        name::show(identity)
    );
    Err(Error::new(ErrorKind::NotFound, message))
}

fn candidates(access: Access<'_>, located: &Located) -> Result<Vec<PathBuf>> {
    let names = access.references.list(located.directory())?;
    if names.len() > MAX_CANDIDATES {
        let message = format!(
            "{} does not name its parent, and there are more than {MAX_CANDIDATES} files beside it to look for it: give \
             the images a directory of their own",
            located.source.label()
        );
        return Err(Error::new(ErrorKind::Limit, message));
    }
    Ok(names.into_iter().map(|name| located.directory().join(name)).collect())
}

fn is_image(plugin: &dyn Format, candidate: &Located, format: &str, identity: &str) -> bool {
    let probed = probe_of(plugin, candidate.source.as_ref());
    if !matches!(probed, Ok(Some(probe)) if probe.format == format) {
        return false;
    }
    let facts = plugin.open(candidate.source.clone(), format).and_then(|mut image| image.facts());
    facts.is_ok_and(|facts| fact(&facts, "id") == Some(identity))
}

/// Compares the identities that an image expects of its parent ("parent-id", and "parent-id-2" where a format has two) with the
/// one that the parent has, and where both tell of their last change, that. `known` is what is known of the parent where its
/// own bytes do not say it.
///
/// # Errors
/// `Corrupt` when the parent is another image, or was changed after the child was made over it.
pub(super) fn check_identity(
    child: &mut Opened,
    parent: &mut Opened,
    known: Option<Vec<(String, String)>>,
) -> Result<()> {
    let facts = child.image.facts()?;
    let Some(expected) = fact(&facts, "parent-id") else { return Ok(()) };
    let other = fact(&facts, "parent-id-2");
    let parent_facts = known.map_or_else(|| parent.image.facts(), Ok)?;
    let actual = fact(&parent_facts, "id").unwrap_or("none");
    let wrong = |what: &str, expected: &str, actual: &str| {
        let message = format!(
            "{} was made over an image with the {what} {}, {} has {}: it is another image, or was changed since",
            child.record.path,
            name::show(expected),
            parent.record.path,
            name::show(actual)
        );
        Err(Error::new(ErrorKind::Corrupt, message))
    };
    if actual != expected && Some(actual) != other {
        return wrong("identity", expected, actual);
    }
    match (fact(&facts, "parent-modification-id"), fact(&parent_facts, "modification-id")) {
        (Some(expected), Some(actual)) if expected != actual => wrong("last change", expected, actual),
        _ => Ok(()),
    }
}

fn fact<'a>(facts: &'a [(String, String)], name: &str) -> Option<&'a str> {
    facts.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

//! Files that layers of a container image delete of the layers below them.
//!
//! The OCI image specification (layer.md, "Whiteouts"): an empty file `.wh.NAME` deletes NAME of the same directory, and
//! `.wh..wh..opq` everything in it, in each layer below and never in its own. A file in the place of a directory hides that
//! directory too.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use super::Entry;
use super::choose::shown;
use crate::error::{Error, ErrorKind, Result};

const MARK: &str = ".wh.";
const OPAQUE: &str = ".wh..wh..opq";

/// Most deleted names that are remembered: an image has few files where its disk is.
const MOST: usize = 4096;

/// What the layers that were searched delete of those below; shared by the searches of one image's layers, which are made
/// from the uppermost to the lowest.
#[derive(Debug, Clone, Default)]
pub struct Whiteouts(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    deleted: Deleted,
    /// A file that would have been the disk.
    hid: Option<String>,
}

/// What is deleted of the path that is looked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Deleted {
    /// Everything.
    all: bool,
    /// These names in the directory that is looked in.
    names: BTreeSet<String>,
}

impl Whiteouts {
    /// The name of a file that would have been the disk, had no layer above it deleted it: as written there, escaped.
    pub fn hid(&self) -> Option<String> {
        self.lock().hid.clone()
    }

    /// What the layers above delete.
    pub(super) fn deleted(&self) -> Deleted {
        self.lock().deleted.clone()
    }

    /// Adds what a layer deletes, whose end was reached.
    pub(super) fn add(&self, further: &Deleted) {
        let mut state = self.lock();
        state.deleted.all |= further.all;
        state.deleted.names.extend(further.names.iter().cloned());
    }

    pub(super) fn note_hidden(&self, name: &str) {
        self.lock().hid.get_or_insert_with(|| shown(name));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Deleted {
    /// Looks at a member of a layer. `wanted` is the path that is looked for, a directory with a "/" at its end.
    ///
    /// # Errors
    /// `Limit`.
    pub(super) fn see(&mut self, entry: &Entry, wanted: &str) -> Result<()> {
        let path = entry.name.trim_matches('/');
        let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
        let home = match wanted.strip_suffix('/') {
            Some(home) => home,
            None => wanted.rsplit_once('/').map_or("", |(home, _)| home),
        };
        if name == OPAQUE {
            self.all |= is_at_or_above(directory, home);
            return Ok(());
        }
        let Some(deleted) = name.strip_prefix(MARK) else {
            // In the place of a directory.
            self.all |= !entry.directory && !path.is_empty() && is_at_or_above(path, home);
            return Ok(());
        };
        let target = if directory.is_empty() { deleted.to_owned() } else { format!("{directory}/{deleted}") };
        self.all |= is_at_or_above(&target, home) || target == wanted;
        if directory == home && wanted.ends_with('/') {
            self.names.insert(deleted.to_owned());
        }
        if self.names.len() > MOST {
            let message = format!("a layer deletes more than {MOST} files of \"{}\"", shown(wanted));
            return Err(Error::new(ErrorKind::Limit, message));
        }
        Ok(())
    }

    /// Whether `path`, which is at or below what is looked for, is deleted.
    pub(super) fn covers(&self, path: &str) -> bool {
        let name = path.rsplit('/').next().unwrap_or(path);
        self.all || self.names.contains(name)
    }
}

/// Whether `path` is `of` or a directory above it; "" is the root.
fn is_at_or_above(path: &str, of: &str) -> bool {
    path.is_empty() || of.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::Deleted;
    use crate::stream::tar::Entry;

    fn entry(name: &str, directory: bool) -> Entry {
        let name = name.to_owned();
        Entry { name, regular: !directory, directory, offset: 0, stored: 0, size: 0, sparse: None }
    }

    #[test]
    fn what_is_deleted_of_a_path() {
        for (mark, wanted, path, covered) in [
            ("disk/.wh.a.img", "disk/", "disk/a.img", true),
            ("/disk/.wh.a.img", "disk/", "disk/a.img", true),
            ("disk/.wh.a.img", "disk/", "disk/b.img", false),
            ("disk/.wh.a.img", "disk/a.img", "disk/a.img", true),
            ("disk/.wh.b.img", "disk/a.img", "disk/a.img", false),
            ("disk/.wh..wh..opq", "disk/", "disk/a.img", true),
            (".wh..wh..opq", "disk/", "disk/a.img", true),
            ("disk/sub/.wh..wh..opq", "disk/", "disk/a.img", false),
            (".wh.disk", "disk/", "disk/a.img", true),
            (".wh.disk", "disk/a.img", "disk/a.img", true),
            (".wh.dis", "disk/", "disk/a.img", false),
            ("a/.wh.b", "a/b/c/", "a/b/c/d", true),
            ("etc/.wh.disk", "disk/", "disk/a.img", false),
            // A file where the directory was.
            ("disk", "disk/", "disk/a.img", true),
            ("disk/a.img", "disk/a.img", "disk/a.img", false),
            ("disk/.wh..wh.plnk", "disk/", "disk/a.img", false),
        ] {
            let mut deleted = Deleted::default();
            deleted.see(&entry(mark, false), wanted).unwrap();
            assert_eq!(deleted.covers(path), covered, "{mark} {wanted}");
        }
        let mut deleted = Deleted::default();
        deleted.see(&entry("disk/", true), "disk/").unwrap();
        assert!(!deleted.covers("disk/a.img"), "a directory hides nothing");
    }

    #[test]
    fn as_many_as_are_remembered() {
        let mut deleted = Deleted::default();
        let all = (0..5000).map(|number| deleted.see(&entry(&format!("disk/.wh.{number}"), false), "disk/"));
        assert!(all.collect::<Result<(), _>>().is_err());
    }
}

//! One member of a tar archive: the disk in an OVA, in a layer of a containerDisk, in a cloud's tar.gz.
//!
//! Nothing is ever extracted, so names only choose. A name that an extractor should refuse (absolute, with `..`), a link, a
//! device, and a second member of the same name are refused all the same where they could be meant.

mod choose;
mod header;
mod member;
mod walk;
mod whiteout;

pub(crate) use choose::Chooser;
pub(crate) use header::{BLOCK, is_tar};
pub(crate) use member::MemberReader;
pub(crate) use walk::{Skip, Walk};
pub use whiteout::Whiteouts;

/// Which member is meant.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Meant<'a> {
    /// A path, or a directory with a "/" at the end whose only file it is; `None`: the only member that is called like a disk.
    pub(crate) path: Option<&'a str>,
    /// What the layers above delete, where this is a layer of an image.
    pub(crate) whiteouts: Option<&'a Whiteouts>,
}

impl<'a> From<Option<&'a str>> for Meant<'a> {
    fn from(path: Option<&'a str>) -> Self {
        Self { path, whiteouts: None }
    }
}

/// A member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// As written, without "./" before it.
    pub(crate) name: String,
    /// Whether it is a regular file.
    pub(crate) regular: bool,
    /// Whether it is a directory.
    pub(crate) directory: bool,
    /// Where its stored bytes begin in the archive.
    pub(crate) offset: u64,
    /// How many there are.
    pub(crate) stored: u64,
    /// Length of the file.
    pub(crate) size: u64,
    /// What of it is stored, as offset and length, where it has holes.
    pub(crate) sparse: Option<Vec<(u64, u64)>>,
}

#[cfg(test)]
mod tests;

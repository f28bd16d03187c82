//! One member of a tar archive: the disk in an OVA, in a layer of a containerDisk, in a cloud's tar.gz.
//!
//! Nothing is ever extracted, so names only choose. A name that an extractor should refuse (absolute, with `..`), a link, a
//! device, and a second member of the same name are refused all the same where they could be meant.

mod choose;
mod header;
mod member;
mod walk;

pub(crate) use choose::Chooser;
pub(crate) use header::{BLOCK, is_tar};
pub(crate) use member::MemberReader;
pub(crate) use walk::{Skip, Walk};

/// A member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// As written, without "./" before it.
    pub(crate) name: String,
    /// Whether it is a regular file.
    pub(crate) regular: bool,
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

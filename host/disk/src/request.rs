//! What callers ask for and what they get.

use std::fs::File;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use witvirt_core::extent::{Finding, Geometry, Reference};
use witvirt_core::format::Formats;
use witvirt_core::{Digest, Name};

use crate::digests::Checksum;
use crate::import_source::ImportSource;
use crate::record::{ImageRecord, SourceRecord};
use crate::source::AllowedDirs;
use crate::stream::Unpack;

/// What an operation may use to read files of strangers.
#[derive(Clone, Copy)]
pub struct Access<'a> {
    /// The format plugins.
    pub formats: &'a dyn Formats,
    /// Where files that the caller names may lie.
    pub allowed: &'a AllowedDirs,
    /// Where files that an image names may lie: the directories that the operator allowed, never more for a caller who may
    /// read more, since the image's author is somebody else.
    pub references: &'a AllowedDirs,
}

/// A file, and how to read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFile {
    /// Absolute path inside an allowed directory.
    pub path: PathBuf,
    /// Registry name of its format ("qcow2", "raw"); absent: probed by the plugins, which never yields raw.
    pub format: Option<String>,
    /// Format of its backing image, where the image itself does not say.
    pub backing_format: Option<String>,
}

impl SourceFile {
    /// A file whose format is probed.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), format: None, backing_format: None }
    }

    /// The same file, read as `format`.
    #[must_use]
    pub fn with_format(mut self, format: impl Into<String>) -> Self {
        self.format = Some(format.into());
        self
    }
}

/// How to read the bytes of an import's source.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reading {
    /// Registry name of the image's format ("qcow2", "raw"); absent: probed by the plugins, which never yields raw.
    pub format: Option<String>,
    /// Format of its backing image, where the image itself does not say.
    pub backing_format: Option<String>,
    /// What it is unpacked from first.
    pub unpack: Unpack,
    /// Which member of an archive is the image: a path in it, or a directory with a "/" at the end whose only file it is;
    /// absent: the only one that looks like a disk.
    pub member: Option<String>,
}

/// An import into the store.
#[derive(Debug)]
pub struct ImportRequest {
    /// What to import.
    pub source: ImportSource,
    /// How to read it. Of an artifact, `unpack` and `member` are ignored: its pieces say that themselves.
    pub reading: Reading,
    /// The name to give it; absent: it is known by its digest only.
    pub name: Option<Name>,
    /// Whether the name may be taken from another image.
    pub replace: bool,
    /// Whether to record the SHA-256 of the source's bytes although it costs a pass of its own, next to the copy. It does
    /// for files and directories that are not compressed; of what arrives as one stream it is recorded always.
    pub source_digest: bool,
    /// What the source's bytes must hash to, as they were transported (before anything is unpacked). Not for directories
    /// and artifacts in several pieces.
    pub checksums: Vec<Checksum>,
    /// What is recorded as the source of a file, where it is a copy of something else; its own path when absent.
    pub recorded_as: Option<String>,
}

impl ImportRequest {
    /// An import of a file, without a name or a source digest.
    pub fn new(file: SourceFile) -> Self {
        let SourceFile { path, format, backing_format } = file;
        let mut request = Self::of(ImportSource::File(path));
        request.reading = Reading { format, backing_format, ..Reading::default() };
        request
    }

    /// An import of anything, probed, without a name or a source digest.
    pub fn of(source: ImportSource) -> Self {
        Self {
            source,
            reading: Reading::default(),
            name: None,
            replace: false,
            source_digest: false,
            checksums: Vec::new(),
            recorded_as: None,
        }
    }
}

/// The end of an import.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Imported {
    /// The image.
    pub record: ImageRecord,
    /// Whether the store had this content already.
    pub existed: bool,
}

/// What [`crate::Store::remove`] did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Removed {
    /// The names that are gone.
    pub names: Vec<Name>,
    /// The image, when its content is gone too; not when it has other names.
    pub image: Option<Digest>,
}

/// What can be said of a file without importing it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct ImageInfo {
    /// The file.
    pub source: SourceRecord,
    /// What a guest sees.
    pub geometry: Geometry,
    /// What the plugin says, as name and value.
    pub facts: Vec<(String, String)>,
    /// The files it names, as they are named in it: hostile text.
    pub references: Vec<Reference>,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct CheckReport {
    /// The file.
    pub source: SourceRecord,
    /// What the plugin found, worst first.
    pub findings: Vec<Finding>,
}

/// What to convert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConvertSource {
    /// A file.
    File(SourceFile),
    /// An image of the store, by name or digest.
    Image(String),
}

/// A conversion into a new file.
#[derive(Debug, Clone, PartialEq)]
pub struct ConvertRequest {
    /// What to read.
    pub source: ConvertSource,
    /// Absolute path inside an allowed directory.
    pub target: PathBuf,
    /// Registry name of the target's format; "raw" is written by the host itself.
    pub format: String,
    /// The options of the target's format, a JSON object that its plugin documents.
    pub options: serde_json::Value,
    /// The image that the new one is written over: it holds only what differs from it, and names it. Its path is recorded
    /// without the directory where it lies beside the target.
    pub backing: Option<ConvertSource>,
    /// Whether a file of that name is replaced.
    pub replace: bool,
    /// Whether the data is on stable storage when the call returns.
    pub sync: bool,
}

/// The end of a conversion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Converted {
    /// Size of the disk that a guest sees, in bytes.
    pub virtual_size: u64,
    /// Length of the new file, in bytes.
    pub size: u64,
    /// Bytes allocated on the host.
    pub allocated: u64,
}

/// A disk of a machine, opened for its hypervisor.
#[derive(Debug)]
pub enum DiskHandle {
    /// Raw bytes.
    Raw {
        /// Opened for reading, and for writing unless `read_only`.
        file: File,
        /// Whether it must not be written.
        read_only: bool,
    },
    /// A qcow2 overlay that a format plugin laid out, over a raw base of the store. The backing name in its header is for
    /// people; the hypervisor has to be given `base` instead.
    Overlay {
        /// Opened for reading and writing.
        file: File,
        /// Opened for reading only.
        base: File,
    },
}

/// `<disk>.json` in a machine's directory: what its disk is, written after the disk is complete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct DiskRecord {
    /// Revision of this file's shape: 1.
    pub schema: u32,
    /// How it is stored.
    pub kind: DiskKind,
    /// Bytes that the guest sees.
    pub virtual_size: u64,
    /// The image it began as; `None` for a blank disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<Digest>,
}

/// How a machine's disk is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DiskKind {
    /// `<disk>.raw`: blank, or a reflink clone of the base. It does not need the base.
    Raw,
    /// `<disk>.qcow2` over the base of the store.
    Overlay,
}

//! Where an image can come from.

use std::fmt;
use std::io::Read;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use witvirt_core::Digest;

use crate::blob::Blob;
use crate::stream::{Unpack, Whiteouts};

/// What to import.
#[derive(Debug)]
pub enum ImportSource {
    /// A file, by its absolute path inside an allowed directory.
    File(PathBuf),
    /// A directory of parts (a .hdd bundle, a VMDK descriptor with its extents), by its absolute path inside an allowed
    /// directory. The image is the one file in it that a plugin recognises and that no other file of it names; what it
    /// names is also looked for in this directory.
    Directory(PathBuf),
    /// A remote object.
    Blob(Arc<dyn Blob>),
    /// Bytes that somebody sends, once.
    Upload(Upload),
    /// A disk of an artifact, in pieces that decode independently.
    Artifact(ArtifactDisk),
}

/// Bytes that arrive once, in order: the body of a request, standard input. The first import takes them; they are read by
/// another thread than the one that imports, which ends as soon as the reader does.
pub struct Upload {
    /// Its name in messages.
    pub(crate) label: String,
    /// How many bytes there have to be; `None` when nobody promised.
    pub(crate) length: Option<u64>,
    reader: Mutex<Option<Box<dyn Read + Send>>>,
}

impl Upload {
    /// `label` stands for it in messages ("standard input"); it is escaped here. An upload that ends before `length`
    /// bytes or goes on after them is refused.
    pub fn new(label: &str, length: Option<u64>, reader: impl Read + Send + 'static) -> Self {
        Self { label: label.escape_debug().to_string(), length, reader: Mutex::new(Some(Box::new(reader))) }
    }

    /// The bytes; `None` the second time.
    pub(crate) fn take(&self) -> Option<Box<dyn Read + Send>> {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upload").field("label", &self.label).field("length", &self.length).finish()
    }
}

/// A disk of an artifact in a registry, as its plugin planned it.
#[derive(Debug, Clone)]
pub struct ArtifactDisk {
    /// Names the artifact in messages and records ("git.example/org/image@sha256:..."), without control characters.
    pub label: String,
    /// Length of the image file in bytes; `None`: there is one piece, which is the whole file.
    pub size: Option<u64>,
    /// Ascending by `offset`, none overlapping; between them are zeros. Several at once are fetched and decoded.
    pub pieces: Vec<ArtifactPiece>,
    /// What lies beside the disk, kept with the image.
    pub files: Vec<ArtifactFile>,
    /// What the artifact says of the machine, as name and value: hostile text.
    pub machine: Vec<(String, String)>,
}

impl ArtifactDisk {
    /// One object, which is an image file, or has one in what its first bytes say it is.
    pub fn object(blob: Arc<dyn Blob>) -> Self {
        let label = blob.label().to_owned();
        let piece = ArtifactPiece {
            name: label.clone(),
            offset: 0,
            length: None,
            blobs: vec![blob],
            unpack: Unpack::Auto,
            member: None,
            whiteouts: None,
            digest: None,
        };
        Self { label, size: None, pieces: vec![piece], files: Vec::new(), machine: Vec::new() }
    }
}

/// A range of an image file. Every digest that is known is verified before the piece counts.
#[derive(Debug, Clone)]
pub struct ArtifactPiece {
    /// Its name in progress ("layer 3 of 90"), without control characters.
    pub name: String,
    /// First byte of the range in the image file.
    pub offset: u64,
    /// Length of the range, which is that of the decoded bytes; needed where [`ArtifactDisk::size`] is known.
    pub length: Option<u64>,
    /// What it is stored in, concatenated in this order before anything is decoded; never empty.
    pub blobs: Vec<Arc<dyn Blob>>,
    /// How it is stored.
    pub unpack: Unpack,
    /// Which file of a tar: a path, or a directory with a "/" at the end whose only file it is.
    pub member: Option<String>,
    /// Of a layer of a container image: what the layers above it delete, and what it deletes itself once it was searched.
    pub whiteouts: Option<Whiteouts>,
    /// SHA-256 of the decoded bytes, where it is known.
    pub digest: Option<Digest>,
}

/// A file beside an artifact's disk (NVRAM, a machine's config).
#[derive(Debug, Clone)]
pub struct ArtifactFile {
    /// What it is for: "nvram", "aux-image", "config" or another word of lower-case letters, digits and hyphens.
    pub role: String,
    /// Its name in the artifact: hostile text.
    pub name: String,
    /// Its bytes; `offset` and `whiteouts` have no meaning.
    pub content: ArtifactPiece,
}

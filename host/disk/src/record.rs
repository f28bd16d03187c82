//! What is kept and shown of an image.

use serde::{Deserialize, Serialize};
use witvirt_core::{Digest, Name};

use crate::stream::Transport;

/// `images/<digest>/image.json`: an image of the store. Sizes in bytes, times in seconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ImageRecord {
    /// Revision of this file's shape: 1.
    pub schema: u32,
    /// Content digest; see [`crate::content`].
    pub digest: Digest,
    /// Size of the disk that a guest sees.
    pub virtual_size: u64,
    /// Bytes allocated on the host when it was imported.
    pub allocated: u64,
    /// When it was imported.
    pub created: u64,
    /// Where it came from first.
    #[serde(flatten)]
    pub origin: Origin,
    /// Where the same content came from since, the last one last; at most [`MOST_ORIGINS`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<Origin>,
    /// Bytes whose blocks it shares with other images that have equal chunks, when it was imported; absent where the
    /// store's filesystem cannot share blocks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared: Option<u64>,
    /// The stored file as it was sealed.
    pub seal: Seal,
}

/// Most further origins that are remembered of an image; the oldest are forgotten first.
pub const MOST_ORIGINS: usize = 15;

/// Where an image came from, how it was read, and what came with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Origin {
    /// The file or object.
    pub source: SourceRecord,
    /// Files below the source (backing images), nearest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub chain: Vec<SourceRecord>,
    /// What the format plugin said of it, as name and value.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub facts: Vec<(String, String)>,
    /// What the source was unpacked from, the outermost first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub transport: Vec<Transport>,
    /// Which member of an archive it was, as it was named there: hostile text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member: Option<String>,
    /// What an artifact says of its machine, as name and value: hostile text without control characters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub machine: Vec<(String, String)>,
    /// What lay beside the disk in an artifact.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<KeptFile>,
}

/// `images/<digest>/files/<digest of the file>`: a file that came with an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct KeptFile {
    /// "nvram", "aux-image", "config" or another word.
    pub role: String,
    /// Its name in the artifact: hostile text without control characters.
    pub name: String,
    /// SHA-256 of its bytes.
    pub digest: Digest,
    /// Its length.
    pub size: u64,
    /// The stored file as it was sealed.
    pub seal: Seal,
}

impl ImageRecord {
    /// Everywhere it came from, the first one first.
    pub fn origins(&self) -> impl DoubleEndedIterator<Item = &Origin> {
        std::iter::once(&self.origin).chain(&self.others)
    }

    /// The file of a role that came with it last.
    pub fn file(&self, role: &str) -> Option<&KeptFile> {
        self.origins().rev().flat_map(|origin| &origin.files).find(|file| file.role == role)
    }

    /// The roles of the files that came with it, sorted.
    pub fn roles(&self) -> Vec<&str> {
        let files = self.origins().flat_map(|origin| &origin.files);
        let roles: std::collections::BTreeSet<&str> = files.map(|file| file.role.as_str()).collect();
        roles.into_iter().collect()
    }

    /// Adds an origin, in the place of what it was before where it is there already.
    pub(crate) fn add_origin(&mut self, origin: Origin) {
        if self.origin.is_same(&origin) {
            self.origin = origin;
            return;
        }
        self.others.retain(|known| !known.is_same(&origin));
        self.others.push(origin);
        let forgotten = self.others.len().saturating_sub(MOST_ORIGINS);
        self.others.drain(..forgotten);
    }

    /// Notes how a file is stored now, for everyone who has it.
    pub(crate) fn seal_file(&mut self, digest: Digest, seal: Seal) {
        let origins = std::iter::once(&mut self.origin).chain(&mut self.others);
        let files = origins.flat_map(|origin| &mut origin.files);
        files.filter(|file| file.digest == digest).for_each(|file| file.seal = seal);
    }
}

impl Origin {
    /// Whether both are the same source, read the same way.
    fn is_same(&self, other: &Self) -> bool {
        let key =
            |origin: &Self| (origin.source.path.clone(), origin.source.format.clone(), origin.member.clone());
        key(self) == key(other)
    }
}

/// A file that an image was read from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct SourceRecord {
    /// Its path, with control characters escaped.
    pub path: String,
    /// Registry name of its format.
    pub format: String,
    /// The plugin that read it.
    pub plugin: String,
    /// That plugin's version.
    pub plugin_version: String,
    /// Length of the file.
    pub size: u64,
    /// SHA-256 of the file's bytes, where it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
}

/// How a stored file looked when it was complete. A difference does not prove that the content changed, but nothing
/// changes the content and leaves all of it as it was, short of setting clocks back on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Seal {
    /// Length in bytes.
    pub size: u64,
    /// Last modification, nanoseconds since 1970.
    pub mtime: i64,
    /// Last change of the inode, nanoseconds since 1970: unlike mtime no system call sets it back.
    pub ctime: i64,
    /// Inode number.
    pub inode: u64,
}

/// An image as `list` and `inspect` show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct ImageSummary {
    /// Its digest.
    pub digest: Digest,
    /// Its names, sorted.
    pub names: Vec<Name>,
    /// Whether it can be used.
    pub state: ImageState,
    /// Its record; `None` when that cannot be read.
    pub record: Option<ImageRecord>,
}

/// Whether an image can be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "state", content = "reason")]
pub enum ImageState {
    /// Yes.
    Ready,
    /// The stored file is not as it was sealed; it is hashed again before its next use.
    Altered(String),
    /// No: it was altered on disk and set aside; it can be imported again from its source.
    Quarantined(String),
    /// No: its record or its file is missing or unreadable.
    Broken(String),
}

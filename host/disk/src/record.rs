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
    /// Where it came from.
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
    /// Bytes whose blocks it shares with other images that have equal chunks, when it was imported; absent where the
    /// store's filesystem cannot share blocks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared: Option<u64>,
    /// The stored file as it was sealed.
    pub seal: Seal,
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

//! Images.

use serde::{Deserialize, Serialize};
use witvirt_core::{ByteSize, Digest, Name};

use crate::config::Span;

/// An image of the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Image {
    /// Digest of what a guest sees.
    pub digest: Digest,
    /// Its names.
    pub names: Vec<Name>,
    /// "ready", "altered", "quarantined" or "broken".
    pub state: String,
    /// Why it is not ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Bytes that a guest sees.
    pub virtual_size: u64,
    /// Bytes on the host when it was imported.
    pub allocated: u64,
    /// Seconds since 1970.
    pub created: u64,
    /// The file it came from and those below, nearest first.
    pub sources: Vec<ImageSource>,
    /// What the format plugin said of it, as name and value.
    pub facts: Vec<(String, String)>,
}

/// A file that an image was read from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct ImageSource {
    /// Its path.
    pub path: String,
    /// Its format.
    pub format: String,
    /// The plugin that read it, with its version.
    pub plugin: String,
    /// Bytes.
    pub size: u64,
    /// SHA-256 of the file, where it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
}

/// An image to import.
#[derive(Debug, Clone, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ImportRequest {
    /// Absolute path of the file on the daemon's host.
    pub path: String,
    /// What to call it; from the file's name when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Name>,
    /// Its format; probed when absent, which never yields raw.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// What the file must hash to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Digest>,
    /// Whether the name is taken away from another image that has it.
    #[serde(default)]
    pub replace: bool,
}

/// What was imported.
#[derive(Debug, Clone, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct ImportReply {
    /// The image.
    pub image: Image,
    /// Whether it was in the store before.
    pub existed: bool,
}

/// What checking an image found.
#[derive(Debug, Clone, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct CheckReport {
    /// Whether it can be used.
    pub good: bool,
    /// What was found, worst first.
    pub findings: Vec<CheckFinding>,
}

/// A thing that was found.
#[derive(Debug, Clone, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct CheckFinding {
    /// "error", "warning" or "info".
    pub severity: String,
    /// A stable word.
    pub code: String,
    /// A sentence.
    pub message: String,
    /// Byte of the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
}

/// Which images to remove; machines' images are never among them.
#[derive(Debug, Clone, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct CollectRequest {
    /// Only those that were not used for so long ("30d").
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unused_for: Option<Span>,
    /// Only as many as it takes to have so many bytes free where the images are, least recently used first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_free: Option<ByteSize>,
    /// Images that have a name, too.
    #[serde(default)]
    pub all: bool,
    /// Only say what would be removed.
    #[serde(default)]
    pub dry_run: bool,
}

/// An image that was removed, or would be.
#[derive(Debug, Clone, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct CollectedImage {
    /// Digest of what a guest saw.
    pub digest: Digest,
    /// The names that it had.
    pub names: Vec<Name>,
    /// Bytes on the host.
    pub allocated: u64,
    /// When it was used last, or imported: seconds since 1970.
    pub last_used: u64,
}

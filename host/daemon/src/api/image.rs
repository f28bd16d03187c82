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
    /// The disks over it, of whichever process of this host, with their paths; told of a single image only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub users: Vec<String>,
    /// Where it came from, the first one first.
    pub origins: Vec<ImageOrigin>,
}

/// Where an image came from, and what came with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct ImageOrigin {
    /// The file or object it came from and those below, nearest first.
    pub sources: Vec<ImageSource>,
    /// Which member of an archive it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member: Option<String>,
    /// What the format plugin said of it, as name and value.
    pub facts: Vec<(String, String)>,
    /// What an artifact says of the machine, as name and value ("architecture", "cpus").
    pub machine: Vec<(String, String)>,
    /// What lay beside the disk in an artifact.
    pub files: Vec<ImageFile>,
}

/// A file that came with an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct ImageFile {
    /// "nvram", "aux-image", "config" or another word.
    pub role: String,
    /// Its name in the artifact.
    pub name: String,
    /// SHA-256 of its bytes.
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
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
#[derive(Debug, Clone, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ImportRequest {
    /// Where it is: the absolute path of a file or of a directory of parts on the daemon's host, "http://..." or
    /// "https://...", or "docker://HOST/NAME:TAG" (the same: "oci://") for an artifact in a registry.
    pub source: String,
    /// What to call it; from the last part of the source when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Name>,
    /// Its format; probed when absent, which never yields raw.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// What it is unpacked from first: "auto" (what its bytes say, the default), "none", or names like "gzip" and "tar+gzip".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unpack: Option<String>,
    /// Which file of an archive or an artifact it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member: Option<String>,
    /// How the artifact is laid out; found out by the plugins when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layout: Option<String>,
    /// Which manifest of an index, as "linux/arm64"; that of the daemon's host when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// What the bytes as they are transported must hash to: "sha256:...", "sha512:...", "sha1:..." or "md5:...".
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checksums: Vec<String>,
    /// When the source is asked.
    #[serde(default)]
    pub pull_policy: PullPolicy,
    /// Whether the name is taken away from another image that has it.
    #[serde(default)]
    pub replace: bool,
    /// What is presented to the server or registry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<RemoteAccess>,
}

/// When a remote source is asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PullPolicy {
    /// Always; nothing is downloaded where the registry still has what the store has.
    #[default]
    Always,
    /// Where the store has nothing from that source.
    IfNotPresent,
    /// Never: the store has it, or it is an error.
    Never,
}

/// What a caller presents to a server or registry. It is used for this request alone, kept nowhere and shown nowhere.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct RemoteAccess {
    /// Headers for HTTP servers, as name and value.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<(String, String)>,
    /// User and password, with a colon between them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub login: Option<String>,
    /// Credentials for registries: the text of docker's config.json. Helpers that it names are not run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub docker_config: Option<String>,
    /// Certificates (PEM) to trust besides those of the system and the config.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
}

impl std::fmt::Debug for RemoteAccess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RemoteAccess(not shown)")
    }
}

/// The query of an upload; the body is the image file.
#[derive(Debug, Clone, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct UploadParams {
    /// What to call the image.
    pub name: Name,
    /// Its format; probed when absent, which never yields raw.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// As in an import.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unpack: Option<String>,
    /// Which file of an archive it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member: Option<String>,
    /// What the body must hash to, as in an import.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checksum: Option<String>,
    /// Whether the name is taken away from another image that has it.
    #[serde(default)]
    pub replace: bool,
}

/// An artifact to make of an image.
#[derive(Debug, Clone, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct PushRequest {
    /// Where to: "docker://HOST/NAME:TAG" (the same: "oci://").
    pub target: String,
    /// How the artifact is laid out ("containerdisk", "macosvz").
    pub layout: String,
    /// Format of the disk in it; the layout's usual one when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// What it is for, as "linux/arm64"; the daemon's host when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// The layout's own options.
    #[serde(default)]
    #[schemars(with = "std::collections::BTreeMap<String, serde_json::Value>")]
    pub options: serde_json::Map<String, serde_json::Value>,
    /// Further files for it, as role ("aux-image") and absolute path on the daemon's host. What came with the image goes along
    /// where the layout has a place for it and no file of its role is given here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<(String, String)>,
    /// What is presented to the registry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<RemoteAccess>,
}

/// What was pushed.
#[derive(Debug, Clone, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct PushReply {
    /// The artifact, by its digest.
    pub reference: String,
    /// Digest of its manifest.
    pub digest: Digest,
    /// Bytes of all its blobs.
    pub size: u64,
    /// Roles of the files that went along with the disk.
    pub files: Vec<String>,
}

/// What was imported.
#[derive(Debug, Clone, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct ImportReply {
    /// The image.
    pub image: Image,
    /// Whether its content was in the store before.
    pub existed: bool,
    /// What the artifact says of the machine, as name and value.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub facts: Vec<(String, String)>,
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

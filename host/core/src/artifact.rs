//! The seam between registries and artifact plugins: what the blobs of an OCI artifact mean, and what blobs a new one is
//! made of. The mirror of `witvirt:artifact`; sizes and offsets are bytes.

use std::sync::Arc;

use serde::Serialize;

use crate::digest::Digest;
use crate::error::PluginError;

/// The manifest of one artifact, never an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// As the registry says.
    pub media_type: String,
    /// JSON, as served.
    pub text: String,
}

/// What a manifest says of one of its blobs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Descriptor {
    /// Of the stored bytes.
    pub digest: Digest,
    /// Of the stored bytes.
    pub size: u64,
}

/// A layout recognised.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Claim {
    /// 1 (possible) to 100 (media types that nothing else has).
    pub confidence: u8,
    /// Registry name of the layout.
    pub layout: String,
    /// Its revision.
    pub version: Option<String>,
}

/// What an artifact holds; see `witvirt:artifact/layout.plan`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Plan {
    /// In the order in which a machine has them.
    pub disks: Vec<Disk>,
    /// What lies beside the disks.
    pub files: Vec<File>,
    /// Facts of the machine, as name and value.
    pub facts: Vec<(String, String)>,
}

/// A disk of an artifact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Disk {
    /// Unique in the plan.
    pub name: String,
    /// Registry name of the image file's format; `None`: to be probed.
    pub format: Option<String>,
    /// Where its bytes are.
    pub content: DiskContent,
}

/// Where the bytes of an image file are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DiskContent {
    /// One file: the first of these that is there.
    Whole(Vec<Stored>),
    /// A file of `size` bytes in chunks that decode independently; zeros between them.
    Chunks {
        /// Length of the image file.
        size: u64,
        /// Ascending, none overlapping.
        chunks: Vec<ArtifactChunk>,
    },
}

/// A range of an image file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct ArtifactChunk {
    /// First byte of the range.
    pub offset: u64,
    /// Its bytes; the length is known.
    pub content: Stored,
}

/// Bytes, and how they are stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Stored {
    /// Concatenated in this order before anything is decoded.
    pub blobs: Vec<Digest>,
    /// "", "gzip", "zstd", "xz", "bzip2", "lz4-apple", "tar", "tar+" one of the first four, or "auto".
    pub encoding: String,
    /// Which file of a tar: a path, or a directory with a "/" at the end whose only file it is.
    pub member: Option<String>,
    /// Length of the decoded bytes, where known.
    pub length: Option<u64>,
    /// Digest of the decoded bytes, where known.
    pub digest: Option<Digest>,
}

/// A file beside the disks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct File {
    /// "nvram", "aux-image", "config" or another registry word.
    pub role: String,
    /// Its name in the artifact.
    pub name: String,
    /// Its bytes.
    pub content: Stored,
}

/// What artifact to make; see `witvirt:artifact/publish.request`.
#[derive(Debug, Clone, PartialEq)]
pub struct PublishRequest {
    /// Registry name of the layout.
    pub layout: String,
    /// Image format to store the disk in; `None`: the layout's usual one.
    pub format: Option<String>,
    /// What the guest sees of the disk.
    pub virtual_size: u64,
    /// "amd64", "arm64".
    pub architecture: String,
    /// "linux", "darwin".
    pub os: String,
    /// RFC 3339.
    pub created: String,
    /// The files there are, as role and size; one has the role "disk".
    pub inputs: Vec<(String, u64)>,
    /// The plugin's own options, a JSON object.
    pub options: serde_json::Value,
}

/// A blob for the host to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packing {
    /// Unique in the artifact.
    pub id: String,
    /// Which input it is made of.
    pub role: String,
    /// Image format that a disk is converted to first.
    pub format: Option<String>,
    /// The tar around it.
    pub member: Option<TarEntry>,
    /// "", "gzip" or "zstd".
    pub compression: String,
}

/// Where a file lies in a tar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TarEntry {
    /// Without a leading "/".
    pub path: String,
    /// Numeric owner.
    pub uid: u32,
    /// Numeric group.
    pub gid: u32,
    /// Permission bits.
    pub mode: u32,
}

/// A blob as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packed {
    /// As in [`Packing`] or [`SmallBlob`].
    pub id: String,
    /// Of what is uploaded.
    pub digest: Digest,
    /// Of what is uploaded.
    pub size: u64,
    /// Before compression.
    pub content_digest: Digest,
    /// Before compression.
    pub content_size: u64,
}

/// A small blob that a plugin writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SmallBlob {
    /// Unique in the artifact.
    pub id: String,
    /// At most 1 MiB.
    pub content: Vec<u8>,
}

/// A plugin that reads (and perhaps writes) layouts of artifacts. Calls block; what it answers is unchecked.
pub trait ArtifactLayout: Send + Sync {
    /// The plugin's name in the config.
    fn plugin(&self) -> &str;

    /// The version the plugin describes itself with.
    fn version(&self) -> &str;

    /// Registry names of the layouts it reads.
    fn layouts(&self) -> &[String];

    /// Whether it implements [`ArtifactLayout::prepare`] and what follows it.
    fn publishes(&self) -> bool;

    /// Whether the manifest looks like one of its layouts.
    ///
    /// # Errors
    /// Only when the plugin breaks.
    fn probe(&self, manifest: &Manifest) -> Result<Option<Claim>, PluginError>;

    /// The small blobs that [`ArtifactLayout::interpret`] wants to see. `options` is a JSON object with "layout" and perhaps
    /// "member".
    ///
    /// # Errors
    /// What the plugin reports, or how it broke.
    fn needs(&self, manifest: &Manifest, options: &serde_json::Value) -> Result<Vec<Digest>, PluginError>;

    /// The plan; `blobs` are those of [`ArtifactLayout::needs`] in that order.
    ///
    /// # Errors
    /// What the plugin reports, or how it broke.
    fn interpret(
        &self,
        manifest: &Manifest,
        blobs: &[(Digest, Vec<u8>)],
        options: &serde_json::Value,
    ) -> Result<Plan, PluginError>;

    /// Which blobs a new artifact is made of.
    ///
    /// # Errors
    /// What the plugin reports, or how it broke; `Unsupported` where [`ArtifactLayout::publishes`] is false.
    fn prepare(&self, request: &PublishRequest) -> Result<Vec<Packing>, PluginError>;

    /// The small blobs of a new artifact.
    ///
    /// # Errors
    /// As [`ArtifactLayout::prepare`].
    fn documents(&self, request: &PublishRequest, blobs: &[Packed]) -> Result<Vec<SmallBlob>, PluginError>;

    /// The manifest of a new artifact.
    ///
    /// # Errors
    /// As [`ArtifactLayout::prepare`].
    fn compose(&self, request: &PublishRequest, blobs: &[Packed]) -> Result<Manifest, PluginError>;
}

/// The artifact plugins of a daemon, as of one moment.
pub trait ArtifactLayouts: Send + Sync {
    /// In the order in which the config lists them.
    fn artifact_layouts(&self) -> Vec<Arc<dyn ArtifactLayout>>;

    /// The first plugin that reads the layout of this registry name.
    fn by_layout(&self, layout: &str) -> Option<Arc<dyn ArtifactLayout>> {
        let names = |plugin: &Arc<dyn ArtifactLayout>| plugin.layouts().iter().any(|name| name == layout);
        self.artifact_layouts().into_iter().find(names)
    }
}

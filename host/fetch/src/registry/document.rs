//! Manifests and indexes (OCI image spec 1.1, and the Docker ones of schema 2, which have the same fields).

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use witvirt_core::Digest;
use witvirt_disk::{Error, ErrorKind, Result};

use crate::label::quoted;

/// Longest manifest or index in bytes: what the distribution spec asks registries to take at least.
pub const MANIFEST_LIMIT: u64 = 4 << 20;

const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// What is asked for.
pub(super) const ACCEPTED: [&str; 4] = [OCI_INDEX, DOCKER_INDEX, OCI_MANIFEST, DOCKER_MANIFEST];

/// A manifest or an index, as the registry served it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    media_type: String,
    bytes: Bytes,
    digest: Digest,
    content: Content,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Content {
    Index(Vec<Entry>),
    Manifest(Vec<Descriptor>),
}

/// What a manifest says of one of its blobs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What it is.
    pub media_type: String,
    /// Of its bytes.
    pub digest: Digest,
    /// In bytes.
    pub size: u64,
}

/// What a manifest of an index is for.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Platform {
    /// "linux", "darwin", "windows".
    pub os: String,
    /// As Go names it: "amd64", "arm64".
    pub architecture: String,
    /// "v8", where there are several.
    #[serde(default)]
    pub variant: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Entry {
    #[serde(flatten)]
    descriptor: Descriptor,
    #[serde(default)]
    platform: Option<Platform>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    #[serde(default)]
    media_type: Option<String>,
    #[serde(default)]
    schema_version: Option<u64>,
    #[serde(default)]
    manifests: Option<Vec<Entry>>,
    #[serde(default)]
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Option<Vec<Descriptor>>,
}

impl Document {
    /// `media_type` is what the registry said of it.
    pub(super) fn new(media_type: Option<&str>, bytes: Bytes, digest: Digest) -> Result<Self> {
        let corrupt = |why: String| Error::new(ErrorKind::Corrupt, format!("the manifest {digest}: {why}"));
        let raw: Raw = serde_json::from_slice(&bytes).map_err(|error| corrupt(error.to_string()))?;
        if raw.schema_version == Some(1) {
            let message =
                format!("the manifest {digest} is of Docker's schema 1, which no current program writes");
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        let said = media_type.map(|text| text.split(';').next().unwrap_or_default().trim());
        if let (Some(inside), Some(said)) = (&raw.media_type, said)
            && is_index(inside) != is_index(said)
            && ACCEPTED.contains(&said)
        {
            let (inside, said) = (quoted(inside), quoted(said));
            return Err(corrupt(format!("it says of itself that it is {inside}, the registry says {said}")));
        }
        let content = match (raw.manifests, raw.config, raw.layers) {
            // One that is both would be read differently by different programs.
            (Some(entries), None, None) => Content::Index(entries),
            (None, Some(config), layers) => {
                Content::Manifest(std::iter::once(config).chain(layers.unwrap_or_default()).collect())
            }
            _ => return Err(corrupt("neither an index nor a manifest of an image or artifact".to_owned())),
        };
        let usual = match content {
            Content::Index(_) => OCI_INDEX,
            Content::Manifest(_) => OCI_MANIFEST,
        };
        let media_type = raw.media_type.as_deref().or(said).unwrap_or(usual).to_owned();
        Ok(Self { media_type, bytes, digest, content })
    }

    /// What it says of itself, else what the registry says of it.
    pub fn media_type(&self) -> &str {
        &self.media_type
    }

    /// JSON, byte for byte as served.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Of the bytes.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Whether it lists manifests instead of blobs.
    pub fn is_index(&self) -> bool {
        matches!(self.content, Content::Index(_))
    }

    /// The config and the layers of a manifest, in this order; none of an index.
    pub fn blobs(&self) -> &[Descriptor] {
        match &self.content {
            Content::Index(_) => &[],
            Content::Manifest(blobs) => blobs,
        }
    }

    /// The manifest of an index that is for a platform; without any that says what it is for, the only one.
    pub(super) fn choose(&self, platform: &Platform) -> Result<&Descriptor> {
        let entries = match &self.content {
            Content::Index(entries) => entries.as_slice(),
            Content::Manifest(_) => &[],
        };
        let fits = |entry: &&Entry| entry.platform.as_ref().is_some_and(|own| platform.accepts(own));
        if let Some(entry) = entries.iter().find(fits) {
            return Ok(&entry.descriptor);
        }
        if let [Entry { descriptor, platform: None }] = entries {
            return Ok(descriptor);
        }
        let known: Vec<String> = entries
            .iter()
            .filter_map(|entry| entry.platform.as_ref())
            .take(16)
            .map(Platform::to_string)
            .collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        let message = format!("no manifest for {platform}; the index has: {known}");
        Err(Error::new(ErrorKind::NotFound, message))
    }
}

impl Platform {
    /// An operating system and an architecture, as Go names them.
    pub fn new(os: impl Into<String>, architecture: impl Into<String>) -> Self {
        Self { os: os.into(), architecture: architecture.into(), variant: None }
    }

    /// Whether a manifest for `other` serves: without a variant on either side, any does.
    fn accepts(&self, other: &Self) -> bool {
        let variant = |platform: &Self| match (&*platform.architecture, platform.variant.as_deref()) {
            // There is no other arm64.
            ("arm64", Some("v8")) | (_, None) => None,
            (_, Some(variant)) => Some(variant.to_owned()),
        };
        self.os == other.os
            && self.architecture == other.architecture
            && variant(self).zip(variant(other)).is_none_or(|(own, other)| own == other)
    }
}

impl std::fmt::Display for Platform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.os.escape_debug(), self.architecture.escape_debug())?;
        self.variant.as_ref().map_or(Ok(()), |variant| write!(f, "/{}", variant.escape_debug()))
    }
}

fn is_index(media_type: &str) -> bool {
    matches!(media_type, OCI_INDEX | DOCKER_INDEX)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use witvirt_core::Digest;
    use witvirt_disk::{Error, ErrorKind};

    use super::{DOCKER_INDEX, Document, OCI_INDEX, OCI_MANIFEST, Platform};

    fn document(media_type: Option<&str>, text: &str) -> Result<Document, Error> {
        Document::new(media_type, Bytes::copy_from_slice(text.as_bytes()), Digest::from_bytes([7; 32]))
    }

    fn descriptor(n: u8, more: &str) -> String {
        let digest = Digest::from_bytes([n; 32]);
        format!(r#"{{"mediaType": "m", "digest": "{digest}", "size": {n}{more}}}"#)
    }

    #[test]
    fn the_platform_chooses() {
        let platform = |os: &str, arch: &str, more: &str| {
            format!(r#", "platform": {{"os": "{os}", "architecture": "{arch}"{more}}}"#)
        };
        let text = format!(
            r#"{{"schemaVersion": 2, "manifests": [{}, {}, {}, {}]}}"#,
            descriptor(1, &platform("unknown", "unknown", "")),
            descriptor(2, &platform("linux", "arm", r#", "variant": "v6""#)),
            descriptor(3, &platform("linux", "arm", r#", "variant": "v7""#)),
            descriptor(4, &platform("linux", "arm64", r#", "variant": "v8""#)),
        );
        let index = document(Some(DOCKER_INDEX), &text).unwrap();
        assert!(index.is_index());
        let choose = |platform: &Platform| index.choose(platform).map(|chosen| chosen.size);
        assert_eq!(choose(&Platform::new("linux", "arm64")).unwrap(), 4);
        assert_eq!(choose(&Platform::new("linux", "arm")).unwrap(), 2);
        let v7 = Platform { variant: Some("v7".into()), ..Platform::new("linux", "arm") };
        assert_eq!(choose(&v7).unwrap(), 3);
        let error = choose(&Platform::new("linux", "amd64")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(error.to_string().contains("linux/arm/v6"), "{error}");
        let single = document(None, &format!(r#"{{"manifests": [{}]}}"#, descriptor(5, ""))).unwrap();
        assert_eq!(single.choose(&v7).unwrap().size, 5);
    }

    #[test]
    fn blobs_of_a_manifest() {
        let text = format!(r#"{{"config": {}, "layers": [{}]}}"#, descriptor(1, ""), descriptor(2, ""));
        let manifest = document(Some("application/json; charset=utf-8"), &text).unwrap();
        let sizes: Vec<u64> = manifest.blobs().iter().map(|blob| blob.size).collect();
        assert_eq!((sizes, manifest.is_index()), (vec![1, 2], false));
    }

    #[test]
    fn two_faced_and_broken_documents_are_refused() {
        let one = descriptor(1, "");
        for (media_type, text) in [
            (OCI_INDEX, format!(r#"{{"manifests": [], "config": {one}, "layers": []}}"#)),
            (OCI_INDEX, format!(r#"{{"mediaType": "{OCI_MANIFEST}", "config": {one}}}"#)),
            (OCI_MANIFEST, format!(r#"{{"mediaType": "{OCI_INDEX}", "manifests": [{one}]}}"#)),
            (OCI_MANIFEST, "{}".to_owned()),
            (OCI_MANIFEST, "[]".to_owned()),
            (OCI_MANIFEST, String::new()),
            (OCI_MANIFEST, one.replace("\"size\": 1", "\"size\": -1").replace('{', r#"{"config": {"#) + "}"),
            (OCI_MANIFEST, r#"{"config": {"mediaType": "m", "digest": "sha256:..", "size": 1}}"#.to_owned()),
            (OCI_MANIFEST, "[".repeat(100_000)),
        ] {
            let error = document(Some(media_type), &text).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{text}: {error}");
        }
        let old = document(None, r#"{"schemaVersion": 1, "fsLayers": []}"#).unwrap_err();
        assert_eq!(old.kind(), ErrorKind::Unsupported);
    }
}

//! For plugins that read and write layouts of artifacts in registries (`witvirt:artifact`): manifests as OCI and Docker
//! write them, the traits that such a plugin implements over the types of [`witvirt_core::artifact`], and the macros that
//! export them.

mod export;
mod oci;

pub use oci::{OciDescriptor, OciManifest, Platform, TITLE, media_type};
pub use witvirt_core::Digest;
pub use witvirt_core::artifact::{
    ArtifactChunk, Claim, Disk, DiskContent, File, Manifest, Packed, Packing, Plan, PublishRequest,
    SmallBlob, Stored, TarEntry,
};

use serde::Deserialize;

use crate::{Error, ErrorKind};

/// A plugin that reads layouts; [`crate::artifact_layout`] exports it.
pub trait Reader {
    /// Registry names, the usual one first.
    fn layouts() -> Vec<String>;

    /// Whether the manifest looks like one of the layouts.
    fn probe(manifest: &Manifest) -> Option<Claim>;

    /// Digests of the small blobs that [`Reader::interpret`] wants to see.
    ///
    /// # Errors
    /// When the manifest is not of this layout.
    fn needs(manifest: &Manifest, options: &ReadOptions) -> Result<Vec<Digest>, Error>;

    /// What the artifact holds; `blobs` are those of [`Reader::needs`], in that order.
    ///
    /// # Errors
    /// When the manifest is not of this layout, or contradicts itself.
    fn interpret(
        manifest: &Manifest,
        blobs: &[(Digest, Vec<u8>)],
        options: &ReadOptions,
    ) -> Result<Plan, Error>;
}

/// A plugin that also writes them; [`crate::artifact_publisher`] exports it.
pub trait Publisher {
    /// The blobs that the host has to make.
    ///
    /// # Errors
    /// When the request makes no sense for this layout.
    fn prepare(request: &PublishRequest) -> Result<Vec<Packing>, Error>;

    /// The small blobs; `blobs` are those of [`Publisher::prepare`].
    ///
    /// # Errors
    /// As [`Publisher::prepare`].
    fn documents(request: &PublishRequest, blobs: &[Packed]) -> Result<Vec<SmallBlob>, Error>;

    /// The manifest over all blobs.
    ///
    /// # Errors
    /// As [`Publisher::prepare`].
    fn compose(request: &PublishRequest, blobs: &[Packed]) -> Result<Manifest, Error>;
}

/// The options of `layout.interpret`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReadOptions {
    /// As what the manifest is read.
    pub layout: String,
    /// Which file of several is meant.
    #[serde(default)]
    pub member: Option<String>,
}

impl ReadOptions {
    /// From the JSON that the host hands over.
    ///
    /// # Errors
    /// `invalid-input` for anything else.
    pub fn parse(text: &str) -> Result<Self, Error> {
        serde_json::from_str(text)
            .map_err(|error| Error::new(ErrorKind::InvalidInput, format!("options: {error}")))
    }
}

/// A path in a tar as a user writes it ("/disk/a.img"; a directory ends with "/"), as `layout.stored` wants it.
///
/// # Errors
/// `invalid-input` for what is no path.
pub fn member_path(text: &str) -> Result<String, Error> {
    let path = text.trim_start_matches('/');
    let mut parts = path.strip_suffix('/').unwrap_or(path).split('/');
    if parts.any(|part| part.is_empty() || part == "." || part == ".." || part.contains('\0')) {
        let message = format!("\"{text}\" is no path in an archive; a file is disk/a.img, a directory disk/");
        return Err(Error::new(ErrorKind::InvalidInput, message));
    }
    Ok(path.to_owned())
}

/// The blob of that id, which an earlier step of publishing asked for.
///
/// # Errors
/// `invalid-input` when the host did not make it.
pub fn packed<'a>(blobs: &'a [Packed], id: &str) -> Result<&'a Packed, Error> {
    blobs.iter().find(|blob| blob.id == id).ok_or_else(|| {
        Error::new(ErrorKind::InvalidInput, format!("the blob \"{id}\" that prepare asked for was not made"))
    })
}

/// The plugin's own options in a request to publish.
///
/// # Errors
/// `invalid-input` when they are not an object of that shape.
pub fn publish_options<T: serde::de::DeserializeOwned>(request: &PublishRequest) -> Result<T, Error> {
    let invalid = |what: String| Error::new(ErrorKind::InvalidInput, format!("options: {what}"));
    if !request.options.is_object() {
        return Err(invalid("not an object".to_owned()));
    }
    serde_json::from_value(request.options.clone()).map_err(|error| invalid(error.to_string()))
}

/// A digest that the host names.
///
/// # Errors
/// `invalid-input` for anything else.
pub fn digest(text: &str) -> Result<Digest, Error> {
    text.parse().map_err(|error| Error::new(ErrorKind::InvalidInput, format!("{error}")))
}

/// Options that the host hands over.
///
/// # Errors
/// `invalid-input` when they are not JSON.
pub fn json(text: &str) -> Result<serde_json::Value, Error> {
    serde_json::from_str(text)
        .map_err(|error| Error::new(ErrorKind::InvalidInput, format!("options: {error}")))
}

#[cfg(test)]
mod tests {
    use super::{ReadOptions, member_path};

    #[test]
    fn paths_in_archives() {
        assert_eq!(member_path("/disk/a.img").unwrap(), "disk/a.img");
        assert_eq!(member_path("disk/").unwrap(), "disk/");
        for bad in ["", "/", "..", "a/../b", "a//b", "./a", "a/.", "a\0", "disk//"] {
            assert!(member_path(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn options_have_known_keys() {
        let options = ReadOptions::parse("{\"layout\":\"x\",\"member\":\"a\"}").unwrap();
        assert_eq!((options.layout.as_str(), options.member.as_deref()), ("x", Some("a")));
        assert!(ReadOptions::parse("{\"layout\":\"x\",\"other\":1}").unwrap_err().message.contains("other"));
        assert!(ReadOptions::parse("{}").is_err());
    }
}

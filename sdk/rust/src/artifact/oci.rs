//! Image manifests: OCI image-spec 1.1 `manifest.md` and Docker's "Image Manifest V 2, Schema 2".

use std::collections::BTreeMap;

use serde::Deserialize;
use witvirt_core::Digest;
use witvirt_core::artifact::{Manifest, Stored};

use crate::{Error, ErrorKind};

/// Media types of the two specifications.
pub mod media_type {
    /// A manifest of OCI.
    pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    /// A manifest of Docker.
    pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
    /// The config of a container image in OCI.
    pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
    /// The config of a container image in Docker.
    pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
    /// The config of artifacts that have none: `{}`.
    pub const OCI_EMPTY: &str = "application/vnd.oci.empty.v1+json";
}

/// The annotation that gives a blob its file name.
pub const TITLE: &str = "org.opencontainers.image.title";

/// A manifest.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OciManifest {
    /// What the manifest says itself; Docker's and OCI's older ones may leave it out.
    #[serde(default)]
    pub media_type: Option<String>,
    /// What kind of artifact it is, where it is no container image.
    #[serde(default)]
    pub artifact_type: Option<String>,
    /// The config blob.
    #[serde(default)]
    pub config: Option<OciDescriptor>,
    /// The other blobs, in order.
    pub layers: Vec<OciDescriptor>,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
}

/// A blob in a manifest.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OciDescriptor {
    /// Media type of the stored bytes.
    pub media_type: String,
    /// Of the stored bytes.
    pub digest: Digest,
    /// Of the stored bytes.
    pub size: u64,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
    /// What it runs on.
    #[serde(default)]
    pub platform: Option<Platform>,
}

/// What an image runs on.
#[derive(Debug, Clone, Deserialize)]
pub struct Platform {
    /// "amd64", "arm64".
    #[serde(default)]
    pub architecture: Option<String>,
    /// "linux", "darwin".
    #[serde(default)]
    pub os: Option<String>,
}

impl OciManifest {
    /// Reads the text of a manifest.
    ///
    /// # Errors
    /// `corrupt` when it is not one: no JSON, no layers, digests that are not SHA-256.
    pub fn parse(manifest: &Manifest) -> Result<Self, Error> {
        serde_json::from_str(&manifest.text)
            .map_err(|error| Error::new(ErrorKind::Corrupt, format!("no image manifest: {error}")))
    }

    /// An annotation of the manifest.
    pub fn annotation(&self, name: &str) -> Option<&str> {
        self.annotations.as_ref()?.get(name).map(String::as_str)
    }

    /// An annotation of the manifest that is a number.
    ///
    /// # Errors
    /// `corrupt` when it is not.
    pub fn number(&self, name: &str) -> Result<Option<u64>, Error> {
        self.annotation(name).map(|text| number(name, text)).transpose()
    }

    /// Whether it is an image that containers are made of, and no artifact of another kind.
    pub fn is_container_image(&self) -> bool {
        let known = [media_type::OCI_CONFIG, media_type::DOCKER_CONFIG];
        self.config.as_ref().is_some_and(|config| known.contains(&config.media_type.as_str()))
    }

    /// The layer of a media type of which there may be one.
    ///
    /// # Errors
    /// `corrupt` when there are several.
    pub fn at_most_one(&self, media_type: &str) -> Result<Option<&OciDescriptor>, Error> {
        let mut layers = self.layers.iter().filter(|layer| layer.media_type == media_type);
        let first = layers.next();
        match layers.next() {
            Some(second) => {
                let message = format!("the artifact has several layers of {media_type}");
                Err(Error::new(ErrorKind::Corrupt, message).with("blob", second.digest))
            }
            None => Ok(first),
        }
    }

    /// The layer of a media type of which there has to be one.
    ///
    /// # Errors
    /// `corrupt` when there is none, or when there are several.
    pub fn exactly_one(&self, media_type: &str) -> Result<&OciDescriptor, Error> {
        self.at_most_one(media_type)?.ok_or_else(|| {
            Error::new(ErrorKind::Corrupt, format!("the artifact has no layer of {media_type}"))
        })
    }

    /// The layers of one media type, in order.
    pub fn of_type<'a>(&'a self, media_type: &'a str) -> impl Iterator<Item = &'a OciDescriptor> {
        self.layers.iter().filter(move |layer| layer.media_type == media_type)
    }
}

impl OciDescriptor {
    /// An annotation.
    pub fn annotation(&self, name: &str) -> Option<&str> {
        self.annotations.as_ref()?.get(name).map(String::as_str)
    }

    /// The file name that it was stored under.
    pub fn title(&self) -> Option<&str> {
        self.annotation(TITLE)
    }

    /// An annotation that is a number.
    ///
    /// # Errors
    /// `corrupt` when it is not.
    pub fn number(&self, name: &str) -> Result<Option<u64>, Error> {
        self.annotation(name)
            .map(|text| number(name, text).map_err(|error| error.with("blob", self.digest)))
            .transpose()
    }

    /// The blob as content in an encoding, of which nothing else is known; see `witvirt:artifact/layout.stored`.
    pub fn stored(&self, encoding: &str) -> Stored {
        Stored {
            blobs: vec![self.digest],
            encoding: encoding.to_owned(),
            member: None,
            length: None,
            digest: None,
        }
    }

    /// The blob as content that is stored as it is.
    pub fn as_it_is(&self) -> Stored {
        Stored { length: Some(self.size), ..self.stored("") }
    }

    /// An annotation that is a SHA-256 digest.
    ///
    /// # Errors
    /// `corrupt` when it is not.
    pub fn sha256(&self, name: &str) -> Result<Option<Digest>, Error> {
        let Some(text) = self.annotation(name) else { return Ok(None) };
        let digest = text.starts_with("sha256:").then(|| text.parse().ok()).flatten();
        let bad = || {
            let message = format!("the annotation {name} is no sha256 digest: \"{}\"", shown(text));
            Error::new(ErrorKind::Corrupt, message).with("blob", self.digest)
        };
        digest.map(Some).ok_or_else(bad)
    }
}

fn number(name: &str, text: &str) -> Result<u64, Error> {
    text.parse().map_err(|_| {
        let message = format!("the annotation {name} is no number: \"{}\"", shown(text));
        Error::new(ErrorKind::Corrupt, message)
    })
}

/// The beginning of a hostile text.
fn shown(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use witvirt_core::artifact::Manifest;

    use super::OciManifest;
    use crate::ErrorKind;

    fn parse(text: &str) -> Result<OciManifest, ErrorKind> {
        let manifest = Manifest { media_type: String::new(), text: text.to_owned() };
        OciManifest::parse(&manifest).map_err(|error| error.kind)
    }

    #[test]
    fn reads_annotations_of_every_kind() {
        let digest = format!("sha256:{}", "0a".repeat(32));
        let manifest = parse(&format!(
            "{{\"layers\":[{{\"mediaType\":\"x\",\"digest\":\"{digest}\",\"size\":7,\"annotations\":{{\"n\":\"12\",\"bad\":\"-1\",
              \"d\":\"{digest}\",\"org.opencontainers.image.title\":\"a.img\"}}}}],\"annotations\":null}}"
        ))
        .unwrap();
        let layer = &manifest.layers[0];
        assert_eq!((layer.size, layer.title()), (7, Some("a.img")));
        assert_eq!(layer.number("n").unwrap(), Some(12));
        assert_eq!(layer.number("none").unwrap(), None);
        assert_eq!(layer.number("bad").unwrap_err().kind, ErrorKind::Corrupt);
        assert_eq!(layer.sha256("d").unwrap(), Some(layer.digest));
        assert!(layer.sha256("n").is_err());
        assert_eq!(manifest.annotation("n"), None);
        assert_eq!(manifest.of_type("x").count(), 1);
    }

    #[test]
    fn counts_layers_of_a_type() {
        let blob = |media: &str, byte: &str| {
            format!("{{\"mediaType\":\"{media}\",\"digest\":\"sha256:{}\",\"size\":7}}", byte.repeat(32))
        };
        let layers = [blob("x", "01"), blob("y", "02"), blob("y", "03")].join(",");
        let config = blob(super::media_type::DOCKER_CONFIG, "04");
        let manifest = parse(&format!("{{\"config\":{config},\"layers\":[{layers}]}}")).unwrap();
        assert!(manifest.is_container_image());
        let one = manifest.exactly_one("x").unwrap();
        assert_eq!(one.digest, manifest.layers[0].digest);
        assert_eq!((one.as_it_is().length, one.as_it_is().blobs), (Some(7), vec![one.digest]));
        assert!(manifest.at_most_one("z").unwrap().is_none());
        assert_eq!(manifest.exactly_one("z").unwrap_err().message, "the artifact has no layer of z");
        assert_eq!(manifest.at_most_one("y").unwrap_err().message, "the artifact has several layers of y");
        assert!(!parse("{\"layers\":[]}").unwrap().is_container_image());
    }

    #[test]
    fn what_is_no_manifest() {
        for text in [
            "",
            "{}",
            "[]",
            "{\"layers\":{}}",
            "{\"layers\":[{\"mediaType\":\"x\",\"digest\":\"md5:0\",\"size\":1}]}",
        ] {
            assert_eq!(parse(text).unwrap_err(), ErrorKind::Corrupt, "{text}");
        }
    }
}

//! Container images: media types of layers, and the config.

use serde::{Deserialize, Serialize};
use witvirt_sdk::{Error, ErrorKind};

/// The encoding of a layer that is a tar; `None` for anything else.
pub(crate) fn encoding(media_type: &str) -> Option<&'static str> {
    const LAYERS: [&str; 3] = [
        "application/vnd.oci.image.layer.v1.",
        "application/vnd.oci.image.layer.nondistributable.v1.",
        "application/vnd.docker.image.rootfs.diff.",
    ];
    let kind = LAYERS.iter().find_map(|prefix| media_type.strip_prefix(prefix))?;
    match kind {
        "tar" => Some("tar"),
        // Docker separates with a dot, OCI with a plus.
        "tar.gzip" | "tar+gzip" => Some("tar+gzip"),
        "tar.zstd" | "tar+zstd" => Some("tar+zstd"),
        _ => None,
    }
}

/// What matters of an image config here.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Config {
    #[serde(default)]
    pub(crate) architecture: Option<String>,
    #[serde(default)]
    pub(crate) os: Option<String>,
    #[serde(default)]
    pub(crate) config: Option<Process>,
}

/// How a container of the image would run.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Process {
    #[serde(default, rename = "Env")]
    pub(crate) env: Option<Vec<String>>,
    #[serde(default, rename = "Labels")]
    pub(crate) labels: Option<std::collections::BTreeMap<String, String>>,
}

impl Config {
    pub(crate) fn parse(content: &[u8]) -> Result<Self, Error> {
        serde_json::from_slice(content)
            .map_err(|error| Error::new(ErrorKind::Corrupt, format!("the image config is not one: {error}")))
    }
}

/// A new image config.
#[derive(Debug, Serialize)]
pub(crate) struct NewConfig<'a> {
    pub(crate) created: &'a str,
    pub(crate) architecture: &'a str,
    pub(crate) os: &'a str,
    pub(crate) config: serde_json::Value,
    pub(crate) rootfs: serde_json::Value,
    pub(crate) history: serde_json::Value,
}

//! Writing: a layer with the disk in `/disk`, and the config of an image that starts nothing.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::json;
use witvirt_sdk::artifact::{
    Manifest, Packed, Packing, PublishRequest, Publisher, SmallBlob, TarEntry, media_type, member_path,
    packed, publish_options,
};
use witvirt_sdk::{Error, ErrorKind};

use crate::ContainerDisk;
use crate::image::NewConfig;

/// User and group of QEMU in KubeVirt's pods.
const QEMU: u32 = 107;

/// Bytes of a path in the header of a tar.
const LONGEST_PATH: usize = 100;

/// What the user may choose.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
struct Options {
    /// "gzip", "zstd" or "".
    compression: String,
    /// Path in the image.
    path: Option<String>,
    /// Labels of the image.
    labels: BTreeMap<String, String>,
}

impl Default for Options {
    fn default() -> Self {
        Self { compression: "gzip".to_owned(), path: None, labels: BTreeMap::new() }
    }
}

impl Options {
    fn parse(request: &PublishRequest) -> Result<Self, Error> {
        let options: Self = publish_options(request)?;
        if !["", "gzip", "zstd"].contains(&options.compression.as_str()) {
            let message = format!("compression \"{}\"; there are: gzip, zstd, \"\"", options.compression);
            return Err(Error::new(ErrorKind::InvalidInput, message));
        }
        Ok(options)
    }

    /// Media type of the layer.
    fn layer(&self) -> String {
        let suffix = if self.compression.is_empty() { "" } else { "+" };
        format!("application/vnd.oci.image.layer.v1.tar{suffix}{}", self.compression)
    }
}

/// qcow2, unless the user wants raw: KubeVirt takes no other.
fn format(request: &PublishRequest) -> Result<&str, Error> {
    match request.format.as_deref() {
        None | Some("qcow2") => Ok("qcow2"),
        Some("raw") => Ok("raw"),
        Some(other) => {
            let message = format!("a containerDisk is qcow2 or raw, not {other}");
            Err(Error::new(ErrorKind::Unsupported, message))
        }
    }
}

fn path(options: &Options, format: &str) -> Result<String, Error> {
    let extension = if format == "raw" { "img" } else { format };
    let Some(path) = &options.path else { return Ok(format!("disk/disk.{extension}")) };
    if path.ends_with('/') || path.len() > LONGEST_PATH {
        let message = format!("path \"{path}\" names no file of a tar; for example disk/disk.{extension}");
        return Err(Error::new(ErrorKind::InvalidInput, message));
    }
    member_path(path)
}

impl Publisher for ContainerDisk {
    fn prepare(request: &PublishRequest) -> Result<Vec<Packing>, Error> {
        if let Some((role, _)) = request.inputs.iter().find(|(role, _)| role != "disk") {
            let message = format!("a containerDisk holds a disk and nothing else, no {role}");
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        let options = Options::parse(request)?;
        let format = format(request)?;
        let member = TarEntry { path: path(&options, format)?, uid: QEMU, gid: QEMU, mode: 0o440 };
        Ok(vec![Packing {
            id: "layer".to_owned(),
            role: "disk".to_owned(),
            format: Some(format.to_owned()),
            member: Some(member),
            compression: options.compression,
        }])
    }

    fn documents(request: &PublishRequest, blobs: &[Packed]) -> Result<Vec<SmallBlob>, Error> {
        let options = Options::parse(request)?;
        let layer = packed(blobs, "layer")?;
        let process = match options.labels.is_empty() {
            true => json!({}),
            false => json!({ "Labels": options.labels }),
        };
        let config = NewConfig {
            created: &request.created,
            architecture: &request.architecture,
            // What a node has to run to pull it, which is not what the guest runs.
            os: "linux",
            config: process,
            rootfs: json!({ "type": "layers", "diff_ids": [layer.content_digest] }),
            history: json!([{ "created": request.created, "created_by": "witvirt image push" }]),
        };
        let content = serde_json::to_vec(&config)
            .map_err(|error| Error::new(ErrorKind::Other, format!("cannot write the config: {error}")))?;
        Ok(vec![SmallBlob { id: "config".to_owned(), content }])
    }

    fn compose(request: &PublishRequest, blobs: &[Packed]) -> Result<Manifest, Error> {
        let options = Options::parse(request)?;
        let (layer, config) = (packed(blobs, "layer")?, packed(blobs, "config")?);
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": media_type::OCI_MANIFEST,
            "config": { "mediaType": media_type::OCI_CONFIG, "digest": config.digest, "size": config.size },
            "layers": [{ "mediaType": options.layer(), "digest": layer.digest, "size": layer.size }],
            "annotations": { "org.opencontainers.image.created": request.created },
        });
        Ok(Manifest { media_type: media_type::OCI_MANIFEST.to_owned(), text: manifest.to_string() })
    }
}

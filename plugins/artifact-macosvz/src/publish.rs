//! Writing: each file one layer, the description among them.

use serde::Deserialize;
use serde_json::{Map, Value, json};
use witvirt_sdk::artifact::{
    Manifest, Packed, Packing, PublishRequest, Publisher, SmallBlob, TITLE, media_type, packed,
    publish_options,
};
use witvirt_sdk::{Error, ErrorKind};

use crate::description::{Description, Storage, is_base64};
use crate::{MacosVz, words};

/// The id of the empty config.
const EMPTY: &str = "empty";

/// What the user may choose.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
struct Options {
    /// "gzip" or "".
    compression: String,
    /// Base64, needed to start macOS.
    hardware_model: String,
    /// Base64, needed to start macOS.
    machine_id: String,
}

impl Default for Options {
    fn default() -> Self {
        Self { compression: "gzip".to_owned(), hardware_model: String::new(), machine_id: String::new() }
    }
}

impl Options {
    fn parse(request: &PublishRequest) -> Result<Self, Error> {
        let options: Self = publish_options(request)?;
        if !["", "gzip"].contains(&options.compression.as_str()) {
            return Err(invalid(format!("compression \"{}\"; there are: gzip, \"\"", options.compression)));
        }
        for (name, value) in
            [("hardware-model", &options.hardware_model), ("machine-id", &options.machine_id)]
        {
            if !is_base64(value) {
                return Err(invalid(format!("option {name} is not base64")));
            }
            if value.is_empty() && request.os == "darwin" {
                return Err(invalid(format!("macOS does not start without the option {name} (base64)")));
            }
        }
        Ok(options)
    }
}

/// Media type, and name of the file, for a role.
fn of_role(role: &str) -> Result<(&'static str, &'static str), Error> {
    match role {
        "disk" => Ok((words::DISK, words::DISK_FILE)),
        "aux-image" => Ok((words::AUX, words::AUX_FILE)),
        _ => {
            let message = format!("this layout has no file of the role \"{role}\"; it has: disk, aux-image");
            Err(Error::new(ErrorKind::Unsupported, message))
        }
    }
}

fn layer(media_type: &str, title: &str, blob: &Packed, compressed: bool) -> Value {
    let mut annotations = Map::new();
    if compressed {
        annotations.insert(words::CONTENT_DIGEST.to_owned(), blob.content_digest.to_string().into());
        annotations.insert(words::CONTENT_SIZE.to_owned(), blob.content_size.to_string().into());
    }
    annotations.insert(TITLE.to_owned(), title.into());
    json!({ "mediaType": media_type, "digest": blob.digest, "size": blob.size, "annotations": annotations })
}

impl Publisher for MacosVz {
    fn prepare(request: &PublishRequest) -> Result<Vec<Packing>, Error> {
        let options = Options::parse(request)?;
        if let Some(format) = request.format.as_deref().filter(|format| *format != "raw") {
            let message = format!("disks of this layout are raw, not {format}");
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        let packing = |(role, _): &(String, u64)| {
            let (_, title) = of_role(role)?;
            Ok(Packing {
                id: title.to_owned(),
                role: role.clone(),
                format: (role == "disk").then(|| "raw".to_owned()),
                member: None,
                compression: options.compression.clone(),
            })
        };
        request.inputs.iter().map(packing).collect()
    }

    fn documents(request: &PublishRequest, _: &[Packed]) -> Result<Vec<SmallBlob>, Error> {
        let options = Options::parse(request)?;
        let storage = |(role, _): &(String, u64)| {
            let (media_type, title) = of_role(role)?;
            Ok(Storage { mediatype: media_type.to_owned(), file: title.to_owned() })
        };
        let description = Description {
            mediatype: words::CONFIG.to_owned(),
            os: request.os.clone(),
            hardware_model: options.hardware_model,
            machine_id: options.machine_id,
            storage: request.inputs.iter().map(storage).collect::<Result<_, Error>>()?,
        };
        let content = serde_json::to_vec(&description).map_err(|error| {
            Error::new(ErrorKind::Other, format!("cannot write the description: {error}"))
        })?;
        Ok(vec![
            SmallBlob { id: words::CONFIG_FILE.to_owned(), content },
            SmallBlob { id: EMPTY.to_owned(), content: b"{}".to_vec() },
        ])
    }

    fn compose(request: &PublishRequest, blobs: &[Packed]) -> Result<Manifest, Error> {
        let options = Options::parse(request)?;
        let compressed = !options.compression.is_empty();
        let mut layers = Vec::new();
        for (role, _) in &request.inputs {
            let (media_type, title) = of_role(role)?;
            layers.push(layer(media_type, title, packed(blobs, title)?, compressed));
        }
        let description = packed(blobs, words::CONFIG_FILE)?;
        layers.push(layer(words::CONFIG, words::CONFIG_FILE, description, false));
        let empty = packed(blobs, EMPTY)?;
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": media_type::OCI_MANIFEST,
            "artifactType": words::ARTIFACT,
            "config": {
                "mediaType": media_type::OCI_EMPTY,
                "digest": empty.digest,
                "size": empty.size,
                "data": "e30=",
                "platform": { "architecture": request.architecture, "os": request.os },
            },
            "layers": layers,
            "annotations": { "org.opencontainers.image.created": request.created },
        });
        Ok(Manifest { media_type: media_type::OCI_MANIFEST.to_owned(), text: manifest.to_string() })
    }
}

fn invalid(message: String) -> Error {
    Error::new(ErrorKind::InvalidInput, message)
}

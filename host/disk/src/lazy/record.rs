//! What is asked for and what is kept of it.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use witvirt_core::{Digest, Name};

use super::remote::Identification;

/// An image on a server that a machine is to be started from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LazyRequest {
    /// Where it is: what `connect` opens.
    pub url: String,
    /// Registry name of its format; absent: probed.
    pub format: Option<String>,
    /// What the file must hash to. It is only known once all of it has arrived.
    pub sha256: Option<Digest>,
    /// The name to give to the image in the store, taken from another one that has it.
    pub name: Option<Name>,
}

/// `lazy.json` in the image's directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct LazyRecord {
    /// Revision of this file's shape: 1.
    pub(crate) schema: u32,
    pub(crate) url: String,
    /// The URL for messages.
    pub(crate) label: String,
    /// Bytes of the file.
    pub(crate) size: u64,
    /// What the server calls this version of it.
    pub(crate) version: String,
    /// Registry name.
    pub(crate) format: String,
    /// Bytes that a guest sees.
    pub(crate) virtual_size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) sha256: Option<Digest>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<Name>,
    /// The image of the store that it has become.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) image: Option<Digest>,
    /// Why it will never be one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) failed: Option<String>,
}

impl LazyRecord {
    pub(crate) fn identification(&self) -> Identification {
        Identification { label: self.label.clone(), size: self.size, version: self.version.clone() }
    }
}

/// The name of the directory of this version of an object, read in this way: machines share it.
pub(crate) fn id_of(request: &LazyRequest, size: u64, version: &str) -> String {
    let mut hasher = Sha256::new_with_prefix(b"witvirt-lazy-1\0");
    let sha256 = request.sha256.map(|digest| digest.to_string()).unwrap_or_default();
    for text in [&request.url, request.format.as_deref().unwrap_or_default(), &sha256, version] {
        hasher.update((text.len() as u64).to_le_bytes());
        hasher.update(text);
    }
    hasher.update(size.to_le_bytes());
    let digest = Digest::from_bytes(hasher.finalize().into()).hex();
    digest[..32].to_owned()
}

//! Artifacts of registries: which plugin reads one, what it says the blobs mean, and whether that can be.
//!
//! A plan comes from a plugin that read a stranger's manifest: nothing of it is believed before [`check_plan`] has compared it
//! with the manifest. What no manifest can tell (whether the bytes decode to what is promised) is checked while they
//! arrive.

mod choose;
mod pack;
mod plan;
mod publish;

#[cfg(test)]
mod choose_tests;
#[cfg(test)]
mod plan_tests;
#[cfg(test)]
mod publish_tests;

use serde::Deserialize;
use witvirt_core::Digest;
use witvirt_core::artifact::{Descriptor, Manifest};

pub use choose::{choose, interpret};
pub use pack::{pack, packed_document};
pub(crate) use plan::FILE_BYTES;
pub use plan::{check_plan, disk_of};
pub use publish::{check_documents, check_manifest, check_packings};

use crate::error::{Error, ErrorKind, Result};

/// Most bytes of a blob that is handed to a plugin, and of one that it writes.
pub const SMALL_BLOB: u64 = 1 << 20;

/// Most descriptors of a manifest that are read: at 4 MiB of text there is no room for more.
const DESCRIPTORS: usize = 16 << 10;

/// The blobs that a manifest describes, `config` first, then `layers` in their order. A manifest of Docker's or OCI's,
/// never an index.
///
/// # Errors
/// `Corrupt` when it is no such manifest; `Unsupported` for digests that are not SHA-256; `Limit` for too many.
pub fn descriptors(manifest: &Manifest) -> Result<Vec<Descriptor>> {
    let corrupt = |what: String| Error::new(ErrorKind::Corrupt, format!("the manifest is {what}"));
    let parsed: Described = serde_json::from_str(&manifest.text)
        .map_err(|error| corrupt(format!("no image manifest: {error}")))?;
    let layers = parsed.layers.ok_or_else(|| corrupt("without layers".to_owned()))?;
    if layers.len() >= DESCRIPTORS {
        let message = format!("the manifest has {} layers, fewer than {DESCRIPTORS} are read", layers.len());
        return Err(Error::new(ErrorKind::Limit, message));
    }
    parsed.config.into_iter().chain(layers).map(descriptor).collect()
}

fn descriptor(described: DescribedBlob) -> Result<Descriptor> {
    let digest: Option<Digest> =
        described.digest.starts_with("sha256:").then(|| described.digest.parse().ok()).flatten();
    let digest = digest.ok_or_else(|| {
        let digest = described.digest.chars().take(80).collect::<String>();
        let message =
            format!("the manifest names the digest \"{}\", only sha256 is read", digest.escape_debug());
        Error::new(ErrorKind::Unsupported, message)
    })?;
    Ok(Descriptor { digest, size: described.size })
}

#[derive(Deserialize)]
struct Described {
    config: Option<DescribedBlob>,
    layers: Option<Vec<DescribedBlob>>,
}

#[derive(Deserialize)]
struct DescribedBlob {
    digest: String,
    size: u64,
}

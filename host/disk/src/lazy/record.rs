//! What is asked for and what is kept of it.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use witvirt_core::{Digest, Name};

use super::choose::units_of_ranges;
use super::remote::Identification;
use super::units::Units;
use crate::error::{Error, ErrorKind, Result};
use crate::import_source::ArtifactDisk;
use crate::stream::{Transport, Unpack};

/// An image on a server that a machine is to be started from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LazyRequest {
    /// Where it is, and always the same bytes where that can be said (a reference with a digest): what `connect` opens.
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
    /// The pieces that it arrives in, as first byte and length; none: it is one object.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) pieces: Vec<(u64, u64)>,
    /// Where in it the image file begins.
    #[serde(default)]
    pub(crate) start: u64,
    /// Bytes of the image file, where that is not all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) length: Option<u64>,
    /// Which member of an archive it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) member: Option<String>,
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

    /// How it is fetched.
    ///
    /// # Errors
    /// `Corrupt` when the record contradicts itself.
    pub(crate) fn units(&self) -> Result<Units> {
        if self.pieces.is_empty() {
            return Ok(Units::Even { size: self.size });
        }
        let wrong = || Error::new(ErrorKind::Corrupt, "the pieces on record overlap");
        units_of_ranges(self.size, self.pieces.clone()).ok_or_else(wrong)
    }

    /// What an import unpacks it from.
    pub(crate) fn unpack(&self) -> Unpack {
        Unpack::Stated(self.member.iter().map(|_| Transport::Tar).collect())
    }
}

/// The name of the directory of this version of a place, read in this way: machines share it.
pub(crate) fn id_of(request: &LazyRequest, place: &ArtifactDisk) -> Option<String> {
    let Identification { size, version, .. } = Identification::of(place)?;
    let mut hasher = Sha256::new_with_prefix(b"witvirt-lazy-2\0");
    let sha256 = request.sha256.map(|digest| digest.to_string()).unwrap_or_default();
    let packed: Vec<_> = place.pieces.iter().map(|piece| (&piece.unpack, &piece.member)).collect();
    let packed = if place.size.is_none() { format!("{packed:?}") } else { String::new() };
    for text in [&request.url, request.format.as_deref().unwrap_or_default(), &sha256, &version, &packed] {
        hasher.update((text.len() as u64).to_le_bytes());
        hasher.update(text);
    }
    hasher.update(size.to_le_bytes());
    let digest = Digest::from_bytes(hasher.finalize().into()).hex();
    Some(digest[..32].to_owned())
}

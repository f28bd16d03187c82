//! What a plugin says of a new artifact, bounded as the contract says.

use witvirt_core::PluginError;
use witvirt_core::artifact::{Manifest, Packed, Packing, PublishRequest, SmallBlob, TarEntry};

use super::{MANIFEST, SMALL, at_most, word};
use crate::bindings::publish::exports::witvirt::artifact::publish as wit;
use crate::revision::Revision;
use crate::text::WORD;

/// Bounds of the contract in wit/artifact.
const PACKINGS: usize = 64;
const DOCUMENTS: usize = 16;
/// Bytes of a path in a tar that needs no extension of the format.
const PATH: usize = 100;

pub(super) fn request(request: &PublishRequest) -> wit::Request {
    let input = |(role, size): &(String, u64)| wit::Input { role: role.clone(), size: *size };
    wit::Request {
        layout: request.layout.clone(),
        format: request.format.clone(),
        virtual_size: request.virtual_size,
        architecture: request.architecture.clone(),
        os: request.os.clone(),
        created: request.created.clone(),
        inputs: request.inputs.iter().map(input).collect(),
        options: request.options.to_string(),
    }
}

pub(super) fn packed(blobs: &[Packed]) -> Vec<wit::Packed> {
    let packed = |blob: &Packed| wit::Packed {
        id: blob.id.clone(),
        digest: blob.digest.to_string(),
        size: blob.size,
        content_digest: blob.content_digest.to_string(),
        content_size: blob.content_size,
    };
    blobs.iter().map(packed).collect()
}

pub(super) fn packings(
    revision: &Revision,
    packings: Vec<wit::Packing>,
) -> Result<Vec<Packing>, PluginError> {
    at_most(revision, "blobs to make", packings.len(), PACKINGS)?;
    packings.into_iter().map(|packing| self::packing(revision, packing)).collect()
}

fn packing(revision: &Revision, packing: wit::Packing) -> Result<Packing, PluginError> {
    let member = packing.member.map(|entry| {
        let path = word(revision, "a path in a tar", entry.path, PATH)?;
        Ok::<_, PluginError>(TarEntry { path, uid: entry.uid, gid: entry.gid, mode: entry.mode })
    });
    let format = packing.format.map(|format| word(revision, "a format's name", format, WORD));
    Ok(Packing {
        id: word(revision, "a blob's id", packing.id, WORD)?,
        role: word(revision, "a role", packing.role, WORD)?,
        format: format.transpose()?,
        member: member.transpose()?,
        compression: word(revision, "a compression's name", packing.compression, WORD)?,
    })
}

pub(super) fn documents(
    revision: &Revision,
    documents: Vec<wit::Document>,
) -> Result<Vec<SmallBlob>, PluginError> {
    at_most(revision, "documents", documents.len(), DOCUMENTS)?;
    let document = |document: wit::Document| {
        at_most(revision, "bytes of a document", document.content.len(), SMALL)?;
        Ok(SmallBlob { id: word(revision, "a blob's id", document.id, WORD)?, content: document.content })
    };
    documents.into_iter().map(document).collect()
}

pub(super) fn manifest(revision: &Revision, composed: wit::Composed) -> Result<Manifest, PluginError> {
    at_most(revision, "bytes of manifest", composed.text.len(), MANIFEST)?;
    let media_type = word(revision, "a media type", composed.media_type, WORD)?;
    Ok(Manifest { media_type, text: composed.text })
}

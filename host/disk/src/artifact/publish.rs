//! Whether the artifact that a plugin designs can be made of what there is.

use std::collections::HashSet;

use witvirt_core::artifact::{Manifest, Packed, Packing, PublishRequest, SmallBlob, TarEntry};

use super::{SMALL_BLOB, descriptors};
use crate::error::{Error, ErrorKind, Result};

/// Compressions of `witvirt:artifact/publish.packing`.
const COMPRESSIONS: [&str; 3] = ["", "gzip", "zstd"];

/// Bounds of the contract.
const PACKINGS: usize = 64;
const DOCUMENTS: usize = 16;
const PATH: usize = 100;

/// Compares what a plugin wants to have packed with what the request holds.
///
/// # Errors
/// `Plugin`, with the blob that is meant and what is wrong with it.
pub fn check_packings(request: &PublishRequest, packings: &[Packing]) -> Result<()> {
    if packings.is_empty() || packings.len() > PACKINGS {
        return Err(wrong(format!("{} blobs to make, 1 to {PACKINGS} are expected", packings.len())));
    }
    if packings.iter().filter(|packing| packing.role == "disk").count() != 1 {
        return Err(wrong("the disk has to be in the artifact exactly once"));
    }
    let mut ids = HashSet::new();
    for packing in packings {
        if packing.id.is_empty() || !ids.insert(packing.id.as_str()) {
            return Err(wrong("an id of a blob is empty or taken twice"));
        }
        packable(request, packing)
            .map_err(|error| error.during(format!("blob \"{}\"", packing.id.escape_debug())))?;
    }
    Ok(())
}

fn packable(request: &PublishRequest, packing: &Packing) -> Result<()> {
    if !request.inputs.iter().any(|(role, _)| *role == packing.role) {
        return Err(wrong(format!("nobody gave a file of the role \"{}\"", packing.role.escape_debug())));
    }
    if packing.format.is_some() != (packing.role == "disk") {
        return Err(wrong("a disk has an image format, and nothing else has one"));
    }
    if !COMPRESSIONS.contains(&packing.compression.as_str()) {
        let compression = packing.compression.escape_debug();
        return Err(wrong(format!("the compression \"{compression}\" is unknown to this host")));
    }
    packing.member.as_ref().map_or(Ok(()), tar_entry)
}

fn tar_entry(entry: &TarEntry) -> Result<()> {
    let odd = |part: &str| part.is_empty() || part == "." || part == ".." || part.contains('\0');
    if entry.path.len() > PATH || entry.path.split('/').any(odd) {
        return Err(wrong(format!("\"{}\" is no path of a tar's member", entry.path.escape_debug())));
    }
    // uid and gid have seven octal digits in a header without extensions.
    if entry.mode > 0o7777 || entry.uid > 0o777_7777 || entry.gid > 0o777_7777 {
        return Err(wrong("an owner, group or mode does not fit into a tar"));
    }
    Ok(())
}

/// Looks at the small blobs of an artifact; their ids differ from those of `packings`.
///
/// # Errors
/// `Plugin`.
pub fn check_documents(packings: &[Packing], documents: &[SmallBlob]) -> Result<()> {
    if documents.len() > DOCUMENTS {
        return Err(wrong(format!("{} documents, at most {DOCUMENTS} are taken", documents.len())));
    }
    let mut ids: HashSet<&str> = packings.iter().map(|packing| packing.id.as_str()).collect();
    for document in documents {
        if document.id.is_empty() || !ids.insert(&document.id) {
            return Err(wrong("an id of a document is empty or taken twice"));
        }
        if document.content.len() as u64 > SMALL_BLOB {
            let bytes = document.content.len();
            return Err(wrong(format!("a document of {bytes} bytes, at most {SMALL_BLOB} are taken")));
        }
    }
    Ok(())
}

/// Compares a new manifest with the blobs that were made: it describes each of them and no others.
///
/// # Errors
/// `Plugin`.
pub fn check_manifest(manifest: &Manifest, blobs: &[Packed]) -> Result<()> {
    let described = descriptors(manifest).map_err(|error| wrong(error.to_string()))?;
    let made: HashSet<_> = blobs.iter().map(|blob| (blob.digest, blob.size)).collect();
    let described: HashSet<_> = described.iter().map(|blob| (blob.digest, blob.size)).collect();
    if let Some((digest, size)) = described.difference(&made).next() {
        let message =
            format!("the manifest describes {digest} of {size} bytes, which is not in the artifact");
        return Err(wrong(message));
    }
    match made.difference(&described).next() {
        Some((digest, _)) => Err(wrong(format!("the manifest does not describe {digest}"))),
        None => Ok(()),
    }
}

fn wrong(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Plugin, message)
}

//! Reading: one layer for each file.

use witvirt_sdk::artifact::{
    Claim, Digest, Disk, DiskContent, File, Manifest, OciDescriptor, OciManifest, Plan, ReadOptions, Reader,
    Stored, TITLE,
};
use witvirt_sdk::{Error, ErrorKind};

use crate::description::Description;
use crate::{LAYOUT, MacosVz, words};

/// No other artifact has these media types.
const CERTAIN: u8 = 100;

/// Facts that come from the manifest.
const ARCHITECTURE: &str = "architecture";

impl Reader for MacosVz {
    fn layouts() -> Vec<String> {
        vec![LAYOUT.to_owned()]
    }

    fn probe(manifest: &Manifest) -> Option<Claim> {
        let manifest = OciManifest::parse(manifest).ok()?;
        let own = manifest.layers.iter().any(|layer| layer.media_type.starts_with(words::PREFIX));
        let own = own || manifest.artifact_type.as_deref() == Some(words::ARTIFACT);
        own.then(|| Claim { confidence: CERTAIN, layout: LAYOUT.to_owned(), version: Some("v1".to_owned()) })
    }

    fn needs(manifest: &Manifest, _: &ReadOptions) -> Result<Vec<Digest>, Error> {
        let manifest = OciManifest::parse(manifest)?;
        Ok(manifest.at_most_one(words::CONFIG)?.map(|layer| layer.digest).into_iter().collect())
    }

    fn interpret(manifest: &Manifest, blobs: &[(Digest, Vec<u8>)], _: &ReadOptions) -> Result<Plan, Error> {
        let manifest = OciManifest::parse(manifest)?;
        let known = [words::DISK, words::AUX, words::CONFIG];
        let strange =
            |layer: &&OciDescriptor| layer.title().is_some() && !known.contains(&layer.media_type.as_str());
        if let Some(layer) = manifest.layers.iter().find(strange) {
            let message =
                format!("a file of the media type {}, which is not of this layout", layer.media_type);
            return Err(Error::new(ErrorKind::Unsupported, message).with("blob", layer.digest));
        }
        let disk = manifest.exactly_one(words::DISK)?;
        let mut facts = match blobs.first() {
            Some((_, content)) => Description::parse(content)?.facts(),
            None => Vec::new(),
        };
        let platform = manifest.config.as_ref().and_then(|config| config.platform.as_ref());
        let architecture = platform.and_then(|platform| platform.architecture.clone());
        facts.extend(architecture.map(|architecture| (ARCHITECTURE.to_owned(), architecture)));
        let disk = Disk {
            name: name(disk, words::DISK_FILE),
            format: Some("raw".to_owned()),
            content: DiskContent::Whole(vec![stored(disk)?]),
        };
        let mut files = Vec::new();
        for (media_type, role, file) in
            [(words::AUX, "aux-image", words::AUX_FILE), (words::CONFIG, "config", words::CONFIG_FILE)]
        {
            if let Some(layer) = manifest.at_most_one(media_type)? {
                files.push(File { role: role.to_owned(), name: name(layer, file), content: stored(layer)? });
            }
        }
        Ok(Plan { disks: vec![disk], files, facts })
    }
}

fn name(layer: &OciDescriptor, usual: &str) -> String {
    layer.annotation(TITLE).filter(|title| !title.is_empty()).unwrap_or(usual).to_owned()
}

/// Gzip where both annotations are there, else as it is.
fn stored(layer: &OciDescriptor) -> Result<Stored, Error> {
    let (digest, length) = (layer.sha256(words::CONTENT_DIGEST)?, layer.number(words::CONTENT_SIZE)?);
    Ok(match (digest, length) {
        (Some(_), Some(_)) => Stored { length, digest, ..layer.stored("gzip") },
        _ => layer.as_it_is(),
    })
}

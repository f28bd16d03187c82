//! Reading: the layers in their order are the disk.

use witvirt_sdk::artifact::{
    ArtifactChunk, Claim, Digest, Disk, DiskContent, File, Manifest, OciDescriptor, OciManifest, Plan,
    ReadOptions, Reader, Stored, media_type,
};
use witvirt_sdk::{Error, ErrorKind};

use crate::config::{Config, ImageConfig};
use crate::{LAYOUT, Tart, words};

/// No other artifact has these media types.
const CERTAIN: u8 = 100;

/// Largest config that is looked at; the host shows no larger blob.
const SMALL: u64 = 1 << 20;

/// Apple's framing, see `witvirt:artifact/layout.stored`.
const LZ4: &str = "lz4-apple";

impl Reader for Tart {
    fn layouts() -> Vec<String> {
        vec![LAYOUT.to_owned()]
    }

    fn probe(manifest: &Manifest) -> Option<Claim> {
        let manifest = OciManifest::parse(manifest).ok()?;
        let own = manifest.layers.iter().any(|layer| layer.media_type.starts_with(words::PREFIX));
        let first = manifest.of_type(words::DISK_V1).next();
        let version = if first.is_some() { "disk.v1" } else { "disk.v2" };
        own.then(|| Claim {
            confidence: CERTAIN,
            layout: LAYOUT.to_owned(),
            version: Some(version.to_owned()),
        })
    }

    fn needs(manifest: &Manifest, _: &ReadOptions) -> Result<Vec<Digest>, Error> {
        let manifest = OciManifest::parse(manifest)?;
        let machine = manifest.exactly_one(words::CONFIG)?;
        let image = image_config(&manifest).filter(|image| image.digest != machine.digest);
        Ok([Some(machine), image].into_iter().flatten().map(|blob| blob.digest).collect())
    }

    fn interpret(manifest: &Manifest, blobs: &[(Digest, Vec<u8>)], _: &ReadOptions) -> Result<Plan, Error> {
        let manifest = OciManifest::parse(manifest)?;
        if let Some(layer) = manifest.layers.iter().find(|layer| unknown(&layer.media_type)) {
            let message = format!("a layer of {}, which is not read", layer.media_type);
            return Err(Error::new(ErrorKind::Unsupported, message).with("blob", layer.digest));
        }
        let machine = manifest.exactly_one(words::CONFIG)?;
        let content = |digest| blobs.iter().find(|(found, _)| *found == digest).map(|(_, content)| content);
        let shown = content(machine.digest)
            .ok_or_else(|| Error::new(ErrorKind::InvalidInput, "the machine's config was not handed over"))?;
        let config = Config::parse(shown)?;
        let image = image_config(&manifest).and_then(|image| content(image.digest));
        let image = image.map(|content| ImageConfig::parse(content)).unwrap_or_default();
        let format = image.disk_format().or(config.disk_format()).filter(|format| !format.is_empty());
        let format = format.unwrap_or("raw").to_owned();
        let disk = Disk { name: "disk".to_owned(), format: Some(format), content: disk_content(&manifest)? };
        let mut files = vec![file("config", "config.json", machine)];
        files.extend(manifest.at_most_one(words::NVRAM)?.map(|layer| file("nvram", "nvram.bin", layer)));
        Ok(Plan { disks: vec![disk], files, facts: config.facts() })
    }
}

/// A layer of tart's that this crate does not know.
fn unknown(media_type: &str) -> bool {
    const KNOWN: [&str; 4] = [words::CONFIG, words::DISK_V1, words::DISK_V2, words::NVRAM];
    media_type.starts_with(words::PREFIX) && !KNOWN.contains(&media_type)
}

/// The config of the manifest, where it may hold labels.
fn image_config(manifest: &OciManifest) -> Option<&OciDescriptor> {
    let config = manifest.config.as_ref()?;
    (config.media_type == media_type::OCI_CONFIG && config.size <= SMALL).then_some(config)
}

fn disk_content(manifest: &OciManifest) -> Result<DiskContent, Error> {
    let stated = manifest.number(words::DISK_SIZE)?;
    let first: Vec<Digest> = manifest.of_type(words::DISK_V1).map(|layer| layer.digest).collect();
    let mut second = manifest.of_type(words::DISK_V2).peekable();
    match (first.is_empty(), second.peek().is_none()) {
        (true, false) => chunks(second, stated),
        (false, true) => Ok(DiskContent::Whole(vec![Stored {
            blobs: first,
            encoding: LZ4.to_owned(),
            member: None,
            length: stated,
            digest: None,
        }])),
        (true, true) => Err(Error::new(ErrorKind::Corrupt, "the artifact has no disk")),
        (false, false) => Err(Error::new(ErrorKind::Corrupt, "the artifact has disk layers of two versions")),
    }
}

/// Each layer follows the one before it.
fn chunks<'a>(
    layers: impl Iterator<Item = &'a OciDescriptor>,
    stated: Option<u64>,
) -> Result<DiskContent, Error> {
    let mut end = 0u64;
    let mut chunks = Vec::new();
    for layer in layers {
        let length = layer.number(words::SIZE)?.filter(|length| *length > 0).ok_or_else(|| {
            let message = format!("a disk layer has no annotation {}, or it says 0", words::SIZE);
            Error::new(ErrorKind::Corrupt, message).with("blob", layer.digest)
        })?;
        let content =
            Stored { length: Some(length), digest: layer.sha256(words::DIGEST)?, ..layer.stored(LZ4) };
        chunks.push(ArtifactChunk { offset: end, content });
        end = end.checked_add(length).ok_or_else(|| {
            Error::new(ErrorKind::Corrupt, "the disk layers exceed 2^64 bytes").with("blob", layer.digest)
        })?;
    }
    match stated {
        Some(stated) if stated != end => {
            let message = format!(
                "the manifest says that the disk has {stated} bytes, but its layers have {end} together"
            );
            Err(Error::new(ErrorKind::Corrupt, message))
        }
        _ => Ok(DiskContent::Chunks { size: end, chunks }),
    }
}

fn file(role: &str, name: &str, layer: &OciDescriptor) -> File {
    File { role: role.to_owned(), name: name.to_owned(), content: layer.as_it_is() }
}

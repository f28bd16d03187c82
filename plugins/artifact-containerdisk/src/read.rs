//! Reading: which layers may hold the disk.

use witvirt_sdk::artifact::{
    Claim, Digest, Disk, DiskContent, Manifest, OciManifest, Plan, ReadOptions, Reader, Stored, member_path,
};
use witvirt_sdk::{Error, ErrorKind};

use crate::image::{Config, encoding};
use crate::{ContainerDisk, LAYOUT};

/// Any container image may be one: only its layers can tell.
const POSSIBLE: u8 = 50;

/// Where KubeVirt looks for the disk.
const DIRECTORY: &str = "disk/";

/// Largest image config that is looked at; the host shows no larger blob.
const CONFIG: u64 = 1 << 20;

/// Layers that are searched, from the uppermost: the contract's bound.
const PLACES: usize = 256;

/// CDI takes environment variables of this prefix for labels.
const INSTANCE_TYPE: &str = "INSTANCETYPE_KUBEVIRT_IO_";

/// Facts of one kind that are passed on.
const FACTS: usize = 16;

impl Reader for ContainerDisk {
    fn layouts() -> Vec<String> {
        vec![LAYOUT.to_owned()]
    }

    fn probe(manifest: &Manifest) -> Option<Claim> {
        let manifest = OciManifest::parse(manifest).ok()?;
        let tars = manifest.layers.iter().all(|layer| encoding(&layer.media_type).is_some());
        let possible = tars && manifest.is_container_image() && !manifest.layers.is_empty();
        possible.then(|| Claim { confidence: POSSIBLE, layout: LAYOUT.to_owned(), version: None })
    }

    fn needs(manifest: &Manifest, _: &ReadOptions) -> Result<Vec<Digest>, Error> {
        let config = OciManifest::parse(manifest)?.config;
        Ok(config.into_iter().filter(|config| config.size <= CONFIG).map(|config| config.digest).collect())
    }

    fn interpret(
        manifest: &Manifest,
        blobs: &[(Digest, Vec<u8>)],
        options: &ReadOptions,
    ) -> Result<Plan, Error> {
        let manifest = OciManifest::parse(manifest)?;
        let member = member(options)?;
        let places: Vec<Stored> = manifest
            .layers
            .iter()
            .rev()
            .filter_map(|layer| encoding(&layer.media_type).map(|encoding| (layer, encoding)))
            .take(PLACES)
            .map(|(layer, encoding)| Stored { member: Some(member.clone()), ..layer.stored(encoding) })
            .collect();
        if places.is_empty() {
            let message = "the image has no layer that is a tar, so it holds no /disk";
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        let facts = match blobs.first() {
            Some((_, content)) => facts(&Config::parse(content)?),
            None => Vec::new(),
        };
        let disk = Disk { name: "disk".to_owned(), format: None, content: DiskContent::Whole(places) };
        Ok(Plan { disks: vec![disk], files: Vec::new(), facts })
    }
}

/// The path in the tars: what the user names, as KubeVirt's `path` ("/disk/a.qcow2"), or the directory.
fn member(options: &ReadOptions) -> Result<String, Error> {
    options.member.as_deref().map_or_else(|| Ok(DIRECTORY.to_owned()), member_path)
}

/// What the config says of the machine.
fn facts(config: &Config) -> Vec<(String, String)> {
    let mut facts = Vec::new();
    let mut add = |name: &str, value: Option<&String>| {
        facts.extend(value.map(|value| (name.to_owned(), value.clone())));
    };
    add("os", config.os.as_ref());
    add("architecture", config.architecture.as_ref());
    let Some(process) = &config.config else { return facts };
    let variables = process.env.iter().flatten().filter_map(|variable| variable.split_once('='));
    let labels = variables.filter_map(|(name, value)| {
        let name = name.strip_prefix(INSTANCE_TYPE)?.to_lowercase().replace('_', "-");
        Some((format!("instancetype.kubevirt.io/{name}"), value.to_owned()))
    });
    facts.extend(labels.take(FACTS));
    let labels = process.labels.iter().flatten().filter(|(name, _)| name.contains("kubevirt.io/"));
    facts.extend(labels.take(FACTS).map(|(name, value)| (name.clone(), value.clone())));
    facts
}

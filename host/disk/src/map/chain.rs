//! An image and the images below it.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use witvirt_core::extent::{Finding, Geometry, Reference};
use witvirt_core::format::{Format, Formats, Image};

use super::layer::Layer;
use super::name;
use super::parent::{StoredImages, backing_of, check_identity, follow};
use super::probe::{Ends, known};
use super::raw::{self, RawImage};
use crate::error::{Error, ErrorKind, Result};
use crate::limits::Limits;
use crate::record::SourceRecord;
use crate::request::{Access, SourceFile};
use crate::source::{AllowedDirs, FileSource, Identity, Located, Source};

/// Bytes in a sector.
const SECTOR: u64 = 512;

/// The layers of a disk, the topmost first. Never empty.
pub(crate) struct Chain {
    pub(super) layers: Vec<Layer>,
    references: Vec<Reference>,
}

/// An image before its backing image is known.
pub(super) struct Opened {
    pub(super) image: Box<dyn Image>,
    pub(super) record: SourceRecord,
    geometry: Geometry,
    pub(super) references: Vec<Reference>,
    sources: BTreeMap<u32, Arc<dyn Source>>,
}

impl Chain {
    /// Opens a file and everything that it needs.
    pub(crate) fn open(
        access: Access<'_>,
        images: &dyn StoredImages,
        limits: &Limits,
        file: &SourceFile,
    ) -> Result<Self> {
        Self::of(access, images, limits, access.allowed.open(&file.path)?, file)
    }

    /// Opens everything that an opened file needs; `file` says how to read it.
    pub(crate) fn of(
        access: Access<'_>,
        images: &dyn StoredImages,
        limits: &Limits,
        mut located: Located,
        file: &SourceFile,
    ) -> Result<Self> {
        let mut format = match &file.format {
            Some(format) => format.clone(),
            None => Ends::read(located.source.as_ref())?.format(access.formats, located.source.label())?,
        };
        let mut seen = HashSet::new();
        let mut layers: Vec<Layer> = Vec::new();
        let mut references = None;
        check_depth(0, &mut seen, located.source.as_ref(), limits)?;
        let mut opened = open_image(access, limits, &located, &format)?;
        loop {
            let backing = backing_of(&opened)?.cloned();
            let mut below = None;
            if let Some(reference) = &backing {
                let followed = follow(access, images, &located, reference, file, layers.is_empty())?;
                (located, format) = (followed.located, followed.format);
                check_depth(layers.len() + 1, &mut seen, located.source.as_ref(), limits)?;
                let mut parent = open_image(access, limits, &located, &format)?;
                check_identity(&mut opened, &mut parent, followed.facts)?;
                below = Some(parent);
            }
            let Opened { image, record, geometry, references: named, sources } = opened;
            references.get_or_insert(named);
            layers.push(Layer::new(image, record, geometry, sources, below.is_some(), limits));
            match below {
                None => return Ok(Self { layers, references: references.unwrap_or_default() }),
                Some(parent) => opened = parent,
            }
        }
    }

    /// Opens an image that is all there is of a disk: one that names other files is refused. `format` is a registry name;
    /// absent: probed.
    pub(crate) fn alone(
        formats: &dyn Formats,
        limits: &Limits,
        source: Arc<dyn Source>,
        format: Option<&str>,
    ) -> Result<Self> {
        let nowhere = AllowedDirs::default();
        let access = Access { formats, allowed: &nowhere, references: &nowhere };
        let format = match format {
            Some(format) => format.to_owned(),
            None => Ends::read(source.as_ref())?.format(formats, source.label())?,
        };
        let Opened { image, record, geometry, references, sources } =
            open_image(access, limits, &Located::alone(source), &format)?;
        if let Some(reference) = references.iter().find(|reference| reference.is_backing()) {
            let message = format!(
                "{} is an image over another one, \"{}\", which is not here",
                record.path,
                name::show(&reference.name)
            );
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        let layer = Layer::new(image, record, geometry, sources, false, limits);
        Ok(Self { layers: vec![layer], references })
    }

    /// A raw file of the store.
    pub(crate) fn raw(source: FileSource, limits: &Limits) -> Self {
        let source: Arc<dyn Source> = Arc::new(source);
        let size = source.size();
        let record = SourceRecord {
            path: source.label().to_owned(),
            format: "raw".into(),
            plugin: raw::PLUGIN.into(),
            plugin_version: env!("CARGO_PKG_VERSION").into(),
            size,
            digest: None,
        };
        let geometry = Geometry { virtual_size: size, cluster_size: 0, logical_sector: 512 };
        let sources = BTreeMap::from([(0, source)]);
        let layer = Layer::new(Box::new(RawImage { size }), record, geometry, sources, false, limits);
        Self { layers: vec![layer], references: Vec::new() }
    }

    /// What a guest sees.
    pub(crate) fn geometry(&self) -> Geometry {
        self.layers[0].geometry
    }

    /// The disk's size in whole sectors, as a hypervisor shows it: what an image has short of one reads as zeros.
    pub(crate) fn disk_size(&self) -> u64 {
        self.geometry().virtual_size.next_multiple_of(SECTOR)
    }

    /// The files that the topmost image names.
    pub(crate) fn references(&self) -> &[Reference] {
        &self.references
    }

    /// The topmost file and those below it.
    pub(crate) fn records(&self) -> (SourceRecord, Vec<SourceRecord>) {
        let mut records = self.layers.iter().map(|layer| layer.record.clone());
        // There is always a first one.
        let first = records.next().unwrap_or_else(|| self.layers[0].record.clone());
        (first, records.collect())
    }

    /// Facts about the topmost image, cut to what fits a record.
    pub(crate) fn facts(&mut self) -> Result<Vec<(String, String)>> {
        let facts = self.layers[0].image.facts()?;
        Ok(facts.into_iter().take(64).map(|(key, value)| (name::show(&key), name::show(&value))).collect())
    }

    /// What the topmost image's plugin finds inconsistent.
    pub(crate) fn check(&mut self) -> Result<Vec<Finding>> {
        let mut findings = self.layers[0].image.check()?;
        findings.truncate(1000);
        for finding in &mut findings {
            finding.code = name::show(&finding.code);
            finding.message = name::show(&finding.message);
        }
        Ok(findings)
    }

    /// Whether a file is among those that are read.
    pub(crate) fn reads(&self, file: Identity) -> bool {
        self.layers.iter().flat_map(Layer::sources).any(|source| source.identity() == file)
    }

    /// Compares every file with what it was when it was opened.
    pub(crate) fn verify_unchanged(&self) -> Result<()> {
        self.layers.iter().flat_map(Layer::sources).try_for_each(|source| source.verify_unchanged())
    }
}

fn check_depth(
    depth: usize,
    seen: &mut HashSet<(u64, u64)>,
    source: &dyn Source,
    limits: &Limits,
) -> Result<()> {
    if depth >= limits.max_chain {
        let message =
            format!("{}: more than {} images, each backing the one before", source.label(), limits.max_chain);
        return Err(Error::new(ErrorKind::Limit, message));
    }
    if !seen.insert(source.identity()) {
        let message = format!("{} is below itself in its chain of backing images", source.label());
        return Err(Error::new(ErrorKind::Corrupt, message));
    }
    Ok(())
}

fn open_image(access: Access<'_>, limits: &Limits, located: &Located, format: &str) -> Result<Opened> {
    let source = &located.source;
    let plugin = plugin_for(access.formats, format).map_err(|error| error.during(source.label()))?;
    let failed = |error: witvirt_core::PluginError| Error::from(error).during(source.label());
    let mut image = plugin.open(source.clone(), format).map_err(failed)?;
    let geometry = image.geometry().map_err(failed)?;
    if geometry.virtual_size > limits.max_virtual_size {
        let message = format!(
            "{} is a disk of {} bytes; at most {} are allowed",
            source.label(),
            geometry.virtual_size,
            limits.max_virtual_size
        );
        return Err(Error::new(ErrorKind::Limit, message));
    }
    let references = image.references().map_err(failed)?;
    if references.len() > limits.max_references {
        let message = format!(
            "{} names {} files; at most {} are allowed",
            source.label(),
            references.len(),
            limits.max_references
        );
        return Err(Error::new(ErrorKind::Limit, message));
    }
    let mut sources = BTreeMap::from([(0, source.clone())]);
    for reference in references.iter().filter(|reference| !reference.is_backing()) {
        let Some(part) = open_part(access, located, reference)? else { continue };
        if reference.id == 0 || sources.insert(reference.id, part.clone()).is_some() {
            let message = format!(
                "plugin {} {}: two sources have the id {}",
                plugin.plugin(),
                plugin.version(),
                reference.id
            );
            return Err(Error::new(ErrorKind::Plugin, message));
        }
        image.attach(reference.id, part).map_err(failed)?;
    }
    let record = SourceRecord {
        path: source.label().to_owned(),
        format: format.to_owned(),
        plugin: plugin.plugin().to_owned(),
        plugin_version: plugin.version().to_owned(),
        size: source.size(),
        digest: None,
    };
    Ok(Opened { image, record, geometry, references, sources })
}

/// Opens a part that is no backing image; `None` when it is missing and not needed.
fn open_part(
    access: Access<'_>,
    located: &Located,
    reference: &Reference,
) -> Result<Option<Arc<dyn Source>>> {
    let label = located.source.label();
    name::check(label, &reference.role, &reference.name)?;
    match access.references.open(&located.sibling(&reference.name)) {
        Ok(part) => Ok(Some(part.source)),
        Err(error) if error.kind() == ErrorKind::NotFound && !reference.required => Ok(None),
        Err(error) => Err(error.during(format!("the {} file of {label}", name::show(&reference.role)))),
    }
}

pub(crate) fn plugin_for(formats: &dyn Formats, format: &str) -> Result<Arc<dyn Format>> {
    if let Some(plugin) = formats.by_format(format) {
        return Ok(plugin);
    }
    let message =
        format!("no plugin reads the format \"{}\" (there are: {})", name::show(format), known(formats));
    Err(Error::new(ErrorKind::Unsupported, message))
}

//! One image of a chain: what its plugin says, checked.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use witvirt_core::extent::{Extent, ExtentKind, Geometry};
use witvirt_core::format::Image;

use super::validator::Validator;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::{Limits, PAGE};
use crate::record::SourceRecord;
use crate::source::Source;

/// An opened image with its parts attached.
pub(crate) struct Layer {
    pub(super) image: Box<dyn Image>,
    pub(super) record: SourceRecord,
    pub(super) geometry: Geometry,
    sources: BTreeMap<u32, Arc<dyn Source>>,
    validator: Validator,
    page: VecDeque<Extent>,
}

impl Layer {
    /// `sources` holds the primary file as 0 and the attached parts by their ids.
    pub(super) fn new(
        image: Box<dyn Image>,
        record: SourceRecord,
        geometry: Geometry,
        sources: BTreeMap<u32, Arc<dyn Source>>,
        has_backing: bool,
        limits: &Limits,
    ) -> Self {
        let sizes = sources.iter().map(|(id, source)| (*id, source.size())).collect();
        let validator =
            Validator::new(&record.plugin, &record.plugin_version, geometry.virtual_size, sizes, has_backing)
                .with_limits(limits);
        Self { image, record, geometry, sources, validator, page: VecDeque::new() }
    }

    /// Starts the map over.
    pub(super) fn restart(&mut self) {
        self.page.clear();
        self.validator.restart();
    }

    /// The files of this image.
    pub(super) fn sources(&self) -> impl Iterator<Item = &Arc<dyn Source>> {
        self.sources.values()
    }

    /// An attached file. The validator has seen to it that it is there.
    pub(super) fn source(&self, id: u32) -> Result<Arc<dyn Source>> {
        let missing =
            || Error::new(ErrorKind::Plugin, format!("source {id} of {} is not attached", self.record.path));
        self.sources.get(&id).cloned().ok_or_else(missing)
    }

    /// What lies at `start`, at most up to `end`. `start` never goes back between restarts.
    pub(super) fn extent_at(&mut self, start: u64, end: u64) -> Result<Extent> {
        while self.page.front().is_some_and(|extent| extent.start + extent.length <= start) {
            self.page.pop_front();
        }
        if self.page.is_empty() {
            self.fetch(start)?;
        }
        let extent = self.page.front().ok_or_else(|| Error::new(ErrorKind::Plugin, "the map is empty"))?;
        Ok(clip(extent, start, end))
    }

    fn fetch(&mut self, start: u64) -> Result<()> {
        let length = self.geometry.virtual_size - start;
        let label = &self.record.path;
        let page = self.image.extents(start, length, PAGE);
        let page = page.map_err(|error| Error::from(error).during(label))?;
        let checked = self.validator.check(start, length, PAGE, &page);
        checked.map_err(|error| Error::from(error).during(label))?;
        self.page = page.extents.into();
        Ok(())
    }
}

/// The part of an extent between `start` and `end`, both inside it or beyond its end.
fn clip(extent: &Extent, start: u64, end: u64) -> Extent {
    let skipped = start - extent.start;
    let length = (extent.start + extent.length).min(end) - start;
    let kind = match &extent.kind {
        ExtentKind::Data { source, offset } => ExtentKind::Data { source: *source, offset: offset + skipped },
        ExtentKind::Encoded(encoded) => {
            let mut encoded = encoded.clone();
            // It stays below the decoded length, which is a u32.
            encoded.skip += skipped as u32;
            ExtentKind::Encoded(encoded)
        }
        ExtentKind::Literal(bytes) => {
            let from = skipped as usize;
            ExtentKind::Literal(bytes[from..from + length as usize].to_vec())
        }
        other => other.clone(),
    };
    Extent { start, length, kind }
}

//! A raw file of the store as an image: no plugin has a say about what the host itself wrote.

use std::sync::Arc;

use witvirt_core::error::{ErrorKind, PluginError};
use witvirt_core::extent::{Extent, ExtentKind, Finding, Geometry, Page, Reference};
use witvirt_core::format::Image;
use witvirt_core::source::ByteSource;

/// The whole file, as it is.
pub(super) struct RawImage {
    pub(super) size: u64,
}

/// Stands in messages where a plugin's name would.
pub(super) const PLUGIN: &str = "(store)";

fn never(what: &str) -> PluginError {
    PluginError {
        plugin: PLUGIN.into(),
        version: env!("CARGO_PKG_VERSION").into(),
        kind: ErrorKind::Unsupported,
        message: format!("raw files have no {what}"),
        context: Vec::new(),
    }
}

impl Image for RawImage {
    fn geometry(&mut self) -> Result<Geometry, PluginError> {
        Ok(Geometry { virtual_size: self.size, cluster_size: 0, logical_sector: 512 })
    }

    fn facts(&mut self) -> Result<Vec<(String, String)>, PluginError> {
        Ok(Vec::new())
    }

    fn references(&mut self) -> Result<Vec<Reference>, PluginError> {
        Ok(Vec::new())
    }

    fn attach(&mut self, _: u32, _: Arc<dyn ByteSource>) -> Result<(), PluginError> {
        Err(never("parts"))
    }

    fn extents(&mut self, start: u64, length: u64, _: u32) -> Result<Page, PluginError> {
        let length = length.min(self.size.saturating_sub(start));
        let extents = vec![Extent { start, length, kind: ExtentKind::Data { source: 0, offset: start } }];
        Ok(Page { extents, next: None })
    }

    fn decode(&mut self, _: &str, _: &[u8], _: u32) -> Result<Vec<u8>, PluginError> {
        Err(never("codecs"))
    }

    fn check(&mut self) -> Result<Vec<Finding>, PluginError> {
        Ok(Vec::new())
    }
}

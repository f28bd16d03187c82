//! What is worth showing of an image.

use crate::image::Image;
use crate::read::ReadAt;

impl<R: ReadAt> Image<R> {
    /// Name and value pairs.
    pub fn facts(&self) -> Vec<(String, String)> {
        let (header, metadata) = (&self.front.header, &self.metadata);
        let kind = match (metadata.has_parent, metadata.fixed) {
            (true, _) => "differencing",
            (false, true) => "fixed",
            (false, false) => "dynamic",
        };
        let mut facts = vec![
            ("version", "1".to_owned()),
            ("type", kind.to_owned()),
            ("id", header.data_write_id.to_string()),
            ("file-write-id", header.file_write_id.to_string()),
            ("disk-id", metadata.disk_id.to_string()),
            ("block-size", metadata.block_size.to_string()),
            ("logical-sector", metadata.logical_sector.to_string()),
            ("physical-sector", metadata.physical_sector.to_string()),
            ("log-entries-replayed", self.file.entries.to_string()),
        ];
        if !self.front.creator.is_empty() {
            facts.push(("creator", self.front.creator.clone()));
        }
        if let Some(parent) = &self.parent {
            facts.push(("parent-id", parent.linkage.to_string()));
            facts.extend(parent.linkage2.map(|id| ("parent-id-2", id.to_string())));
        }
        facts.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

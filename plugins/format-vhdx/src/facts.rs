//! What is worth showing of an image.

use witvirt_sdk::disk::ReadAt;

use crate::image::Image;

/// Name and value pairs.
pub(crate) fn facts<R: ReadAt>(image: &Image<R>) -> Vec<(String, String)> {
    let (header, metadata) = (&image.front.header, &image.metadata);
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
        ("log-entries-replayed", image.file.entries.to_string()),
    ];
    if !image.front.creator.is_empty() {
        facts.push(("creator", image.front.creator.clone()));
    }
    if let Some(parent) = &image.parent {
        facts.push(("parent-id", parent.linkage.to_string()));
        facts.extend(parent.linkage2.map(|id| ("parent-id-2", id.to_string())));
    }
    facts.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

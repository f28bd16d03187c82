//! What is worth showing of an image.

use witvirt_sdk::disk::ReadAt;

use crate::header::Uuid;
use crate::image::Image;

/// Name and value pairs; UUIDs only where they are not null.
pub(crate) fn facts<R: ReadAt>(image: &Image<R>) -> Vec<(String, String)> {
    let header = &image.header;
    let mut facts = vec![
        ("version", "1.1".to_owned()),
        ("type", header.kind.name().to_owned()),
        ("block-size", header.block_size.to_string()),
        ("blocks", header.blocks.to_string()),
        ("blocks-allocated", header.allocated.to_string()),
        ("data-offset", header.data_offset.to_string()),
    ];
    if header.block_extra != 0 {
        facts.push(("block-extra", header.block_extra.to_string()));
    }
    if header.disk_size != header.virtual_size() {
        facts.push(("size-in-header", header.disk_size.to_string()));
    }
    let mut id = |name, uuid: Uuid| {
        if !uuid.is_null() {
            facts.push((name, uuid.to_string()));
        }
    };
    id("id", header.id);
    id("modification-id", header.modification);
    id("parent-id", header.linkage);
    id("parent-modification-id", header.parent_modification);
    facts.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

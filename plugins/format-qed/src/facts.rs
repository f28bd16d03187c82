//! What is worth showing of an image.

use witvirt_sdk::disk::{ReadAt, hex};

use crate::image::Image;

/// Name and value pairs.
pub(crate) fn facts<R: ReadAt>(image: &Image<R>) -> Vec<(String, String)> {
    let header = &image.header;
    let need_check = if header.needs_check() { "yes" } else { "no" };
    let mut facts = vec![
        ("cluster-size", header.shape.cluster_size.to_string()),
        ("table-size", header.shape.table_size.to_string()),
        ("need-check", need_check.to_owned()),
    ];
    for (name, bits) in
        [("unknown-compatible-bits", header.compatible), ("unknown-autoclear-bits", header.autoclear)]
    {
        if bits != 0 {
            facts.push((name, hex(bits)));
        }
    }
    facts.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

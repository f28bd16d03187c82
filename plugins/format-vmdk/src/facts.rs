//! What is worth showing of an image.

use witvirt_sdk::disk::ReadAt;

use crate::descriptor::ExtentLine;
use crate::image::Image;
use crate::sparse::hosted::{MARKERS, REDUNDANT, ZEROED_GRAINS};

/// Name and value pairs, always the same names first.
pub(crate) fn facts<R: ReadAt>(image: &Image<R>) -> Vec<(String, String)> {
    let descriptor = &image.descriptor;
    let mut facts = vec![
        ("create-type", descriptor.create_type_name.chars().take(64).collect()),
        ("descriptor-version", descriptor.version.to_string()),
        ("extents", descriptor.extents.len().to_string()),
    ];
    if let Some(cid) = descriptor.cid {
        facts.push(("id", identity(cid)));
    }
    if let Some((cid, _)) = &descriptor.parent {
        facts.push(("parent-id", identity(*cid)));
    }
    if let Some(sparse) = image.sparse().next() {
        facts.push(("grain-size", sparse.grain().to_string()));
        if let Some(header) = sparse.header() {
            facts.push(("version", header.version.to_string()));
            facts.push(("compression", if header.compressed { "zlib" } else { "none" }.to_owned()));
            facts.push(("markers", yes(header.has(MARKERS))));
            facts.push(("zeroed-grains", yes(header.has(ZEROED_GRAINS))));
            facts.push(("redundant-tables", yes(header.has(REDUNDANT))));
            facts.push(("unclean-shutdown", yes(header.unclean)));
        }
    }
    let read_only = |extent: &&ExtentLine| extent.access == crate::descriptor::Access::ReadOnly;
    let read_only = descriptor.extents.iter().filter(read_only).count();
    if read_only > 0 {
        facts.push(("read-only-extents", read_only.to_string()));
    }
    for (name, value) in
        [("adapter-type", &descriptor.adapter_type), ("hardware-version", &descriptor.hardware_version)]
    {
        facts.extend(value.iter().map(|value| (name, value.chars().take(64).collect())));
    }
    facts.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Content identities are compared as text: 8 digits in lower case.
fn identity(cid: u32) -> String {
    format!("{cid:08x}")
}

fn yes(value: bool) -> String {
    if value { "yes" } else { "no" }.to_owned()
}

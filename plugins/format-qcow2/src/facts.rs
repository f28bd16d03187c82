//! What is worth showing of an image.

use witvirt_sdk::disk::{ReadAt, hex};

use crate::header::{BITMAPS_CONSISTENT, DATA_FILE_RAW, DIRTY, LAZY_REFCOUNTS};
use crate::image::Image;

/// Name and value pairs, always the same names first.
pub(crate) fn facts<R: ReadAt>(image: &Image<R>) -> Vec<(String, String)> {
    let header = &image.header;
    let mut facts = vec![
        ("version", header.version.to_string()),
        ("cluster-size", header.cluster_size().to_string()),
        ("compression", header.compression.name().to_owned()),
        ("refcount-bits", (1u32 << header.refcount_order).to_string()),
        ("snapshots", header.snapshots.to_string()),
        ("lazy-refcounts", yes(header.compatible & LAZY_REFCOUNTS != 0)),
        ("dirty", yes(header.incompatible & DIRTY != 0)),
        ("extended-l2", yes(header.extended_l2())),
    ];
    if header.has_data_file() {
        facts.push(("data-file-raw", yes(header.autoclear & DATA_FILE_RAW != 0)));
    }
    if let Some(bitmaps) = image.extensions.bitmaps {
        facts.push(("bitmaps", bitmaps.count.to_string()));
        facts.push(("bitmaps-consistent", yes(header.autoclear & BITMAPS_CONSISTENT != 0)));
    }
    let unknown = header.autoclear & !(BITMAPS_CONSISTENT | DATA_FILE_RAW);
    if unknown != 0 {
        facts.push(("unknown-autoclear-bits", hex(unknown)));
    }
    if header.size != header.virtual_size() {
        facts.push(("size-in-header", header.size.to_string()));
    }
    facts.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn yes(value: bool) -> String {
    if value { "yes" } else { "no" }.to_owned()
}

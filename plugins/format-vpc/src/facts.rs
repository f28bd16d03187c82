//! What is worth showing of an image.

use witvirt_sdk::disk::ReadAt;

use crate::footer::Kind;
use crate::image::Image;

/// Name and value pairs.
pub(crate) fn facts<R: ReadAt>(image: &Image<R>) -> Vec<(String, String)> {
    let footer = image.footer();
    let shape = footer.geometry;
    let mut facts = vec![
        ("version", "1.0".to_owned()),
        ("type", footer.kind.name().to_owned()),
        ("creator", printable(footer.creator)),
        ("id", footer.id.to_string()),
        ("geometry", format!("{}/{}/{}", shape.cylinders, shape.heads, shape.sectors)),
        ("size-from", if footer.by_geometry() { "geometry" } else { "size" }.to_owned()),
        ("size-in-footer", footer.current_size.to_string()),
    ];
    if footer.original_size != footer.current_size {
        facts.push(("original-size", footer.original_size.to_string()));
    }
    if let Some(header) = &image.header {
        facts.push(("block-size", header.block_size.to_string()));
        if footer.kind == Kind::Differencing {
            facts.push(("parent-id", header.parent_id.to_string()));
        }
    }
    if !image.footers.at_end {
        facts.push(("footer", "only the copy at the start".to_owned()));
    }
    facts.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Four bytes that the image's maker chose.
fn printable(creator: [u8; 4]) -> String {
    let text = creator.escape_ascii().to_string();
    text.trim_end().trim_end_matches("\\x00").to_owned()
}

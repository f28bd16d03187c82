//! What is worth showing of an image.

use witvirt_sdk::disk::ReadAt;

use crate::image::Image;
use crate::run::{CODECS, Kind};

/// Name and value pairs, always the same names.
pub(crate) fn facts<R: ReadAt>(image: &Image<R>) -> Vec<(String, String)> {
    let trailer = &image.trailer;
    let variant = match trailer.variant {
        1 => "device".to_owned(),
        2 => "partition".to_owned(),
        other => other.to_string(),
    };
    let facts = [
        ("version", trailer.version.to_string()),
        ("kind", image.kinds()),
        ("variant", variant),
        ("tables", image.checksums.len().to_string()),
        ("runs", image.runs.len().to_string()),
        ("data-checksum", trailer.data_checksum.to_string()),
        ("master-checksum", trailer.master_checksum.to_string()),
    ];
    facts.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

impl<R: ReadAt> Image<R> {
    /// What hdiutil calls it, by the codecs that are used.
    fn kinds(&self) -> String {
        let used = |index: usize| self.runs.iter().any(|run| run.kind == Kind::Encoded(index as u8));
        let kinds: Vec<&str> =
            (0..CODECS.len()).filter(|index| used(*index)).map(|index| CODECS[index].2).collect();
        if kinds.is_empty() { "UDRO".to_owned() } else { kinds.join("+") }
    }
}

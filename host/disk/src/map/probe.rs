//! What a file is, by the plugins' opinion of its ends.

use witvirt_core::extent::Probe;
use witvirt_core::format::{Format, Formats};

use crate::error::{Error, ErrorKind, Result};
use crate::source::Source;

/// How sure two plugins have to be of two formats for a file to count as made to be misread.
const CERTAIN: u8 = 60;

/// What probing sees of a file.
#[derive(Debug, Clone)]
pub(crate) struct Ends {
    /// The first 64 KiB.
    pub(crate) head: Vec<u8>,
    /// The last 4 KiB; nothing where they are not known yet.
    pub(crate) tail: Vec<u8>,
    /// Length in bytes.
    pub(crate) size: u64,
}

impl Ends {
    /// Reads them.
    pub(crate) fn read(source: &dyn Source) -> Result<Self> {
        let size = source.size();
        let mut head = vec![0; size.min(64 << 10) as usize];
        source.read_exact_at(&mut head, 0)?;
        let mut tail = vec![0; size.min(4 << 10) as usize];
        let tail_start = size - tail.len() as u64;
        source.read_exact_at(&mut tail, tail_start)?;
        Ok(Self { head, tail, size })
    }

    /// What one plugin says.
    pub(super) fn probe(&self, plugin: &dyn Format) -> Result<Option<Probe>> {
        Ok(plugin.probe(&self.head, &self.tail, self.size)?)
    }

    /// Asks every plugin what the file is. Raw is never the answer: everything is raw.
    pub(crate) fn format(&self, formats: &dyn Formats, label: &str) -> Result<String> {
        let found = self.opinions(formats)?;
        let Some((_, best)) = found.first() else {
            let message = format!(
                "{label}: no plugin recognises this file (there are: {}); state the format \"raw\" if that is what it is",
                known(formats)
            );
            return Err(Error::new(ErrorKind::Unsupported, message));
        };
        if let Some((_, other)) =
            found.iter().find(|(confidence, format)| *confidence >= CERTAIN && format != best)
        {
            let message = format!("{label} looks like {best} and like {other}: state which format it is");
            return Err(Error::new(ErrorKind::Denied, message));
        }
        Ok(best.clone())
    }

    /// Whether a plugin is certain that this is an image, of `format` where that is given.
    pub(crate) fn is_image(&self, formats: &dyn Formats, format: Option<&str>) -> Result<bool> {
        let fits = |found: &str| format.is_none_or(|format| format == found);
        Ok(self.opinions(formats)?.iter().any(|(confidence, found)| *confidence >= CERTAIN && fits(found)))
    }

    /// The surest first.
    fn opinions(&self, formats: &dyn Formats) -> Result<Vec<(u8, String)>> {
        let mut found: Vec<(u8, String)> = Vec::new();
        for plugin in formats.all() {
            let Some(probe) = self.probe(plugin.as_ref())? else { continue };
            if probe.format != "raw" && plugin.formats().contains(&probe.format) {
                found.push((probe.confidence, probe.format));
            }
        }
        found.sort_by_key(|(confidence, _)| std::cmp::Reverse(*confidence));
        Ok(found)
    }
}

/// The formats that there are plugins for.
pub(super) fn known(formats: &dyn Formats) -> String {
    let mut known: Vec<String> = formats.all().iter().flat_map(|plugin| plugin.formats().to_vec()).collect();
    known.sort();
    known.dedup();
    if known.is_empty() { "none".to_owned() } else { known.join(", ") }
}

/// What one plugin says of a file.
pub(super) fn probe_of(plugin: &dyn Format, source: &dyn Source) -> Result<Option<Probe>> {
    Ends::read(source)?.probe(plugin)
}

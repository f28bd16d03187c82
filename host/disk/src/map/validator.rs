//! Whether a page of a map is one that the host may act on. Pure: no file is touched here.

use std::collections::BTreeMap;
use std::fmt;

use witvirt_core::extent::{Encoded, Extent, ExtentKind, Page};

use crate::limits::{ENCODED_SLACK, Limits, MAX_DECODED, MAX_ENCODED, MAX_LITERAL, SECTOR};

/// How a plugin broke the contract of `witvirt:disk/format`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("plugin {plugin} {version} gave an impossible map at guest byte {offset}: {what}")]
pub struct Violation {
    /// The plugin's name in the config.
    pub plugin: String,
    /// Its version.
    pub version: String,
    /// The guest byte at which it happened.
    pub offset: u64,
    /// What is wrong.
    pub what: String,
}

/// Checks the pages of one image, in the order in which they were asked for, and keeps the totals over all of them.
#[derive(Debug, Clone)]
pub struct Validator {
    plugin: String,
    version: String,
    virtual_size: u64,
    sources: BTreeMap<u32, u64>,
    has_backing: bool,
    max_extents: u64,
    max_data: u64,
    extents: u64,
    data: u64,
    decoded: u64,
    encoded: u64,
    last_encoded: Option<(u32, u64)>,
}

impl Validator {
    /// For an image of `virtual_size` bytes; `sources` maps ids (0: the primary file) to sizes in bytes.
    pub fn new(
        plugin: &str,
        version: &str,
        virtual_size: u64,
        sources: BTreeMap<u32, u64>,
        has_backing: bool,
    ) -> Self {
        let limits = Limits::default();
        Self {
            plugin: plugin.to_owned(),
            version: version.to_owned(),
            virtual_size,
            sources,
            has_backing,
            max_extents: limits.max_extents,
            max_data: limits.max_data,
            extents: 0,
            data: 0,
            decoded: 0,
            encoded: 0,
            last_encoded: None,
        }
    }

    /// With the bounds of `limits` on the totals.
    #[must_use]
    pub fn with_limits(mut self, limits: &Limits) -> Self {
        self.max_extents = limits.max_extents;
        self.max_data = limits.max_data;
        self
    }

    /// Forgets the totals: the map is read from its beginning again.
    pub fn restart(&mut self) {
        (self.extents, self.data, self.last_encoded) = (0, 0, None);
        (self.decoded, self.encoded) = (0, 0);
    }

    /// Checks the answer to `extents(start, length, max)`. `start` lies inside the disk and `length` is not 0.
    ///
    /// # Errors
    /// The first violation. The image must not be used any further.
    pub fn check(&mut self, start: u64, length: u64, max: u32, page: &Page) -> Result<(), Violation> {
        let end = start.saturating_add(length).min(self.virtual_size);
        if page.extents.is_empty() {
            return Err(self.violation(start, "the page is empty".into()));
        }
        if page.extents.len() > max as usize {
            return Err(self.violation(
                start,
                format!("{} extents where at most {max} were asked for", page.extents.len()),
            ));
        }
        let mut at = start;
        for extent in &page.extents {
            at = self.extent(at, end, extent)?;
        }
        match page.next {
            None if at != end => {
                Err(self.violation(at, format!("the map ends here, but was asked for up to {end}")))
            }
            Some(next) if next != at => {
                Err(self.violation(at, format!("the next page is said to start at {next}")))
            }
            Some(_) if at >= end => Err(self.violation(at, "more pages are announced past the end".into())),
            _ => Ok(()),
        }
    }

    /// Checks one extent that has to start at `at`; returns its end.
    fn extent(&mut self, at: u64, end: u64, extent: &Extent) -> Result<u64, Violation> {
        if extent.start != at {
            return Err(self.violation(at, format!("an extent starts at {} instead", extent.start)));
        }
        if extent.length == 0 {
            return Err(self.violation(at, "an extent of length 0".into()));
        }
        let extent_end = match at.checked_add(extent.length) {
            Some(extent_end) if extent_end <= end => extent_end,
            _ => {
                return Err(self
                    .violation(at, format!("an extent of {} bytes, past the end at {end}", extent.length)));
            }
        };
        // A file may end inside the last sector of its disk.
        let in_last = extent_end.saturating_add(SECTOR) > self.virtual_size;
        if extent_end % SECTOR != 0 && extent_end != end && !in_last {
            return Err(self.violation(at, format!("an extent ends at {extent_end}, inside a sector")));
        }
        self.kind(at, extent).map_err(|what| self.violation(at, what))?;
        self.count(extent).map_err(|what| self.violation(at, what))?;
        Ok(extent_end)
    }

    fn kind(&self, at: u64, extent: &Extent) -> Result<(), String> {
        match &extent.kind {
            ExtentKind::Zero | ExtentKind::Unallocated => Ok(()),
            ExtentKind::Parent if self.has_backing => Ok(()),
            ExtentKind::Parent => Err("it refers to a backing image, but there is none".into()),
            ExtentKind::Data { source, offset } => self.inside(*source, *offset, extent.length, 0),
            ExtentKind::Encoded(encoded) => self.encoded(extent.length, encoded),
            ExtentKind::Literal(bytes) if bytes.len() as u64 != extent.length => {
                Err(format!("{} literal bytes for an extent of {} at {at}", bytes.len(), extent.length))
            }
            ExtentKind::Literal(bytes) if bytes.len() as u64 > MAX_LITERAL => {
                Err(format!("{} literal bytes, more than {MAX_LITERAL}", bytes.len()))
            }
            ExtentKind::Literal(_) => Ok(()),
        }
    }

    fn encoded(&self, length: u64, encoded: &Encoded) -> Result<(), String> {
        let decoded = u64::from(encoded.decoded_length);
        if encoded.length == 0 || encoded.length > MAX_ENCODED {
            return Err(format!(
                "an encoded run of {} bytes; 1 to {MAX_ENCODED} are possible",
                encoded.length
            ));
        }
        if decoded > MAX_DECODED {
            return Err(format!("an encoded run that decodes to {decoded} bytes, more than {MAX_DECODED}"));
        }
        if encoded.length > longest_encoded(decoded) {
            return Err(format!("an encoded run of {} bytes that decodes to {decoded}", encoded.length));
        }
        if u64::from(encoded.skip).checked_add(length).is_none_or(|end| end > decoded) {
            return Err(format!(
                "bytes {} + {length} of an encoded run that decodes to {decoded}",
                encoded.skip
            ));
        }
        self.inside(encoded.source, encoded.offset, encoded.length, ENCODED_SLACK)
    }

    /// Whether `length` bytes at `offset` lie in the source; fewer than `slack` of them may be missing.
    fn inside(&self, source: u32, offset: u64, length: u64, slack: u64) -> Result<(), String> {
        let Some(&size) = self.sources.get(&source) else {
            return Err(format!("it refers to source {source}, which was not attached"));
        };
        let reach =
            offset.checked_add(length).ok_or_else(|| format!("{length} bytes at {offset} of a source"))?;
        if reach <= size || (slack > 0 && offset < size && reach - size < slack) {
            return Ok(());
        }
        Err(format!("{length} bytes at {offset} of source {source}, which ends at {size}"))
    }

    fn count(&mut self, extent: &Extent) -> Result<(), String> {
        self.extents += 1;
        if self.extents > self.max_extents {
            return Err(format!("more than {} extents", self.max_extents));
        }
        if !matches!(extent.kind, ExtentKind::Zero | ExtentKind::Unallocated | ExtentKind::Parent) {
            self.data = self.data.saturating_add(extent.length);
        }
        if self.data > self.max_data {
            return Err(format!("more than {} bytes of data", self.max_data));
        }
        if let ExtentKind::Encoded(encoded) = &extent.kind
            && self.last_encoded.replace((encoded.source, encoded.offset))
                != Some((encoded.source, encoded.offset))
        {
            self.decoded = self.decoded.saturating_add(u64::from(encoded.decoded_length));
            self.encoded = self.encoded.saturating_add(encoded.length);
        }
        // A run may be used in pieces, but a map that has megabytes decoded for every sector is meant to cost time.
        let most = self.virtual_size.saturating_mul(4).saturating_add(MAX_DECODED);
        if self.decoded > most {
            return Err(format!("more than {most} bytes to decode for a disk of {}", self.virtual_size));
        }
        let most = longest_encoded(most);
        if self.encoded > most {
            return Err(format!("more than {most} encoded bytes for a disk of {}", self.virtual_size));
        }
        Ok(())
    }

    fn violation(&self, offset: u64, what: String) -> Violation {
        Violation { plugin: self.plugin.clone(), version: self.version.clone(), offset, what }
    }
}

/// Most bytes that may have to be read for what decodes to `decoded` bytes: qcow2 counts the sectors of a compressed
/// cluster in a field that reaches twice the cluster, and containers add headers.
fn longest_encoded(decoded: u64) -> u64 {
    decoded.saturating_mul(2).saturating_add(64 << 10)
}

impl From<Violation> for crate::error::Error {
    fn from(violation: Violation) -> Self {
        Self::new(crate::error::ErrorKind::Plugin, fmt::format(format_args!("{violation}")))
    }
}

#[cfg(test)]
#[path = "validator_tests.rs"]
mod tests;

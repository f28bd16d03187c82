//! What a differencing image says of its parent.

use witvirt_sdk::disk::{le16, le32};

use crate::guid::Guid;
use crate::{Error, ErrorKind, corrupt};

/// The one kind of locator there is.
const VHDX: Guid = Guid::known(0xB04AEFB7_D19E_4A81_B789_25B8E9445913);
const ENTRIES: usize = 20;
const ENTRY: usize = 12;
/// Known keys are a handful; more than this is not a locator.
const MAX_ENTRIES: u16 = 256;
/// Paths, the best first: a relative one survives a move of both files.
const PATHS: [&str; 3] = ["relative_path", "volume_path", "absolute_win32_path"];

/// Path and identity of a parent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parent {
    /// With slashes.
    pub name: String,
    pub linkage: Guid,
    /// Another one that is as good, while a merge is under way.
    pub linkage2: Option<Guid>,
}

impl Parent {
    /// Reads the metadata item.
    ///
    /// # Errors
    /// `corrupt` with what is wrong or missing, `unsupported` for another kind of locator and for a name that is no text.
    pub fn parse(locator: &[u8]) -> Result<Self, Error> {
        let kind = Guid::at(locator, 0).unwrap_or(Guid::ZERO);
        if kind != VHDX {
            let message = format!("the parent is given by a locator of type {kind}, which is not known");
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        let pairs = pairs(locator)?;
        let value = |key: &str| pairs.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str());
        let Some(path) = PATHS.into_iter().filter_map(value).find(|path| !path.is_empty()) else {
            return Err(corrupt("the image has a parent and no path to it that is known"));
        };
        let guid = |key: &str| {
            let text = value(key).filter(|text| !text.is_empty());
            let bad = || corrupt(format!("the parent's {key} is no GUID"));
            text.map(|text| Guid::parse(text).ok_or_else(bad)).transpose()
        };
        let Some(linkage) = guid("parent_linkage")? else {
            return Err(corrupt("the image has a parent and does not say which (parent_linkage)"));
        };
        let linkage2 = guid("parent_linkage2")?.filter(|guid| *guid != Guid::ZERO);
        Ok(Self { name: name(path)?, linkage, linkage2 })
    }
}

fn pairs(locator: &[u8]) -> Result<Vec<(String, String)>, Error> {
    let count = le16(locator, 18).unwrap_or_default();
    if count > MAX_ENTRIES {
        return Err(corrupt("the parent locator has too many entries").with("entries", count));
    }
    let entries = locator.get(ENTRIES..).unwrap_or_default().chunks_exact(ENTRY);
    if entries.len() < count.into() {
        return Err(corrupt("the parent locator is cut short").with("entries", count));
    }
    entries
        .take(count.into())
        .map(|entry| Ok((text(locator, entry, 0, 8)?, text(locator, entry, 4, 10)?)))
        .collect()
}

/// The text whose offset and length in bytes are at these places of an entry.
fn text(locator: &[u8], entry: &[u8], offset: usize, length: usize) -> Result<String, Error> {
    let place = le32(entry, offset).zip(le16(entry, length));
    let bytes = place.and_then(|(start, length)| {
        let start = start as usize;
        locator.get(start..start.checked_add(length.into())?)
    });
    let bytes = bytes.ok_or_else(|| corrupt("a text of the parent locator lies outside it"))?;
    let words = bytes.as_chunks::<2>().0.iter().map(|pair| u16::from_le_bytes(*pair));
    char::decode_utf16(words.take_while(|word| *word != 0))
        .collect::<Result<_, _>>()
        .map_err(|_| Error::new(ErrorKind::Unsupported, "a text of the parent locator is not valid Unicode"))
}

fn name(path: &str) -> Result<String, Error> {
    if path.chars().any(char::is_control) {
        return Err(Error::new(ErrorKind::Unsupported, "the name of the parent has control characters"));
    }
    let mut path = path.replace('\\', "/");
    while let Some(rest) = path.strip_prefix("./") {
        path = rest.to_owned();
    }
    Ok(path)
}

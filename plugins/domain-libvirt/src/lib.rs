//! libvirt domain XML to machine spec.
//!
//! What the XML says is either carried over or reported, element by element and attribute by attribute:
//! - **error**: hardware or contents that the guest would miss, or protection that the user would miss. The host refuses
//!   the machine.
//! - **warning**: the machine runs, but this part is not honoured: tuning, optional channels, whatever is not understood.
//! - **info**: a default of libvirt's was filled in, or the part means nothing outside libvirt (addresses, aliases).
//!
//! An interface on a network that witvirt cannot give is an error, except: networks listed in the setting
//! `nat-networks` (by default libvirt's "default") become a user network, with a warning; the setting `other-networks` can
//! turn the error for all others into a user network or an unplugged card, again with a warning.
//!
//! The format is described at <https://libvirt.org/formatdomain.html>; defaults are those of libvirt 11.3's QEMU driver.

mod boot;
mod clock;
mod converter;
mod cpu;
mod devices;
mod document;
mod domain;
mod draft;
mod features;
mod firmware;
mod lifecycle;
mod memory;
mod metadata;
mod settings;
mod sysinfo;

use document::{Sheet, check};
use witvirt_sdk::core::Name;
use witvirt_sdk::core::domain::Diagnostic;
use witvirt_sdk::core::spec::MachineSpec;

pub use converter::Libvirt;
pub use settings::{FirmwareSettings, InvalidSettings, OtherNetworks, Settings};

/// Result of a conversion.
#[derive(Debug, Clone, PartialEq)]
pub struct Conversion {
    /// The machine: valid unless a diagnostic is an error, a best guess for reading otherwise.
    pub machine: MachineSpec,
    /// What the user should know, in document order.
    pub diagnostics: Vec<Diagnostic>,
}

/// Why a document cannot be read at all.
#[derive(Debug, thiserror::Error)]
pub enum ConvertError {
    /// A bound on the text was passed.
    #[error("the document has more than {most} {what}, at byte {offset}")]
    TooLarge {
        /// What there is too much of.
        what: &'static str,
        /// The bound.
        most: usize,
        /// Where it was passed.
        offset: usize,
    },
    /// Not well-formed XML, or with a document type declaration.
    #[error("not a domain XML document")]
    Xml(#[from] roxmltree::Error),
    /// The root element is another one.
    #[error("the root element is <{found}>, not <domain>")]
    NotDomain {
        /// Its name.
        found: String,
    },
}

/// Most nodes of a document.
const MAX_NODES: u32 = 1 << 16;

/// Converts a domain XML document. `name`: what the machine shall be called instead of the document's own name.
///
/// # Errors
/// [`ConvertError`] where there is no domain to speak of; everything else becomes a diagnostic.
pub fn convert(xml: &str, name: Option<Name>, settings: &Settings) -> Result<Conversion, ConvertError> {
    check(xml)?;
    let options =
        roxmltree::ParsingOptions { allow_dtd: false, nodes_limit: MAX_NODES, ..Default::default() };
    let document = roxmltree::Document::parse_with_options(xml, options)?;
    let root = document.root_element().tag_name();
    if root.name() != "domain" || root.namespace().is_some() {
        let found: String = root.name().chars().take(64).collect();
        return Err(ConvertError::NotDomain { found });
    }
    let sheet = Sheet::new(&document);
    let machine = domain::read(sheet.root(), name, settings);
    Ok(Conversion { machine, diagnostics: sheet.finish() })
}

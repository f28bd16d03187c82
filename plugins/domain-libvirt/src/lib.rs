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
//! What libvirt has no words for stands in `<metadata>`, in one element `machine` of the namespace `urn:witvirt:domain:1`:
//! labels, annotations and the operating system, the run strategy, the patience of a stop, forwarded ports, and the contents of
//! disks whose `<source pool='witvirt' volume='NAME'/>` names them.
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
mod machine;
mod memory;
mod metadata;
mod numa;
mod settings;
mod sources;
mod sysinfo;

use document::Sheet;
use witvirt_sdk::core::Name;
use witvirt_sdk::core::domain::Diagnostic;
use witvirt_sdk::core::spec::MachineSpec;
use witvirt_sdk::domain::Context;
use witvirt_sdk::xml::{Document, ParseError};

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
    /// Not well-formed XML, with a document type declaration, or beyond a bound.
    #[error("not a domain XML document")]
    Xml(#[from] ParseError),
    /// The root element is another one.
    #[error("the root element is <{found}>, not <domain>")]
    NotDomain {
        /// Its name.
        found: String,
    },
}

/// Converts a domain XML document. `name`: what the machine shall be called instead of the document's own name.
///
/// # Errors
/// [`ConvertError`] where there is no domain to speak of; everything else becomes a diagnostic.
pub fn convert(xml: &str, name: Option<Name>, settings: &Settings) -> Result<Conversion, ConvertError> {
    let document = read(xml)?;
    let sheet = Sheet::new(&document);
    let machine = domain::read(sheet.root(), name, settings);
    Ok(Conversion { machine, diagnostics: sheet.finish() })
}

/// What a domain XML document says of the machine besides its hardware: name, labels, annotations, operating system.
///
/// # Errors
/// As [`convert`].
pub fn context(xml: &str, settings: &Settings) -> Result<Context, ConvertError> {
    let document = read(xml)?;
    Ok(domain::context(Sheet::new(&document).root(), settings))
}

fn read(xml: &str) -> Result<Document, ConvertError> {
    let document = Document::parse(xml)?;
    let root = document.root();
    if !document.is(root, "domain") {
        let found: String = document.local_name(root).chars().take(64).collect();
        return Err(ConvertError::NotDomain { found });
    }
    Ok(document)
}

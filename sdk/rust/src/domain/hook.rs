//! Hooks: converters from domain XML to domain XML that change a few places and leave the rest as it is, byte for byte.

use serde::de::DeserializeOwned;
use witvirt_core::domain::{DOMAIN_XML, Diagnostic, Document, Outcome};

use super::{Context, Converter, Options};
use crate::xml::{self, Element};
use crate::{Error, ErrorKind};

/// A plugin that edits domain XML. Each is a [`Converter`], which [`crate::domain_converter`] exports.
///
/// A hook that is run twice has to make what it makes when it is run once: `plugin test` checks that.
pub trait Hook {
    /// As in [`Converter`].
    const NAME: &str;
    /// As in [`Converter`].
    const VERSION: &str;
    /// As in [`Converter`].
    const DESCRIPTION: &str;
    /// As in [`Converter`].
    const SETTINGS_SCHEMA: Option<&str>;

    /// As in [`Converter`].
    type Settings: DeserializeOwned + Default + Send + Sync + 'static;

    /// As in [`Converter`].
    ///
    /// # Errors
    /// Names the key, says what is wrong and what would be right.
    fn check(settings: &Self::Settings) -> Result<(), Error> {
        let _ = settings;
        Ok(())
    }

    /// Changes a document whose root is `<domain>`, and says what its author has to know.
    fn edit(settings: &Self::Settings, domain: &mut xml::Document, context: &Context) -> Vec<Diagnostic>;
}

impl<H: Hook> Converter for H {
    const NAME: &str = H::NAME;
    const VERSION: &str = H::VERSION;
    const DESCRIPTION: &str = H::DESCRIPTION;
    const SETTINGS_SCHEMA: Option<&str> = H::SETTINGS_SCHEMA;
    type Settings = H::Settings;

    fn check(settings: &Self::Settings) -> Result<(), Error> {
        H::check(settings)
    }

    fn conversions() -> Vec<(&'static str, &'static str)> {
        vec![(DOMAIN_XML, DOMAIN_XML)]
    }

    fn convert(
        settings: &Self::Settings,
        input: &Document,
        target: &str,
        options: &Options,
    ) -> Result<Outcome, Error> {
        let mut domain = read(&input.body)?;
        let diagnostics = H::edit(settings, &mut domain, &options.context);
        let document = Document { media_type: target.to_owned(), body: domain.to_string() };
        Ok(Outcome { document, diagnostics })
    }
}

fn read(text: &str) -> Result<xml::Document, Error> {
    let domain = xml::Document::parse(text).map_err(|error| {
        Error::new(ErrorKind::InvalidInput, format!("not a domain XML document: {error}"))
    })?;
    let root = domain.root();
    if domain.local_name(root) != "domain" || domain.namespace(root).is_some() {
        let found: String = domain.local_name(root).chars().take(64).collect();
        let message = format!("the root element is <{}>, not <domain>", found.escape_debug());
        return Err(Error::new(ErrorKind::InvalidInput, message));
    }
    Ok(domain)
}

/// Replaces all devices of a name ("graphics") by others, in the place of those that were there.
pub fn replace_devices(domain: &mut xml::Document, name: &str, elements: Vec<Element>) {
    let devices = domain.find_or_append(domain.root(), "devices");
    let mut there = domain.find_all(devices, name).into_iter();
    let mut last = None;
    for element in elements {
        last = Some(match (there.next(), last) {
            (Some(old), _) => domain.replace(old, element),
            (None, Some(last)) => domain.insert_after(last, element),
            (None, None) => domain.append(devices, element),
        });
    }
    for old in there {
        domain.remove(old);
    }
}

//! The plugin as the host sees it.

use witvirt_sdk::core::domain::{CONTEXT_JSON, DOMAIN_XML, Document, MACHINE_JSON, Outcome};
use witvirt_sdk::domain::{Converter, Options};
use witvirt_sdk::xml::{Fault, ParseError};
use witvirt_sdk::{Error, ErrorKind};

use crate::{ConvertError, Settings};

/// libvirt domain XML to machine spec.
pub struct Libvirt;

impl Converter for Libvirt {
    const NAME: &str = env!("CARGO_PKG_NAME");
    const VERSION: &str = env!("CARGO_PKG_VERSION");
    const DESCRIPTION: &str = "libvirt domain XML to machine spec";
    const SETTINGS_SCHEMA: Option<&str> = Some(Settings::SCHEMA);
    type Settings = Settings;

    fn check(settings: &Settings) -> Result<(), Error> {
        settings.check().map_err(|error| invalid(&error))
    }

    fn conversions() -> Vec<(&'static str, &'static str)> {
        vec![(DOMAIN_XML, MACHINE_JSON), (DOMAIN_XML, CONTEXT_JSON)]
    }

    fn convert(
        settings: &Settings,
        input: &Document,
        target: &str,
        options: &Options,
    ) -> Result<Outcome, Error> {
        if target == CONTEXT_JSON {
            let document = crate::context(&input.body, settings).map_err(refusal)?.document()?;
            return Ok(Outcome { document, diagnostics: Vec::new() });
        }
        let conversion = crate::convert(&input.body, options.name.clone(), settings).map_err(refusal)?;
        let body = serde_json::to_string(&conversion.machine)
            .map_err(|error| Error::new(ErrorKind::Other, format!("cannot write the machine: {error}")))?;
        let document = Document { media_type: MACHINE_JSON.to_owned(), body };
        Ok(Outcome { document, diagnostics: conversion.diagnostics })
    }
}

fn refusal(error: ConvertError) -> Error {
    let kind = match &error {
        ConvertError::Xml(ParseError { fault: Fault::TooMany { .. }, .. }) => ErrorKind::Limit,
        ConvertError::Xml(_) | ConvertError::NotDomain { .. } => ErrorKind::InvalidInput,
    };
    Error { kind, ..invalid(&error) }
}

fn invalid(error: &dyn std::error::Error) -> Error {
    let mut message = error.to_string();
    if let Some(source) = error.source() {
        message.push_str(&format!(": {source}"));
    }
    message.truncate(message.floor_char_boundary(4000));
    Error::new(ErrorKind::InvalidInput, message)
}

witvirt_sdk::domain_converter!(Libvirt);

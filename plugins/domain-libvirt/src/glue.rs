//! The exports of the world `domain-converter`.

use std::sync::OnceLock;

use witvirt_sdk::core::Name;
use witvirt_sdk::core::domain::{DOMAIN_XML, MACHINE_JSON, Severity};
use witvirt_sdk::{Error, ErrorKind, Info, Plugin};

use crate::{ConvertError, Settings};

mod bindings {
    #![allow(missing_docs)]
    wit_bindgen::generate!({
        path: ["../../wit/types", "../../wit/domain"],
        world: "witvirt:domain/domain-converter",
        with: {
            "witvirt:types/errors@0.1.0": witvirt_sdk::errors,
            "witvirt:types/log@0.1.0": witvirt_sdk::log,
        },
    });
}

use bindings::exports::witvirt::domain::converter::{Conversion, Diagnostic, Document, Guest, Outcome};

struct Libvirt;

static SETTINGS: OnceLock<Settings> = OnceLock::new();

impl Plugin for Libvirt {
    fn describe() -> Info {
        Info {
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            description: "libvirt domain XML to machine spec".to_owned(),
            settings_schema: Some(Settings::SCHEMA.to_owned()),
        }
    }

    fn configure(settings: &str) -> Result<(), Error> {
        let settings = Settings::parse(settings).map_err(|error| invalid(&error))?;
        SETTINGS.set(settings).map_err(|_| Error::new(ErrorKind::Other, "configured twice"))
    }
}

impl Guest for Libvirt {
    fn conversions() -> Vec<Conversion> {
        vec![Conversion { source: DOMAIN_XML.to_owned(), target: MACHINE_JSON.to_owned() }]
    }

    fn convert(input: Document, target: String, options: String) -> Result<Outcome, Error> {
        if input.media_type != DOMAIN_XML || target != MACHINE_JSON {
            let message = format!("converts {DOMAIN_XML} to {MACHINE_JSON} only");
            return Err(Error::new(ErrorKind::Unsupported, message)
                .with("source", input.media_type)
                .with("target", target));
        }
        let name = requested_name(&options)?;
        let settings = SETTINGS.get().ok_or_else(|| Error::new(ErrorKind::Other, "not configured"))?;
        let conversion = crate::convert(&input.body, name, settings).map_err(refusal)?;
        let body = serde_json::to_string(&conversion.machine)
            .map_err(|error| Error::new(ErrorKind::Other, format!("cannot write the machine: {error}")))?;
        Ok(Outcome {
            document: Document { media_type: MACHINE_JSON.to_owned(), body },
            diagnostics: conversion.diagnostics.into_iter().map(Into::into).collect(),
        })
    }
}

impl From<witvirt_sdk::core::domain::Diagnostic> for Diagnostic {
    fn from(diagnostic: witvirt_sdk::core::domain::Diagnostic) -> Self {
        let severity = match diagnostic.severity {
            Severity::Error => 1,
            Severity::Warning => 2,
            Severity::Info => 3,
        };
        let witvirt_sdk::core::domain::Diagnostic { code, message, path, line, .. } = diagnostic;
        Self { severity, code, message, path, line }
    }
}

/// `{"name": "..."}`; keys of later contracts are no reason to refuse.
fn requested_name(options: &str) -> Result<Option<Name>, Error> {
    #[derive(serde::Deserialize)]
    struct Options {
        name: Option<Name>,
    }
    let options: Options = serde_json::from_str(options)
        .map_err(|error| Error::new(ErrorKind::InvalidInput, format!("options: {error}")))?;
    Ok(options.name)
}

fn refusal(error: ConvertError) -> Error {
    let kind = match error {
        ConvertError::TooLarge { .. } => ErrorKind::Limit,
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

witvirt_sdk::lifecycle!(Libvirt, bindings);
bindings::export!(Libvirt with_types_in bindings);

//! A converter that misbehaves as its setting "behaviour" says. Without one it answers with the document it was given.
//!
//! Built for WebAssembly only: no native linker takes the names that a component exports.
#![cfg(target_family = "wasm")]

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

mod bindings {
    #![allow(missing_docs)]
    wit_bindgen::generate!({
        path: ["../../../wit/types", "../../../wit/domain"],
        world: "witvirt:domain/domain-converter",
        with: {
            "witvirt:types/errors@0.1.0": witvirt_sdk::errors,
            "witvirt:types/log@0.1.0": witvirt_sdk::log,
        },
    });
}

use bindings::exports::witvirt::domain::converter::{Conversion, Diagnostic, Document, Guest, Outcome};
use witvirt_sdk::{Error, ErrorKind, Info, Plugin};

static BEHAVIOUR: OnceLock<String> = OnceLock::new();
/// Stays 0 in a fresh instance.
static CALLS: AtomicU32 = AtomicU32::new(0);

struct Hostile;

impl Plugin for Hostile {
    fn describe() -> Info {
        Info {
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: "6.6.6".to_owned(),
            description: "misbehaves as told".to_owned(),
            settings_schema: None,
        }
    }

    fn configure(settings: &str) -> Result<(), Error> {
        let settings: serde_json::Value = serde_json::from_str(settings).map_err(|error| {
            Error::new(ErrorKind::InvalidInput, format!("settings are not JSON: {error}"))
        })?;
        let name = settings["behaviour"].as_str().unwrap_or_default();
        BEHAVIOUR.set(name.to_owned()).map_err(|_| Error::new(ErrorKind::Other, "configured twice"))
    }
}

impl Guest for Hostile {
    fn conversions() -> Vec<Conversion> {
        let conversion = Conversion { source: "text/plain".to_owned(), target: "text/plain".to_owned() };
        match BEHAVIOUR.get().map(String::as_str) {
            Some("no-conversions") => Vec::new(),
            _ => vec![conversion],
        }
    }

    fn convert(input: Document, target: String, options: String) -> Result<Outcome, Error> {
        let call = CALLS.fetch_add(1, Ordering::Relaxed);
        let diagnostic = Diagnostic {
            severity: 9,
            code: "hostile.remark".to_owned(),
            message: format!("call {call} with {options}\x1b[2J"),
            path: Some("/a\n".to_owned()),
            line: Some(3),
        };
        let mut outcome = Outcome {
            document: Document { media_type: target, body: input.body },
            diagnostics: vec![diagnostic],
        };
        match BEHAVIOUR.get().map(String::as_str) {
            Some("panic") => panic!("no such element: <{}>", outcome.document.body),
            Some("wrong-type") => outcome.document.media_type = "text/html\n".to_owned(),
            Some("huge-document") => outcome.document.body = "x".repeat((4 << 20) + 1),
            Some("many-diagnostics") => outcome.diagnostics = vec![outcome.diagnostics[0].clone(); 1001],
            _ => {}
        }
        Ok(outcome)
    }
}

witvirt_sdk::lifecycle!(Hostile, bindings);
bindings::export!(Hostile with_types_in bindings);

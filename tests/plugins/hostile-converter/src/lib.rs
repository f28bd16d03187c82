//! A converter that misbehaves as its setting "behaviour" says. Without one it answers with the document it was given; with
//! "find" and "replace", after an edit. Its documents are "text/plain" unless "media-type" says otherwise, for both sides.
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

static SETTINGS: OnceLock<serde_json::Value> = OnceLock::new();
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
        SETTINGS.set(settings).map_err(|_| Error::new(ErrorKind::Other, "configured twice"))
    }
}

fn setting(key: &str) -> Option<&'static str> {
    SETTINGS.get().and_then(|settings| settings[key].as_str())
}

impl Guest for Hostile {
    fn conversions() -> Vec<Conversion> {
        let media_type = setting("media-type").unwrap_or("text/plain").to_owned();
        let conversion = Conversion { source: media_type.clone(), target: media_type };
        match setting("behaviour") {
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
        if let (Some(find), Some(replace)) = (setting("find"), setting("replace")) {
            outcome.document.body = outcome.document.body.replace(find, replace);
        }
        match setting("behaviour") {
            Some("loop") => loop {
                std::hint::black_box(call);
            },
            Some("allocate") => {
                let mut hoard = Vec::new();
                loop {
                    hoard.push(std::hint::black_box(vec![call; 1 << 18]));
                }
            }
            Some("recurse") => outcome.document.body = deeper(u64::from(call)).to_string(),
            Some("error") => {
                return Err(Error::new(ErrorKind::Unsupported, "no machine is good enough"));
            }
            Some("refuse") => outcome.diagnostics[0].severity = 1,
            Some("half") => outcome.document.body.truncate(outcome.document.body.len() / 2),
            Some("nothing") => outcome.document.body.clear(),
            // Grows each time that it is asked.
            Some("grow") => outcome.document.body.push_str("<!-- more -->\n"),
            // Breaks on what it made itself.
            Some("second") if outcome.document.body.contains("<!-- once -->") => panic!("once was enough"),
            Some("second") => outcome.document.body.push_str("<!-- once -->\n"),
            Some("panic") => panic!("no such element: <{}>", outcome.document.body),
            Some("wrong-type") => outcome.document.media_type = "text/html\n".to_owned(),
            Some("huge-document") => outcome.document.body = "x".repeat((4 << 20) + 1),
            Some("many-diagnostics") => outcome.diagnostics = vec![outcome.diagnostics[0].clone(); 1001],
            _ => {}
        }
        Ok(outcome)
    }
}

/// Comes back long after the stack is used up.
fn deeper(at: u64) -> u64 {
    if at == u64::MAX {
        return 0;
    }
    std::hint::black_box(deeper(std::hint::black_box(at + 1)) + at)
}

witvirt_sdk::lifecycle!(Hostile, bindings);
bindings::export!(Hostile with_types_in bindings);

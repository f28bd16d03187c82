//! A policy that answers as its setting "behaviour" says. Without one it allows.
//!
//! Built for WebAssembly only: no native linker takes the names that a component exports.
#![cfg(target_family = "wasm")]

use std::sync::OnceLock;

mod bindings {
    #![allow(missing_docs)]
    wit_bindgen::generate!({
        path: ["../../../wit/types", "../../../wit/device"],
        world: "witvirt:device/device-policy",
        with: {
            "witvirt:types/errors@0.1.0": witvirt_sdk::errors,
            "witvirt:types/log@0.1.0": witvirt_sdk::log,
        },
    });
}

use bindings::exports::witvirt::device::policy::{Decision, Guest, Review, Verdict};
use witvirt_sdk::{Error, ErrorKind, Info, Plugin};

static BEHAVIOUR: OnceLock<String> = OnceLock::new();

struct Hostile;

impl Plugin for Hostile {
    fn describe() -> Info {
        Info {
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: "6.6.6".to_owned(),
            description: "answers as told".to_owned(),
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
    fn evaluate(request: Review) -> Result<Decision, Error> {
        let mut decision = Decision {
            verdict: Verdict::Allow,
            warnings: vec![format!("{} by {}\n", request.operation, request.subject)],
            annotations: vec![("host".to_owned(), request.host)],
        };
        match BEHAVIOUR.get().map(String::as_str) {
            Some("deny") => decision.verdict = Verdict::Deny("no more room\x07".to_owned()),
            Some("patch") => decision.verdict = Verdict::AllowWith(request.object.replace("64", "32")),
            Some("not-json") => decision.verdict = Verdict::AllowWith("{".to_owned()),
            Some("deep-json") => decision.verdict = Verdict::AllowWith("[".repeat(100_000)),
            Some("many-warnings") => decision.warnings = vec![String::new(); 65],
            Some("error") => return Err(Error::new(ErrorKind::Denied, "ask somebody else")),
            _ => {}
        }
        Ok(decision)
    }
}

witvirt_sdk::lifecycle!(Hostile, bindings);
bindings::export!(Hostile with_types_in bindings);

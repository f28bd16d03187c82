mod bindings {
    #![allow(missing_docs)]
    wit_bindgen::generate!({
        path: ["../../wit/types", "../../wit/device"],
        world: "witvirt:device/device-policy",
        with: {
            "witvirt:types/errors@0.1.0": witvirt_sdk::errors,
            "witvirt:types/log@0.1.0": witvirt_sdk::log,
        },
    });
}

use std::sync::OnceLock;

use bindings::exports::witvirt::device::policy::{Decision, Guest, Review, Verdict};
use witvirt_sdk::core::policy;
use witvirt_sdk::{Error, ErrorKind, Info, Plugin};

use crate::judge::evaluate;
use crate::settings::{SCHEMA, Settings};

static SETTINGS: OnceLock<Settings> = OnceLock::new();

struct Capacity;

impl Plugin for Capacity {
    fn describe() -> Info {
        Info {
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            description: "bounds on machines, vCPUs and memory, for the host, a machine and a guest OS"
                .to_owned(),
            settings_schema: Some(SCHEMA.to_owned()),
        }
    }

    fn configure(settings: &str) -> Result<(), Error> {
        let settings = Settings::parse(settings)?;
        SETTINGS.set(settings).map_err(|_| Error::new(ErrorKind::InvalidInput, "configured twice"))
    }
}

impl Guest for Capacity {
    fn evaluate(request: Review) -> Result<Decision, Error> {
        let settings = SETTINGS.get().ok_or_else(|| Error::new(ErrorKind::InvalidInput, "not configured"))?;
        let decision = evaluate(settings, &request.operation, &request.object, &request.host)?;
        let verdict = match decision.verdict {
            policy::Verdict::Allow => Verdict::Allow,
            policy::Verdict::AllowWith(machine) => Verdict::AllowWith(machine.to_string()),
            policy::Verdict::Deny(text) => Verdict::Deny(text),
        };
        Ok(Decision { verdict, warnings: decision.warnings, annotations: decision.annotations })
    }
}

witvirt_sdk::lifecycle!(Capacity, bindings);
bindings::export!(Capacity with_types_in bindings);

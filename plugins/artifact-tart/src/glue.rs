mod bindings {
    #![allow(missing_docs)]
    wit_bindgen::generate!({
        path: ["../../wit/types", "../../wit/artifact"],
        world: "witvirt:artifact/artifact-layout",
        with: {
            "witvirt:types/errors@0.1.0": witvirt_sdk::errors,
            "witvirt:types/log@0.1.0": witvirt_sdk::log,
        },
    });
}

use witvirt_sdk::{Error, Info, Plugin};

use crate::Tart;

impl Plugin for Tart {
    fn describe() -> Info {
        Info {
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            description: "virtual machines that tart pushed, disk and NVRAM".to_owned(),
            settings_schema: None,
        }
    }

    fn configure(settings: &str) -> Result<(), Error> {
        witvirt_sdk::no_settings(settings)
    }
}

witvirt_sdk::lifecycle!(Tart, bindings);
witvirt_sdk::artifact_layout!(Tart, bindings);
bindings::export!(Tart with_types_in bindings);

mod bindings {
    #![allow(missing_docs)]
    wit_bindgen::generate!({
        path: ["../../wit/types", "../../wit/artifact"],
        world: "witvirt:artifact/artifact-layout-publisher",
        with: {
            "witvirt:types/errors@0.1.0": witvirt_sdk::errors,
            "witvirt:types/log@0.1.0": witvirt_sdk::log,
        },
    });
}

use witvirt_sdk::{Error, Info, Plugin};

use crate::MacosVz;

impl Plugin for MacosVz {
    fn describe() -> Info {
        Info {
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            description: "macOS machines in artifacts, as macOS-vz-kubelet reads them".to_owned(),
            settings_schema: None,
        }
    }

    fn configure(settings: &str) -> Result<(), Error> {
        witvirt_sdk::no_settings(settings)
    }
}

witvirt_sdk::lifecycle!(MacosVz, bindings);
witvirt_sdk::artifact_layout!(MacosVz, bindings);
witvirt_sdk::artifact_publisher!(MacosVz, bindings);
bindings::export!(MacosVz with_types_in bindings);

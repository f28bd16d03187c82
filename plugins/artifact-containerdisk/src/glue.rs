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

use crate::ContainerDisk;

impl Plugin for ContainerDisk {
    fn describe() -> Info {
        Info {
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            description: "disks in container images, as KubeVirt and CDI read them".to_owned(),
            settings_schema: None,
        }
    }

    fn configure(settings: &str) -> Result<(), Error> {
        witvirt_sdk::no_settings(settings)
    }
}

witvirt_sdk::lifecycle!(ContainerDisk, bindings);
witvirt_sdk::artifact_layout!(ContainerDisk, bindings);
witvirt_sdk::artifact_publisher!(ContainerDisk, bindings);
bindings::export!(ContainerDisk with_types_in bindings);

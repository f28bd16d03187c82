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

use crate::ContainerDisk;

witvirt_sdk::lifecycle!(ContainerDisk, bindings);
witvirt_sdk::artifact_layout!(ContainerDisk, bindings);
witvirt_sdk::artifact_publisher!(ContainerDisk, bindings);
bindings::export!(ContainerDisk with_types_in bindings);

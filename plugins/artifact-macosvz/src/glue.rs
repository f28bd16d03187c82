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

use crate::MacosVz;

witvirt_sdk::lifecycle!(MacosVz, bindings);
witvirt_sdk::artifact_layout!(MacosVz, bindings);
witvirt_sdk::artifact_publisher!(MacosVz, bindings);
bindings::export!(MacosVz with_types_in bindings);

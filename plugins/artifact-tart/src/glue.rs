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

use crate::Tart;

witvirt_sdk::lifecycle!(Tart, bindings);
witvirt_sdk::artifact_layout!(Tart, bindings);
bindings::export!(Tart with_types_in bindings);

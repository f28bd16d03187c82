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

use crate::Oras;

witvirt_sdk::lifecycle!(Oras, bindings);
witvirt_sdk::artifact_layout!(Oras, bindings);
bindings::export!(Oras with_types_in bindings);

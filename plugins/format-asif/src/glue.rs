mod bindings {
    #![allow(missing_docs)]
    wit_bindgen::generate!({
        path: ["../../wit/types", "../../wit/disk"],
        world: "witvirt:disk/disk-format",
        with: {
            "witvirt:types/errors@0.1.0": witvirt_sdk::errors,
            "witvirt:types/log@0.1.0": witvirt_sdk::log,
        },
    });
}

use crate::Asif;

witvirt_sdk::lifecycle!(Asif, bindings);
witvirt_sdk::disk_format!(Asif, bindings);
bindings::export!(Asif with_types_in bindings);

mod bindings {
    #![allow(missing_docs)]
    wit_bindgen::generate!({
        path: ["../../wit/types", "../../wit/disk"],
        world: "witvirt:disk/disk-format-writer",
        with: {
            "witvirt:types/errors@0.1.0": witvirt_sdk::errors,
            "witvirt:types/log@0.1.0": witvirt_sdk::log,
        },
    });
}

use crate::Vpc;

witvirt_sdk::lifecycle!(Vpc, bindings);
witvirt_sdk::disk_format!(Vpc, bindings);
witvirt_sdk::disk_writer!(Vpc, bindings);
bindings::export!(Vpc with_types_in bindings);

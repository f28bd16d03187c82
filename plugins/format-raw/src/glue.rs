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

use crate::RawDisk;

witvirt_sdk::lifecycle!(RawDisk, bindings);
witvirt_sdk::disk_format!(RawDisk, bindings);
bindings::export!(RawDisk with_types_in bindings);

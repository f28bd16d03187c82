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

use crate::Qcow2;

witvirt_sdk::lifecycle!(Qcow2, bindings);
witvirt_sdk::disk_format!(Qcow2, bindings);
witvirt_sdk::disk_writer!(Qcow2, bindings);
bindings::export!(Qcow2 with_types_in bindings);

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

use crate::Vmdk;

witvirt_sdk::lifecycle!(Vmdk, bindings);
witvirt_sdk::disk_format!(Vmdk, bindings);
witvirt_sdk::disk_writer!(Vmdk, bindings);
bindings::export!(Vmdk with_types_in bindings);

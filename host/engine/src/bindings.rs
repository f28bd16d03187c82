//! What wasmtime makes of the contract in `wit/`.
//!
//! One world per exported interface instead of the contract's own worlds: `lifecycle` and its types are bound once for
//! all kinds, and `layout` can be looked up in plugins that have it.
#![allow(missing_docs)]

pub(crate) mod plugin {
    wasmtime::component::bindgen!({
        path: ["../../wit/types"],
        inline: "
            package witvirt:host;
            world plugin {
                import witvirt:types/errors@0.1.0;
                import witvirt:types/log@0.1.0;
                export witvirt:types/lifecycle@0.1.0;
            }
        ",
        world: "witvirt:host/plugin",
        imports: { default: trappable },
    });
}

pub(crate) mod format {
    wasmtime::component::bindgen!({
        path: ["../../wit/types", "../../wit/disk"],
        inline: "
            package witvirt:host;
            world format {
                import witvirt:disk/io@0.1.0;
                export witvirt:disk/format@0.1.0;
            }
        ",
        world: "witvirt:host/format",
        imports: { default: trappable },
        with: {
            "witvirt:types/errors@0.1.0": super::plugin::witvirt::types::errors,
            "witvirt:disk/io.source": crate::state::Source,
        },
    });
}

pub(crate) mod layout {
    wasmtime::component::bindgen!({
        path: ["../../wit/types", "../../wit/disk"],
        inline: "
            package witvirt:host;
            world layout {
                export witvirt:disk/layout@0.1.0;
            }
        ",
        world: "witvirt:host/layout",
        with: { "witvirt:types/errors@0.1.0": super::plugin::witvirt::types::errors },
    });
}

pub(crate) mod converter {
    wasmtime::component::bindgen!({
        path: ["../../wit/types", "../../wit/domain"],
        inline: "
            package witvirt:host;
            world converter {
                export witvirt:domain/converter@0.1.0;
            }
        ",
        world: "witvirt:host/converter",
        with: { "witvirt:types/errors@0.1.0": super::plugin::witvirt::types::errors },
    });
}

pub(crate) mod policy {
    wasmtime::component::bindgen!({
        path: ["../../wit/types", "../../wit/device"],
        inline: "
            package witvirt:host;
            world policy {
                export witvirt:device/policy@0.1.0;
            }
        ",
        world: "witvirt:host/policy",
        with: { "witvirt:types/errors@0.1.0": super::plugin::witvirt::types::errors },
    });
}

pub(crate) mod artifact {
    wasmtime::component::bindgen!({
        path: ["../../wit/types", "../../wit/artifact"],
        inline: "
            package witvirt:host;
            world artifact {
                export witvirt:artifact/layout@0.1.0;
            }
        ",
        world: "witvirt:host/artifact",
        with: { "witvirt:types/errors@0.1.0": super::plugin::witvirt::types::errors },
    });
}

pub(crate) mod publish {
    wasmtime::component::bindgen!({
        path: ["../../wit/types", "../../wit/artifact"],
        inline: "
            package witvirt:host;
            world publish {
                export witvirt:artifact/publish@0.1.0;
            }
        ",
        world: "witvirt:host/publish",
        with: { "witvirt:types/errors@0.1.0": super::plugin::witvirt::types::errors },
    });
}

pub(crate) use plugin::witvirt::types::errors::{Error, ErrorKind};

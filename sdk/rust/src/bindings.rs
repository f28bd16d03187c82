//! What wit-bindgen makes of the interfaces that all worlds share.
#![allow(missing_docs)]

wit_bindgen::generate!({
    path: "../../wit/types",
    inline: "package witvirt:sdk; world shared { import witvirt:types/errors@0.1.0; import witvirt:types/log@0.1.0; }",
    world: "witvirt:sdk/shared",
    generate_all,
    generate_unused_types: true,
});

pub use self::witvirt::types::{errors, log};

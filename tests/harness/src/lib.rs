//! What the demo, the end-to-end tests and the benchmarks share: a small real guest made from Debian's cloud kernel and
//! busybox, installations
//! of witvirt in temporary directories, and the programs that takes.

use std::path::{Path, PathBuf};

pub mod debian;
pub mod efi;
pub mod front;
pub mod guest;
pub mod host;
pub mod macos;
pub mod netboot;
pub mod oci;
pub mod registry;
pub mod terminal;
pub mod tools;
pub mod web;

/// The root of the workspace.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).expect("the crate lies two levels below the root").to_path_buf()
}

/// The built components.
pub fn plugins() -> PathBuf {
    root().join("target/plugins")
}

/// The built `witvirt`.
pub fn witvirt() -> PathBuf {
    root().join("target/release/witvirt")
}

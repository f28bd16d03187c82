//! Manifests to try things with.

use std::path::{Path, PathBuf};

/// Below the crate.
pub fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The shared data; `None`, and a line that says so, where it is not.
pub fn data(path: &str) -> Option<PathBuf> {
    let path = here("../../../shared/data").join(path);
    if path.exists() {
        return Some(path);
    }
    println!("skipped: {} is not there", path.display());
    None
}

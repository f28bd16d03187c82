//! Manifests to try things with.

use std::fs;
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

/// Our own manifests and KubeVirt's examples, by name.
pub fn manifests() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for directory in [Some(here("tests/golden")), data("kubevirt/examples")].into_iter().flatten() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "yaml") {
                let name = path.file_name().unwrap().to_str().unwrap().to_owned();
                found.push((name, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

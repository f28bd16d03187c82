//! A site whose daemon reads artifacts, and what its tests know of images.

use sha2::{Digest as _, Sha256};
use witvirt_harness::registry::Registry;

use crate::support::{Site, plugin};

/// Plugins that read and write what the tests here have.
const PLUGINS: [(&str, &str); 6] = [
    ("format-qcow2", "disk-format"),
    ("format-raw", "disk-format"),
    ("artifact-containerdisk", "artifact-layout"),
    ("artifact-macosvz", "artifact-layout"),
    ("artifact-tart", "artifact-layout"),
    ("artifact-oras", "artifact-layout"),
];

/// A site with the plugins and `more` in its config; `None`, with the reason printed, where a plugin was not built.
pub fn site(more: &str) -> Option<Site> {
    let mut text = String::new();
    for (name, kind) in PLUGINS {
        let file = plugin(name)?;
        text += &format!("[[plugin]]\nname = \"{name}\"\nkind = \"{kind}\"\nfile = {file:?}\n");
    }
    // Native code is compiled once for all tests.
    let cache = witvirt_harness::root().join("target/cwasm");
    let site = Site::new("");
    let base = std::fs::read_to_string(site.config()).unwrap();
    let base = base.replace("cache-directory = \"cache\"", &format!("cache-directory = {cache:?}"));
    std::fs::write(site.config(), format!("{base}{text}{more}")).unwrap();
    Some(site)
}

/// A registry without a password.
pub fn open_registry() -> Option<Registry> {
    Registry::start(&Default::default()).unwrap()
}

/// The table of a registry that is spoken to by plain HTTP.
pub fn plain(host: &str) -> String {
    format!("[registry.\"{host}\"]\nplain-http = true\n")
}

/// Bytes that differ everywhere, a whole number of sectors, with a hole in the middle.
pub fn content(seed: u32, size: usize) -> Vec<u8> {
    let word = |index: u32| (index ^ seed).wrapping_mul(2_654_435_761).rotate_left(seed % 31).to_le_bytes();
    let mut bytes: Vec<u8> = (0..size as u32).flat_map(word).take(size).collect();
    bytes[size / 2..size / 2 + size / 8].fill(0);
    bytes
}

/// "sha256:..." of bytes.
pub fn sha256(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// The stored disk of an image, by its name.
pub fn disk(site: &Site, name: &str) -> Vec<u8> {
    let image = site.json(&["image", "inspect", name]);
    let digest = image["digest"].as_str().unwrap().trim_start_matches("sha256:").to_owned();
    std::fs::read(site.path("state/images/images").join(digest).join("disk.raw")).unwrap()
}

/// What of unfinished work lies in the store.
pub fn unfinished(site: &Site) -> Vec<String> {
    let entries = std::fs::read_dir(site.path("state/images/tmp")).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

//! UEFI firmware that annotations name. The converter "boot-loader" of droidvirt's `osx-hook-sidecar`.
//!
//! | annotation | change |
//! | --- | --- |
//! | `loader.osx-kvm.io/path` | `<os><loader readonly='yes' secure='no' type='pflash'>PATH</loader>` |
//! | `nvram.osx-kvm.io/path` | `<os><nvram>PATH</nvram>` |
//!
//! The paths can be images of the store: the setting `firmware-images` of domain-libvirt says which.

use witvirt_sdk::core::domain::{Diagnostic, Severity};
use witvirt_sdk::domain::{Context, Hook};
use witvirt_sdk::xml::{Document, Element, Id};

const LOADER: &str = "loader.osx-kvm.io/path";
const NVRAM: &str = "nvram.osx-kvm.io/path";
/// Bytes of a path, as Linux has it.
const PATH_MOST: usize = 4095;

/// The plugin.
pub struct BootLoader;

impl Hook for BootLoader {
    const NAME: &str = env!("CARGO_PKG_NAME");
    const VERSION: &str = env!("CARGO_PKG_VERSION");
    const DESCRIPTION: &str = "UEFI firmware by annotation";
    const SETTINGS_SCHEMA: Option<&str> = None;
    type Settings = ();

    fn edit((): &(), domain: &mut Document, context: &Context) -> Vec<Diagnostic> {
        let mut found = Vec::new();
        let loader = path(context, LOADER, &mut found);
        let nvram = path(context, NVRAM, &mut found);
        if loader.is_none() && nvram.is_none() {
            return found;
        }
        let os = domain.find_or_append(domain.root(), "os");
        if let Some(path) = loader {
            // A file of one's own and libvirt's choice of one exclude each other.
            domain.remove_attribute(os, "firmware");
            if let Some(features) = domain.find(os, "firmware") {
                domain.remove(features);
            }
            let loader = Element::new("loader").attribute("readonly", "yes").attribute("secure", "no");
            put(domain, os, "loader", loader.attribute("type", "pflash").text(path));
        }
        if let Some(path) = nvram {
            put(domain, os, "nvram", Element::new("nvram").text(path));
        }
        found
    }
}

fn put(domain: &mut Document, os: Id, name: &str, element: Element) {
    match domain.find(os, name) {
        Some(there) => domain.replace(there, element),
        None => domain.append(os, element),
    };
}

fn path<'a>(context: &'a Context, annotation: &str, found: &mut Vec<Diagnostic>) -> Option<&'a str> {
    let path = context.annotations.get(annotation)?.trim();
    if path.starts_with('/') && path.len() <= PATH_MOST && !path.contains(char::is_control) {
        return Some(path);
    }
    let shown: String = path.chars().take(64).collect();
    let message = format!(
        "the annotation {annotation} has to be an absolute path of a file: \"{}\" is none",
        shown.escape_debug()
    );
    found.push(Diagnostic::new(Severity::Error, "boot-loader.path", message));
    None
}

witvirt_sdk::domain_converter!(BootLoader);

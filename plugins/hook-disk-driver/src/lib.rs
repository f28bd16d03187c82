//! Drivers of disks that annotations name. The converter "disk-driver" of droidvirt's `osx-hook-sidecar` and
//! `define-domain-sidecar`.
//!
//! | annotation | value |
//! | --- | --- |
//! | `disk.droidvirt.io/names` | aliases of disks, with commas in between; KubeVirt's names of them, with or without `ua-` |
//! | `disk.droidvirt.io/driverType` | format of their images; "qcow2" when absent |
//!
//! The driver of each becomes `<driver name='qemu' type='TYPE'/>`: what was said of cache, io and errors is gone.

use witvirt_sdk::core::domain::{Diagnostic, Severity};
use witvirt_sdk::domain::{Context, Hook};
use witvirt_sdk::xml::{Document, Element, Id};

const NAMES: &str = "disk.droidvirt.io/names";
const TYPE: &str = "disk.droidvirt.io/driverType";
const USUAL: &str = "qcow2";
/// Names that are read.
const NAMES_MOST: usize = 256;

/// The plugin.
pub struct DiskDriver;

impl Hook for DiskDriver {
    const NAME: &str = env!("CARGO_PKG_NAME");
    const VERSION: &str = env!("CARGO_PKG_VERSION");
    const DESCRIPTION: &str = "drivers of disks by annotation";
    const SETTINGS_SCHEMA: Option<&str> = None;
    type Settings = ();

    fn edit((): &(), domain: &mut Document, context: &Context) -> Vec<Diagnostic> {
        let mut found = Vec::new();
        let Some(names) = context.annotations.get(NAMES) else { return found };
        let kind = context.annotations.get(TYPE).map_or(USUAL, |kind| kind.trim());
        if kind.is_empty() || kind.len() > 32 || !kind.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            found.push(ignored(TYPE, kind, "the name of a format is expected, such as \"qcow2\" or \"raw\""));
            return found;
        }
        let disks = domain.find_all(domain.root(), "devices/disk");
        let names = names.split(',').map(str::trim).filter(|name| !name.is_empty());
        for name in names.take(NAMES_MOST) {
            let disk = disks.iter().copied().find(|disk| is_called(domain, *disk, name));
            match disk {
                Some(disk) => set_driver(domain, disk, kind),
                None => found.push(ignored(NAMES, name, "no disk has this alias")),
            }
        }
        found
    }
}

fn is_called(domain: &Document, disk: Id, name: &str) -> bool {
    let alias = domain.find(disk, "alias").and_then(|alias| domain.attribute(alias, "name"));
    alias.is_some_and(|alias| alias == name || alias.strip_prefix("ua-") == Some(name))
}

fn set_driver(domain: &mut Document, disk: Id, kind: &str) {
    let driver = Element::new("driver").attribute("name", "qemu").attribute("type", kind);
    match domain.find(disk, "driver") {
        Some(there) => domain.replace(there, driver),
        None => domain.append(disk, driver),
    };
}

fn ignored(annotation: &str, text: &str, why: &str) -> Diagnostic {
    let text: String = text.chars().take(64).collect();
    let message = format!("the annotation {annotation} is ignored: \"{}\": {why}", text.escape_debug());
    Diagnostic::new(Severity::Warning, "disk-driver.annotation", message)
}

witvirt_sdk::domain_converter!(DiskDriver);

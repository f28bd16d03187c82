//! Texts in the SMBIOS tables.

use crate::draft::{Draft, text_element, writable};
use crate::tree::Field;
use witvirt_sdk::xml::Element;

const CHASSIS: &[&str] = &["manufacturer", "version", "serial", "asset", "sku"];

fn entry(name: &str, value: &str) -> Element {
    text_element("entry", value).attribute("name", name)
}

fn given(from: Field<'_>, name: &'static str) -> Option<Element> {
    let value = from.text(name)?;
    writable(from.get(name)?, value).then(|| entry(name, value))
}

/// Of KubeVirt's own values only those that are not empty.
pub(super) fn read(draft: &Draft<'_>) -> Option<Element> {
    let mut system = Element::new("system");
    if let Some(uuid) = super::firmware::uuid(draft) {
        system = system.child(entry("uuid", &uuid));
    }
    let serial = draft.domain.get("firmware").and_then(|firmware| given(firmware, "serial"));
    system = serial.into_iter().fold(system, Element::child);
    for (name, value) in [("manufacturer", "KubeVirt"), ("family", "KubeVirt"), ("product", "None")] {
        system = system.child(entry(name, value));
    }
    let mut sysinfo = Element::new("sysinfo").attribute("type", "smbios").child(system);
    if let Some(chassis) = draft.domain.get("chassis") {
        let entries: Vec<_> = CHASSIS.iter().filter_map(|name| given(chassis, name)).collect();
        if !entries.is_empty() {
            sysinfo = sysinfo.child(entries.into_iter().fold(Element::new("chassis"), Element::child));
        }
    }
    Some(sysinfo)
}

//! The domain: every field group of a VirtualMachineInstance except devices and volumes.

mod clock;
mod cpu;
mod features;
mod firmware;
mod memory;
mod scheduling;
mod sysinfo;

use crate::devices;
use crate::draft::{Draft, text_element};
use crate::metadata;
use crate::tree::Waiver;
use witvirt_sdk::xml::Element;

const CONFIDENTIAL: Waiver =
    Waiver::error("kubevirt.security", "cannot be given, and the guest would run without this protection");
const IO_THREADS: Waiver =
    Waiver::info("kubevirt.tuning", "how requests are spread over threads is the hypervisor's choice");

/// Converts an expanded machine.
pub(crate) fn convert(draft: &mut Draft<'_>) -> Element {
    let name = metadata::domain_name(draft);
    let mut domain = Element::new("domain")
        .attribute("type", "kvm")
        .attribute("xmlns:qemu", "http://libvirt.org/schemas/domain/qemu/1.0")
        .child(text_element("name", name));
    if let Some(uuid) = firmware::uuid(draft) {
        domain = domain.child(text_element("uuid", uuid));
    }
    let mut parts = memory::read(draft);
    parts.extend(cpu::vcpus(draft));
    parts.extend(sysinfo::read(draft));
    parts.push(firmware::read(draft));
    parts.push(features::read(draft));
    parts.push(cpu::read(draft));
    parts.extend(clock::read(draft));
    parts.extend(reboot_policy(draft));
    draft.domain.waive_fields(&["launchSecurity"], &CONFIDENTIAL);
    draft.domain.waive_fields(&["ioThreadsPolicy", "ioThreads"], &IO_THREADS);
    parts.push(devices::read(draft));
    scheduling::read(draft);
    let domain = domain.child(metadata::read(draft));
    parts.into_iter().fold(domain, Element::child)
}

fn reboot_policy(draft: &Draft<'_>) -> Option<Element> {
    let policy = draft.domain.get("rebootPolicy")?;
    match policy.choose(&[("Reboot", false), ("Terminate", true)])? {
        true => Some(text_element("on_reboot", "destroy")),
        false => None,
    }
}

//! Devices that take a few lines each.

use witvirt_sdk::xml::Element;

use crate::draft::{alias, alias_element};
use crate::tree::{Field, Waiver};

const S390: Waiver = Waiver::error("kubevirt.device.architecture", "only for s390x guests");

pub(super) fn read(devices: Field<'_>) -> Vec<Element> {
    let mut parts: Vec<_> = devices.list("inputs").into_iter().filter_map(input).collect();
    devices.flag("autoattachInputDevice");
    if devices.get("rng").is_some_and(Field::object) {
        let backend = Element::new("backend").attribute("model", "random").text("/dev/urandom");
        parts.push(Element::new("rng").attribute("model", "virtio").child(backend));
    }
    parts.extend(devices.get("watchdog").and_then(watchdog));
    parts.extend(devices.get("tpm").and_then(tpm));
    parts.extend(devices.get("sound").and_then(sound));
    let balloon = if devices.flag("autoattachMemBalloon") == Some(false) { "none" } else { "virtio" };
    parts.push(Element::new("memballoon").attribute("model", balloon));
    parts.extend(devices.list("panicDevices").into_iter().filter_map(panic_device));
    parts
}

/// Whether an input is on USB; nothing is reported.
pub(super) fn needs_usb(devices: Field<'_>) -> bool {
    let tree = devices.tree;
    let inputs = tree.child(devices.id, "inputs").map(|list| tree.items(list)).unwrap_or_default();
    let client = tree.child(devices.id, "clientPassthrough").is_some();
    let usb = |id| tree.child(id, "bus").and_then(|bus| tree.text(bus)) == Some("usb");
    client || inputs.into_iter().any(usb)
}

fn input(input: Field<'_>) -> Option<Element> {
    let alias = alias(input)?;
    let kind = input.get("type")?.choose(&[("tablet", "tablet"), ("keyboard", "keyboard")]);
    let bus = input.get("bus")?.choose(&[("usb", "usb"), ("virtio", "virtio")]);
    let element = Element::new("input").attribute("type", kind?).attribute("bus", bus?);
    Some(element.child(alias_element(&alias)))
}

fn watchdog(watchdog: Field<'_>) -> Option<Element> {
    let alias = alias(watchdog)?;
    watchdog.waive_fields(&["diag288"], &S390);
    let model = watchdog.get("i6300esb")?;
    let actions = ["poweroff", "reset", "shutdown"].map(|action| (action, action));
    let action = model.get("action")?.choose(&actions)?;
    let element = Element::new("watchdog").attribute("model", "i6300esb").attribute("action", action);
    Some(element.child(alias_element(&alias)))
}

fn tpm(tpm: Field<'_>) -> Option<Element> {
    let persistent = tpm.flag("persistent").unwrap_or(false);
    if !tpm.flag("enabled").unwrap_or(true) {
        return None;
    }
    let backend = Element::new("backend").attribute("type", "emulator").attribute("version", "2.0");
    // KubeVirt's choice: the newer interface came with persistence.
    let (model, backend) = match persistent {
        true => ("tpm-crb", backend.attribute("persistent_state", "yes")),
        false => ("tpm-tis", backend),
    };
    Some(Element::new("tpm").attribute("model", model).child(backend))
}

fn sound(sound: Field<'_>) -> Option<Element> {
    let alias = alias(sound)?;
    let model = sound.get("model").filter(|model| model.string() != Some(""));
    let model = model.map_or(Some("ich9"), |model| model.choose(&[("ich9", "ich9"), ("ac97", "ac97")]));
    Some(Element::new("sound").attribute("model", model?).child(alias_element(&alias)))
}

fn panic_device(device: Field<'_>) -> Option<Element> {
    device.object();
    let models = ["isa", "hyperv", "pvpanic"].map(|model| (model, model));
    let Some(model) = device.get("model") else { return Some(Element::new("panic")) };
    Some(Element::new("panic").attribute("model", model.choose(&models)?))
}

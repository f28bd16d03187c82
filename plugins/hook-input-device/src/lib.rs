//! Keyboards, mouse and tablet that macOS has drivers for, and the USB controller below them. The converter "input-device"
//! of droidvirt's `osx-hook-sidecar`.

use serde::Deserialize;
use witvirt_sdk::core::domain::{Diagnostic, Severity};
use witvirt_sdk::domain::{Context, Hook, replace_devices};
use witvirt_sdk::xml::{Document, Element, Id};

/// Kind and bus, in the order of attachment.
const INPUTS: [(&str, &str); 4] =
    [("keyboard", "ps2"), ("mouse", "ps2"), ("tablet", "usb"), ("keyboard", "usb")];

/// The plugin.
pub struct InputDevice;

/// Its settings.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Settings {
    /// Model of the USB controller.
    pub controller: Controller,
}

/// Models of USB controllers that macOS knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Controller {
    /// USB 1.1, droidvirt's choice: as many ports as there are devices here.
    #[default]
    Piix3Uhci,
    /// USB 2.0, with companions for USB 1.1.
    Ich9Ehci1,
    /// USB 3.0.
    QemuXhci,
    /// USB 3.0.
    NecXhci,
}

impl Controller {
    fn name(self) -> &'static str {
        match self {
            Self::Piix3Uhci => "piix3-uhci",
            Self::Ich9Ehci1 => "ich9-ehci1",
            Self::QemuXhci => "qemu-xhci",
            Self::NecXhci => "nec-xhci",
        }
    }
}

impl Hook for InputDevice {
    const NAME: &str = env!("CARGO_PKG_NAME");
    const VERSION: &str = env!("CARGO_PKG_VERSION");
    const DESCRIPTION: &str = "keyboards, mouse and tablet that macOS knows";
    const SETTINGS_SCHEMA: Option<&str> = Some(include_str!("../settings.schema.json"));
    type Settings = Settings;

    fn edit(settings: &Settings, domain: &mut Document, _: &Context) -> Vec<Diagnostic> {
        let input = |(kind, bus)| Element::new("input").attribute("type", kind).attribute("bus", bus);
        replace_devices(domain, "input", INPUTS.map(input).into());
        controller(domain, settings.controller.name())
    }
}

/// Makes USB controller 0 the one of this model. libvirt refuses two of one number, so that others of it give way.
fn controller(domain: &mut Document, model: &str) -> Vec<Diagnostic> {
    let devices = domain.find_or_append(domain.root(), "devices");
    let is_usb = |id: &Id| domain.attribute(*id, "type").is_some_and(|kind| kind == "usb");
    let usb: Vec<Id> = domain.find_all(devices, "controller").into_iter().filter(is_usb).collect();
    let first: Vec<Id> = usb.into_iter().filter(|id| number(domain, *id) == 0).collect();
    let Some((kept, others)) = first.split_first() else {
        let element = Element::new("controller").attribute("type", "usb").attribute("index", "0");
        domain.append(devices, element.attribute("model", model));
        return Vec::new();
    };
    let mut found = Vec::new();
    let companions = model == "ich9-ehci1";
    for id in others.iter().copied() {
        let named = domain.attribute(id, "model").unwrap_or_default().into_owned();
        if companions && named.starts_with("ich9-uhci") {
            continue;
        }
        domain.remove(id);
    }
    let kept = *kept;
    let named = domain.attribute(kept, "model").map(|model| model.into_owned());
    if named.as_deref() == Some(model) {
        return found;
    }
    // "none" stands for no controller; anything else was somebody's choice.
    if let Some(named) = named.filter(|named| named != "none") {
        let message = format!("the USB controller 0 is {model} instead of {}", named.escape_debug());
        let place = (domain.path(kept), domain.line(kept));
        found.push(Diagnostic::new(Severity::Info, "input-device.controller", message).at(place.0, place.1));
    }
    let element = Element::new("controller").attribute("type", "usb").attribute("index", "0");
    domain.replace(kept, element.attribute("model", model));
    found
}

/// libvirt numbers controllers without an index itself, from 0.
fn number(domain: &Document, id: Id) -> u32 {
    domain.attribute(id, "index").and_then(|index| index.trim().parse().ok()).unwrap_or(0)
}

witvirt_sdk::domain_converter!(InputDevice);

//! A domain in the making.

use crate::expand::Machine;
use crate::manifest::Manifest;
use crate::settings::Settings;
use crate::tree::{Field, Id, quote};
use witvirt_sdk::xml::Element;

/// What readers of field groups share.
pub(crate) struct Draft<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) manifest: &'a Manifest,
    pub(crate) machine: &'a Machine,
    /// Metadata of the instance.
    pub(crate) metadata: Field<'a>,
    /// Spec of the instance.
    pub(crate) spec: Field<'a>,
    /// `spec.domain`.
    pub(crate) domain: Field<'a>,
    /// `spec.domain.devices`.
    pub(crate) devices: Field<'a>,
    /// `<w:source>` elements.
    pub(crate) sources: Vec<Element>,
    /// `<w:forward>` elements.
    pub(crate) forwards: Vec<Element>,
    /// Objects that volumes name.
    pub(crate) used: Vec<Id>,
}

impl<'a> Draft<'a> {
    /// `None` where `domain` or `devices` are no objects, which is reported.
    pub(crate) fn new(settings: &'a Settings, manifest: &'a Manifest, machine: &'a Machine) -> Option<Self> {
        let spec = manifest.tree.field(machine.spec);
        let domain = spec.get("domain")?;
        let devices = domain.get("devices").filter(|devices| devices.object())?;
        Some(Self {
            settings,
            manifest,
            machine,
            metadata: manifest.tree.field(machine.metadata),
            spec,
            domain,
            devices,
            sources: Vec::new(),
            forwards: Vec::new(),
            used: Vec::new(),
        })
    }

    /// An object that the machine names, in its namespace.
    pub(crate) fn object(&mut self, kind: &str, name: &str) -> Option<Field<'a>> {
        let namespace = self.machine.object.namespace.as_deref();
        let object = self.manifest.find(kind, name, namespace)?;
        self.used.push(object.id);
        Some(self.manifest.tree.field(object.id))
    }

    /// The UUID of the machine, which defaults have written.
    pub(crate) fn uuid(&self) -> Option<&'a str> {
        self.domain.get("firmware")?.text("uuid")
    }
}

/// The alias of a device with a field `name`; of one without a sound name nothing else is reported.
pub(crate) fn alias(device: Field<'_>) -> Option<String> {
    let name = device.required("name")?;
    if name.len() > 63 || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_') {
        device.cover();
        if let Some(field) = device.get("name") {
            field.refuse("a name of at most 63 letters, digits and '-'");
        }
        return None;
    }
    Some(format!("ua-{name}"))
}

/// `<alias name=>`.
pub(crate) fn alias_element(alias: &str) -> Element {
    Element::new("alias").attribute("name", alias)
}

/// An element with a text in it.
pub(crate) fn text_element(name: &'static str, text: impl Into<String>) -> Element {
    Element::new(name).text(text)
}

/// Whether a text can stand in XML; reported where it cannot.
pub(crate) fn writable(field: Field<'_>, text: &str) -> bool {
    let control = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    let bad = text.chars().any(|c| control(c) || matches!(c, '\u{fffe}' | '\u{ffff}'));
    if bad {
        field.error("kubevirt.value.invalid", || format!("{} has control characters", quote(text)));
    }
    !bad
}

//! Features of the board, and enlightenments.

use crate::draft::Draft;
use crate::tree::Field;
use witvirt_sdk::xml::Element;

/// KubeVirt's names of plain enlightenments, and libvirt's.
const HYPERV: &[(&str, &str)] = &[
    ("relaxed", "relaxed"),
    ("vapic", "vapic"),
    ("vpindex", "vpindex"),
    ("runtime", "runtime"),
    ("synic", "synic"),
    ("reset", "reset"),
    ("frequencies", "frequencies"),
    ("reenlightenment", "reenlightenment"),
    ("ipi", "ipi"),
    ("evmcs", "evmcs"),
];
const MOST_SPINS: i64 = 0xffff_ffff;

/// Whether a feature that is there is on, which it is unless it says no.
fn enabled(feature: Field<'_>) -> bool {
    feature.flag("enabled").unwrap_or(true)
}

fn on(state: bool) -> &'static str {
    if state { "on" } else { "off" }
}

fn state(name: &'static str, feature: Field<'_>) -> Element {
    Element::new(name).attribute("state", on(enabled(feature)))
}

pub(super) fn read(draft: &Draft<'_>) -> Element {
    let mut element = Element::new("features");
    let Some(features) = draft.domain.get("features") else { return element };
    if features.get("acpi").is_some_and(enabled) {
        element = element.child(Element::new("acpi"));
    }
    if let Some(apic) = features.get("apic") {
        let eoi = apic.flag("endOfInterrupt").unwrap_or(false);
        if enabled(apic) {
            let apic = Element::new("apic");
            element = element.child(if eoi { apic.attribute("eoi", "on") } else { apic });
        } else {
            apic.warn("kubevirt.features", || "the board always has an APIC".to_owned());
        }
    }
    element = hyperv(features, element);
    if let Some(kvm) = features.get("kvm") {
        let hidden = Element::new("hidden").attribute("state", on(kvm.flag("hidden").unwrap_or(false)));
        element = element.child(Element::new("kvm").child(hidden));
    }
    for name in ["pvspinlock", "smm"] {
        if let Some(feature) = features.get(name) {
            element = element.child(state(name, feature));
        }
    }
    element
}

fn hyperv(features: Field<'_>, element: Element) -> Element {
    let passthrough = features.get("hypervPassthrough").filter(|passthrough| enabled(*passthrough));
    let listed = features.get("hyperv");
    match (listed, passthrough) {
        (Some(_), Some(passthrough)) => {
            passthrough.error("kubevirt.features.hyperv", || {
                "either all that the host has, or the ones in hyperv, not both".to_owned()
            });
            element
        }
        (None, Some(_)) => element.child(Element::new("hyperv").attribute("mode", "passthrough")),
        (None, None) => element,
        (Some(hyperv), None) => element.child(enlightenments(hyperv)),
    }
}

fn enlightenments(hyperv: Field<'_>) -> Element {
    let mut element = Element::new("hyperv").attribute("mode", "custom");
    for (name, libvirt) in HYPERV {
        if let Some(feature) = hyperv.get(name) {
            element = element.child(state(libvirt, feature));
        }
    }
    if let Some(spinlocks) = hyperv.get("spinlocks") {
        let retries = spinlocks.get("spinlocks").map_or(Some(4096), |retries| retries.integer(0, MOST_SPINS));
        let made = state("spinlocks", spinlocks);
        let on = enabled(spinlocks);
        if let Some(retries) = retries {
            element = element.child(if on { made.attribute("retries", retries.to_string()) } else { made });
        }
    }
    if let Some(vendor) = hyperv.get("vendorid") {
        let made = state("vendor_id", vendor);
        let id = vendor.text("vendorid");
        let on = enabled(vendor);
        match id {
            Some(id) if on && id.len() <= 12 && !id.contains(',') => {
                element = element.child(made.attribute("value", id));
            }
            _ if !on => element = element.child(made),
            _ => {
                vendor.error("kubevirt.value.invalid", || "needs a vendorid of 1 to 12 characters".to_owned())
            }
        }
    }
    if let Some(timer) = hyperv.get("synictimer") {
        let made = state("stimer", timer);
        let direct = timer.get("direct").map(|direct| state("direct", direct));
        element = element.child(direct.into_iter().fold(made, Element::child));
    }
    if let Some(flush) = hyperv.get("tlbflush") {
        let made = state("tlbflush", flush);
        let parts = ["direct", "extended"].into_iter();
        let parts = parts.filter_map(|name| flush.get(name).map(|part| state(name, part)));
        element = element.child(parts.fold(made, Element::child));
    }
    element
}

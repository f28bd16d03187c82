//! `<features>`: parts of the board, and enlightenments, which for QEMU are flags of the CPU.

use witvirt_sdk::core::domain::Severity;
use witvirt_sdk::core::spec::{CpuFeature, FeaturePolicy, Firmware};

use crate::document::{DETAIL, Element, TUNING, Value, Waiver};
use crate::draft::Draft;

const BUILT_IN: Waiver = Waiver::info("libvirt.features", "the board always has it");
const VALUE: Waiver = Waiver::warning(
    "libvirt.features.hyperv",
    "not honoured: only enlightenments that are on or off are available",
);
const NO_X86: Waiver = Waiver::warning("libvirt.features", "not for x86 guests");

/// libvirt's names of Hyper-V enlightenments, and QEMU's.
const HYPERV: &[(&str, &str)] = &[
    ("relaxed", "hv-relaxed"),
    ("vapic", "hv-vapic"),
    ("vpindex", "hv-vpindex"),
    ("runtime", "hv-runtime"),
    ("synic", "hv-synic"),
    ("stimer", "hv-stimer"),
    ("reset", "hv-reset"),
    ("frequencies", "hv-frequencies"),
    ("reenlightenment", "hv-reenlightenment"),
    ("tlbflush", "hv-tlbflush"),
    ("ipi", "hv-ipi"),
    ("evmcs", "hv-evmcs"),
    ("avic", "hv-avic"),
    ("emsr_bitmap", "hv-emsr-bitmap"),
    ("xmm_input", "hv-xmm-input"),
];
/// The same for KVM's own.
const KVM: &[(&str, &str)] = &[
    ("hint-dedicated", "kvm-hint-dedicated"),
    ("poll-control", "kvm-poll-control"),
    ("pv-ipi", "kvm-pv-ipi"),
];

pub(crate) fn read(draft: &mut Draft<'_>) {
    let domain = draft.domain;
    let features = domain.child("features");
    if features.is_none_or(|features| features.child("acpi").is_none()) {
        features.unwrap_or(domain).report(Severity::Info, "libvirt.features.acpi", || {
            "no <acpi/>: libvirt would switch ACPI off, here guests always have it".to_owned()
        });
    }
    let Some(features) = features else { return };
    if let Some(apic) = features.child("apic") {
        flag(apic.attribute("eoi"), "kvm-pv-eoi", draft);
    }
    for name in ["pae", "hap"] {
        if let Some(feature) = features.child(name) {
            feature.expect("state", &["on"], &BUILT_IN);
        }
    }
    if let Some(hyperv) = features.child("hyperv") {
        read_hyperv(hyperv, draft);
    }
    if let Some(kvm) = features.child("kvm") {
        read_kvm(kvm, draft);
    }
    for (name, qemu) in [("pvspinlock", "kvm-pv-unhalt"), ("pmu", "pmu")] {
        if let Some(feature) = features.child(name) {
            state(feature, qemu, draft);
        }
    }
    if let Some(viridian) = features.child("viridian") {
        viridian.report(Severity::Warning, "libvirt.features", || "<viridian>: use <hyperv>".to_owned());
    }
    read_board(features, draft);
}

/// Flags of the board, which the machine spec does not have.
fn read_board(features: Element<'_>, draft: &Draft<'_>) {
    if let Some(smm) = features.child("smm") {
        let secure = matches!(draft.spec.boot.firmware, Firmware::Uefi { secure: true, .. });
        let on = smm.attribute("state").and_then(Value::on).unwrap_or(true);
        if on != secure {
            smm.report(Severity::Info, "libvirt.features.smm", || {
                "the board's system management mode follows the firmware: on where that is secure".to_owned()
            });
        }
        smm.waive_parts(&["tseg"], &DETAIL);
    }
    if let Some(ioapic) = features.child("ioapic") {
        ioapic.expect("driver", &["kvm"], &DETAIL);
    }
    features.waive_parts(&["vmport", "vmcoreinfo", "msrs", "ps2", "privnet", "capabilities", "xen"], &DETAIL);
    features.waive_parts(&["tcg", "async-teardown"], &TUNING);
    features.waive_parts(
        &["gic", "hpt", "htm", "nested-hv", "cfpc", "sbbc", "ibs", "ccf-assist", "ras", "aia"],
        &NO_X86,
    );
}

fn read_hyperv(hyperv: Element<'_>, draft: &mut Draft<'_>) {
    let passthrough =
        hyperv.attribute("mode").and_then(|mode| mode.choose(&[("custom", false), ("passthrough", true)]));
    if passthrough == Some(true) {
        push(draft, "hv-passthrough", true);
    }
    for (name, qemu) in HYPERV {
        let Some(feature) = hyperv.child(name) else { continue };
        state(feature, qemu, draft);
        if let Some(direct) = feature.child("direct") {
            state(direct, "hv-stimer-direct", draft);
        }
        for (part, qemu) in [("direct", "hv-tlbflush-direct"), ("extended", "hv-tlbflush-ext")] {
            if *name == "tlbflush"
                && let Some(part) = feature.child(part)
            {
                state(part, qemu, draft);
            }
        }
    }
    for name in ["spinlocks", "vendor_id"] {
        if let Some(feature) = hyperv.child(name) {
            let off = feature.attribute("state").and_then(Value::on) == Some(false);
            if off {
                feature.waive_parts(&["@retries", "@value"], &TUNING);
            } else {
                feature.waive(&VALUE);
            }
        }
    }
}

fn read_kvm(kvm: Element<'_>, draft: &mut Draft<'_>) {
    if let Some(hidden) = kvm.child("hidden")
        && hidden.attribute("state").and_then(Value::on).unwrap_or(true)
    {
        push(draft, "kvm", false);
    }
    for (name, qemu) in KVM {
        if let Some(feature) = kvm.child(name) {
            state(feature, qemu, draft);
        }
    }
    kvm.waive_parts(&["dirty-ring"], &TUNING);
}

/// A feature with an attribute `state`, which is on where absent.
fn state(feature: Element<'_>, qemu: &str, draft: &mut Draft<'_>) {
    let on = feature.attribute("state").map_or(Some(true), Value::on);
    if let Some(on) = on {
        push(draft, qemu, on);
    }
}

fn flag(value: Option<Value<'_>>, qemu: &str, draft: &mut Draft<'_>) {
    if let Some(on) = value.and_then(Value::on) {
        push(draft, qemu, on);
    }
}

fn push(draft: &mut Draft<'_>, name: &str, on: bool) {
    let policy = if on { FeaturePolicy::Require } else { FeaturePolicy::Disable };
    draft.spec.cpu.features.push(CpuFeature { name: name.to_owned(), policy });
}

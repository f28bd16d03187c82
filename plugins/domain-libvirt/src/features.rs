//! `<features>`: parts of the board, and enlightenments, which for QEMU are flags of the CPU.

use witvirt_sdk::core::domain::Severity;
use witvirt_sdk::core::spec::{Chipset, CpuFeature, CpuSetting, FeaturePolicy, Firmware};

use crate::document::{DETAIL, Element, RUNTIME, TUNING, Value, Waiver};
use crate::draft::Draft;

const BUILT_IN: Waiver = Waiver::info("libvirt.features", "the board always has it");
const TSEG_ON_PC: Waiver = Waiver::error("libvirt.features.smm", "only q35 has a TSEG");
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
    draft.spec.board.acpi = features.is_some_and(|features| features.child("acpi").is_some());
    if !draft.spec.board.acpi {
        read_without_acpi(features.unwrap_or(domain), draft);
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

/// As under libvirt, but for UEFI, which cannot do without: libvirt refuses that.
fn read_without_acpi(place: Element<'_>, draft: &mut Draft<'_>) {
    if let Firmware::Uefi { .. } = draft.spec.boot.firmware {
        draft.spec.board.acpi = true;
        return place.report(Severity::Warning, "libvirt.features.acpi", || {
            "no <acpi/>: UEFI needs ACPI, and so the guest has it".to_owned()
        });
    }
    place.report(Severity::Info, "libvirt.features.acpi", || {
        "no <acpi/>: the guest has no ACPI, as under libvirt, and so does not notice the power button"
            .to_owned()
    });
}

/// Parts of the board.
fn read_board(features: Element<'_>, draft: &mut Draft<'_>) {
    let state = |name: &str| {
        let feature = features.child(name)?;
        feature.attribute("state").map_or(Some(true), Value::on)
    };
    if let Some(smm) = features.child("smm") {
        let on = smm.attribute("state").and_then(Value::on).unwrap_or(true);
        let secure = matches!(draft.spec.boot.firmware, Firmware::Uefi { secure: true, .. });
        if secure && !on {
            smm.report(Severity::Error, "libvirt.features.smm", || {
                "secure boot needs system management mode".to_owned()
            });
        }
        draft.spec.board.smm = Some(on).filter(|_| !secure);
        if draft.spec.chipset == Chipset::Pc {
            smm.waive_parts(&["tseg"], &TSEG_ON_PC);
        }
        smm.waive_parts(&["tseg"], &DETAIL);
    }
    draft.spec.board.vmport = state("vmport");
    draft.spec.board.vmcoreinfo = state("vmcoreinfo").unwrap_or(false);
    draft.spec.board.ps2 = state("ps2").unwrap_or(true);
    if !draft.spec.board.ps2 && draft.spec.board.vmport == Some(true) {
        features.report(Severity::Error, "libvirt.features.vmport", || "<vmport> needs <ps2>".to_owned());
    }
    if let Some(ioapic) = features.child("ioapic") {
        ioapic.expect("driver", &["kvm"], &DETAIL);
    }
    features.waive_parts(&["msrs", "privnet", "capabilities", "xen"], &DETAIL);
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
        let parts: &[(&str, &str)] = match *name {
            "stimer" => &[("direct", "hv-stimer-direct")],
            "tlbflush" => &[("direct", "hv-tlbflush-direct"), ("extended", "hv-tlbflush-ext")],
            _ => &[],
        };
        for (part, qemu) in parts {
            if let Some(part) = feature.child(part) {
                state(part, qemu, draft);
            }
        }
    }
    for (name, value, setting) in
        [("spinlocks", "retries", "hv-spinlocks"), ("vendor_id", "value", "hv-vendor-id")]
    {
        let Some(feature) = hyperv.child(name) else { continue };
        if feature.attribute("state").and_then(Value::on) == Some(false) {
            feature.waive_parts(&["@retries", "@value"], &RUNTIME);
            continue;
        }
        let value = match feature.attribute(value) {
            Some(value) => value.text.to_owned(),
            // libvirt's own number.
            None if name == "spinlocks" => "4095".to_owned(),
            None => {
                feature.required(value);
                continue;
            }
        };
        draft.spec.cpu.settings.push(CpuSetting { name: setting.to_owned(), value });
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

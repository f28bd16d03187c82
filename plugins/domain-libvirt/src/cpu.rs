//! Processors.

use witvirt_sdk::core::domain::Severity;
use witvirt_sdk::core::spec::{CpuFeature, CpuModel, CpuSetting, FeaturePolicy, Topology};

use crate::document::{DETAIL, Element, TUNING, Value, Waiver};
use crate::draft::Draft;
use crate::numa;

const CHECKS: Waiver = Waiver::info("libvirt.cpu.check", "left to the hypervisor");
const MATCH: Waiver =
    Waiver::warning("libvirt.cpu.match", "the guest sees exactly the model and features that are listed");
const FALLBACK: Waiver =
    Waiver::info("libvirt.cpu.check", "a model that the hypervisor does not know is always an error");

pub(crate) fn read(draft: &mut Draft<'_>) {
    let domain = draft.domain;
    draft.spec.cpu.count = vcpus(domain);
    domain.waive_parts(&["vcpus", "cputune"], &TUNING);
    let Some(cpu) = domain.child("cpu") else {
        draft.spec.cpu.model = usual_model(domain);
        return;
    };
    draft.spec.cpu.model = model(cpu, domain.attribute("type").is_some_and(|kind| kind.text == "qemu"));
    draft.spec.cpu.topology = cpu.child("topology").and_then(topology);
    for feature in cpu.children("feature") {
        draft.spec.cpu.features.extend(read_feature(feature));
    }
    cpu.expect("check", &["none"], &CHECKS);
    cpu.expect("match", &["exact"], &MATCH);
    if let Some(migratable) = cpu.attribute("migratable").and_then(Value::on) {
        push(draft, "migratable", migratable);
    }
    if let Some(cache) = cpu.child("cache") {
        read_cache(cache, draft);
    }
    if let Some(address) = cpu.child("maxphysaddr") {
        read_address_bits(address, draft);
    }
    if let Some(vendor) = cpu.child("model").and_then(|model| model.attribute("vendor_id")) {
        let value = vendor.text.to_owned();
        draft.spec.cpu.settings.push(CpuSetting { name: "vendor".to_owned(), value });
    }
    cpu.waive_parts(&["@deprecated_features"], &CHECKS);
    // What the host's CPU has to be; the guest sees the model's.
    cpu.waive_parts(&["vendor"], &CHECKS);
    if let Some(numa) = cpu.child("numa") {
        numa::read(numa, draft);
    }
}

/// `<vcpu>` as a count of processors.
fn vcpus(domain: Element<'_>) -> u32 {
    let Some(vcpu) = domain.child("vcpu") else { return 1 };
    vcpu.waive_parts(&["@cpuset"], &TUNING);
    vcpu.expect("placement", &["static"], &TUNING);
    let count = vcpu.text().number().unwrap_or(1);
    if let Some(current) = vcpu.attribute("current")
        && current.number::<u32>().is_some_and(|current| current < count)
    {
        current.report(Severity::Warning, "libvirt.cpu.hotplug", || {
            format!("all {count} CPUs are there from the start; CPUs cannot be added later")
        });
    }
    count
}

/// libvirt's choice where the document names no model.
fn usual_model(place: Element<'_>) -> CpuModel {
    place.report(Severity::Info, "libvirt.default.cpu", || {
        "no CPU model: \"qemu64\", as under libvirt; <cpu mode='host-model'/> asks for the best there is"
            .to_owned()
    });
    CpuModel::Named("qemu64".to_owned())
}

#[derive(Clone, Copy)]
enum Mode {
    Custom,
    HostModel,
    HostPassthrough,
    Maximum,
}

fn model(cpu: Element<'_>, emulated: bool) -> CpuModel {
    let modes = [
        ("custom", Mode::Custom),
        ("host-model", Mode::HostModel),
        ("host-passthrough", Mode::HostPassthrough),
        ("maximum", Mode::Maximum),
    ];
    let mode = cpu.attribute("mode");
    let model = cpu.child("model");
    if let Some(model) = model {
        model.expect("fallback", &["allow"], &FALLBACK);
    }
    let name = model.map(Element::text).filter(|name| !name.text.is_empty());
    match mode.map_or(Some(Mode::Custom), |mode| mode.choose(&modes)) {
        Some(Mode::HostPassthrough) => {
            if emulated {
                cpu.report(Severity::Error, "libvirt.cpu.model", || {
                    "host-passthrough needs <domain type='kvm'>: use mode='maximum'".to_owned()
                });
            }
            CpuModel::Host
        }
        Some(Mode::Maximum) => CpuModel::Max,
        Some(Mode::HostModel) => {
            cpu.report(Severity::Info, "libvirt.cpu.model", || {
                "host-model: the best CPU that the accelerator offers, not a copy of the host's model name"
                    .to_owned()
            });
            CpuModel::Default
        }
        Some(Mode::Custom) => match name.map(|name| name.text) {
            Some("host") => CpuModel::Host,
            Some("max") => CpuModel::Max,
            Some(text) => CpuModel::Named(text.to_owned()),
            None => usual_model(cpu),
        },
        None => CpuModel::Default,
    }
}

fn topology(topology: Element<'_>) -> Option<Topology> {
    let count = |name| topology.attribute(name).and_then(Value::number::<u32>);
    let sockets = topology.required("sockets").and_then(Value::number::<u32>);
    let cores = topology.required("cores").and_then(Value::number::<u32>);
    let threads = topology.required("threads").and_then(Value::number::<u32>);
    let dies = count("dies").unwrap_or(1);
    topology.expect("clusters", &["1"], &Waiver::error("libvirt.cpu.topology", "x86 CPUs have no clusters"));
    Some(Topology { sockets: sockets?, dies, cores: cores?, threads: threads? })
}

fn push(draft: &mut Draft<'_>, name: &str, on: bool) {
    let policy = if on { FeaturePolicy::Require } else { FeaturePolicy::Disable };
    draft.spec.cpu.features.push(CpuFeature { name: name.to_owned(), policy });
}

/// `<cache>`: whether the guest sees a third-level cache, and whose.
fn read_cache(cache: Element<'_>, draft: &mut Draft<'_>) {
    let level = cache.attribute("level");
    if let Some(level) = level.filter(|level| level.text != "3") {
        level.refuse("3: other levels cannot be set");
    }
    let modes = [("emulate", (true, false)), ("passthrough", (false, true)), ("disable", (false, false))];
    if let Some((emulated, host)) = cache.required("mode").and_then(|mode| mode.choose(&modes)) {
        push(draft, "l3-cache", emulated);
        push(draft, "host-cache-info", host);
    }
}

/// `<maxphysaddr>`: how many bits a physical address has.
fn read_address_bits(address: Element<'_>, draft: &mut Draft<'_>) {
    let bits = address.attribute("bits");
    match address.required("mode").and_then(|mode| mode.choose(&[("emulate", false), ("passthrough", true)]))
    {
        Some(true) => push(draft, "host-phys-bits", true),
        Some(false) => {
            if let Some(bits) = address.required("bits") {
                let value = bits.text.to_owned();
                draft.spec.cpu.settings.push(CpuSetting { name: "phys-bits".to_owned(), value });
            }
        }
        None => {}
    }
    if let Some(bits) = bits.filter(|_| draft.spec.cpu.settings.iter().all(|set| set.name != "phys-bits")) {
        bits.waive(&CHECKS);
    }
    address.waive_parts(&["@limit"], &DETAIL);
}

fn read_feature(feature: Element<'_>) -> Option<CpuFeature> {
    let policies = [
        ("force", FeaturePolicy::Require),
        ("require", FeaturePolicy::Require),
        ("optional", FeaturePolicy::Require),
        ("disable", FeaturePolicy::Disable),
        ("forbid", FeaturePolicy::Disable),
    ];
    let policy = feature.attribute("policy");
    let chosen = policy.map_or(Some(FeaturePolicy::Require), |policy| policy.choose(&policies));
    if let Some(policy) = policy.filter(|policy| policy.text == "optional") {
        policy.report(Severity::Info, "libvirt.cpu.feature", || {
            "asked for; the hypervisor leaves out what it cannot give".to_owned()
        });
    }
    feature.waive_parts(&["@removed"], &CHECKS);
    let name = feature.required("name")?;
    Some(CpuFeature { name: name.text.replace('_', "-"), policy: chosen? })
}

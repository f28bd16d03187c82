//! Processors.

use crate::draft::{Draft, text_element};
use crate::tree::{Field, Waiver};
use witvirt_sdk::xml::Element;

/// More than any board takes.
const MOST: i64 = 1 << 16;
const PINNING: Waiver = Waiver::info("kubevirt.tuning", "the host's scheduler places the CPUs");
const REAL_TIME: Waiver = Waiver::warning("kubevirt.cpu.realtime", "the CPUs get no real-time priority");
const NUMA: Waiver = Waiver::warning("kubevirt.cpu.numa", "the guest sees one NUMA node");

fn count(cpu: Field<'_>, name: &'static str) -> Option<i64> {
    cpu.get(name)?.integer(1, MOST)
}

/// Sockets, cores and threads.
fn topology(draft: &Draft<'_>) -> Option<[i64; 3]> {
    let cpu = draft.domain.get("cpu")?;
    let [sockets, cores, threads] = ["sockets", "cores", "threads"].map(|name| count(cpu, name));
    Some([sockets?, cores?, threads?])
}

/// `<vcpu>`.
pub(super) fn vcpus(draft: &Draft<'_>) -> Option<Element> {
    let product = topology(draft)?.into_iter().try_fold(1i64, i64::checked_mul);
    let Some(count) = product.filter(|count| *count <= MOST) else {
        draft
            .domain
            .get("cpu")?
            .error("kubevirt.cpu.topology", || format!("these are more than {MOST} processors"));
        return None;
    };
    Some(text_element("vcpu", count.to_string()).attribute("placement", "static"))
}

/// `<cpu>`.
pub(super) fn read(draft: &Draft<'_>) -> Element {
    let Some(cpu) = draft.domain.get("cpu") else {
        return Element::new("cpu").attribute("mode", "host-model");
    };
    let mut element = match cpu.text("model") {
        None => Element::new("cpu").attribute("mode", "host-model"),
        Some(mode @ ("host-model" | "host-passthrough")) => Element::new("cpu").attribute("mode", mode),
        Some(model) => Element::new("cpu").attribute("mode", "custom").child(text_element("model", model)),
    };
    if let Some([sockets, cores, threads]) = topology(draft) {
        if let Some(most) = cpu.get("maxSockets")
            && most.integer(1, MOST).is_some_and(|most| most > sockets)
        {
            most.info("kubevirt.cpu.hotplug", || "CPUs cannot be added later".to_owned());
        }
        let topology = Element::new("topology")
            .attribute("sockets", sockets.to_string())
            .attribute("cores", cores.to_string())
            .attribute("threads", threads.to_string());
        element = element.child(topology);
    }
    for feature in cpu.list("features") {
        if let Some(feature) = read_feature(feature) {
            element = element.child(feature);
        }
    }
    cpu.waive_fields(&["dedicatedCpuPlacement", "isolateEmulatorThread"], &PINNING);
    cpu.waive_fields(&["realtime"], &REAL_TIME);
    cpu.waive_fields(&["numa"], &NUMA);
    element
}

fn read_feature(feature: Field<'_>) -> Option<Element> {
    let policies = ["force", "require", "optional", "disable", "forbid"].map(|policy| (policy, policy));
    let policy = feature.get("policy").filter(|policy| policy.string() != Some(""));
    let policy = policy.map_or(Some("require"), |policy| policy.choose(&policies));
    let name = feature.required("name")?;
    Some(Element::new("feature").attribute("name", name).attribute("policy", policy?))
}

//! Instancetypes: sizes. A value that the machine has too is a conflict, as under KubeVirt.

use crate::manifest::Manifest;
use crate::tree::{Id, Tree};

use super::{Machine, Reference, Referenced, annotate, follow, topology};

const INSTANCETYPE: Reference = Reference {
    field: "instancetype",
    cluster: "VirtualMachineClusterInstancetype",
    namespaced: "VirtualMachineInstancetype",
    annotations: ["kubevirt.io/cluster-instancetype-name", "kubevirt.io/instancetype-name"],
};

/// Fields that go over as they are: theirs, and where they go below `domain`.
const DOMAIN: &[(&[&str], &[&str])] = &[
    (&["cpu", "model"], &["cpu", "model"]),
    (&["cpu", "dedicatedCPUPlacement"], &["cpu", "dedicatedCpuPlacement"]),
    (&["cpu", "isolateEmulatorThread"], &["cpu", "isolateEmulatorThread"]),
    (&["cpu", "numa"], &["cpu", "numa"]),
    (&["cpu", "realtime"], &["cpu", "realtime"]),
    (&["cpu", "maxSockets"], &["cpu", "maxSockets"]),
    (&["memory", "guest"], &["memory", "guest"]),
    (&["memory", "hugepages"], &["memory", "hugepages"]),
    (&["memory", "maxGuest"], &["memory", "maxGuest"]),
    (&["ioThreadsPolicy"], &["ioThreadsPolicy"]),
    (&["ioThreads"], &["ioThreads"]),
    (&["launchSecurity"], &["launchSecurity"]),
    (&["gpus"], &["devices", "gpus"]),
    (&["hostDevices"], &["devices", "hostDevices"]),
];
/// The same below the instance's spec.
const SPEC: &[(&[&str], &[&str])] =
    &[(&["nodeSelector"], &["nodeSelector"]), (&["schedulerName"], &["schedulerName"])];
/// What the number of processors and the memory exclude, below `domain`.
const EXCLUDED: &[(&[&str], &[&str])] = &[
    (&["cpu", "guest"], &["cpu", "sockets"]),
    (&["cpu", "guest"], &["cpu", "cores"]),
    (&["cpu", "guest"], &["cpu", "threads"]),
    (&["cpu", "guest"], &["resources", "requests", "cpu"]),
    (&["cpu", "guest"], &["resources", "limits", "cpu"]),
    (&["memory", "guest"], &["resources", "requests", "memory"]),
    (&["memory", "guest"], &["resources", "limits", "memory"]),
];

pub(super) fn find(manifest: &mut Manifest, machine: &Machine) -> Option<Referenced> {
    follow(manifest, machine, &INSTANCETYPE)
}

pub(super) fn apply(
    tree: &mut Tree,
    machine: &Machine,
    domain: Id,
    from: &Referenced,
    preference: Option<&Referenced>,
) -> Option<()> {
    let mut conflicts = 0;
    for (source, target) in EXCLUDED {
        conflicts += usize::from(conflict(tree, from, source, domain, target));
    }
    for (below, table) in [(domain, DOMAIN), (machine.spec, SPEC)] {
        for (source, target) in table {
            let Some(value) = tree.find(from.spec, source) else { continue };
            mark(tree, from.spec, source);
            if conflict(tree, from, source, below, target) {
                conflicts += 1;
            } else if let [way @ .., name] = target {
                let map = tree.ensure_map(below, way, from.origin)?;
                tree.default_copy(map, name, value, from.origin)?;
            }
        }
    }
    let spec = tree.field(from.spec);
    if let Some(percent) = spec.path(&["memory", "overcommitPercent"]) {
        percent.cover();
        percent.info("kubevirt.resources", || "how much memory a node reserves: no node does".to_owned());
    }
    let guest = spec.path(&["cpu", "guest"]);
    if guest.is_none() || spec.path(&["memory", "guest"]).is_none() {
        spec.error("kubevirt.value.missing", || "\"cpu.guest\" or \"memory.guest\" is missing".to_owned());
    }
    let count = guest.and_then(|guest| guest.integer(1, 1 << 16));
    if let Some(count) = count.filter(|_| conflicts == 0) {
        let cpu = tree.ensure_map(domain, &["cpu"], from.origin)?;
        topology::apply(tree, cpu, count.unsigned_abs(), preference, from)?;
    }
    contradict(tree, machine, from);
    annotate(tree, machine, from)
}

/// Annotations of both with different values: those of an instancetype do not yield, as those of a preference do.
fn contradict(tree: &Tree, machine: &Machine, from: &Referenced) {
    let Some(theirs) = tree.find(from.spec, &["annotations"]) else { return };
    let Some(ours) = tree.find(machine.metadata, &["annotations"]) else { return };
    for (name, value) in tree.field(theirs).entries() {
        let Some(own) = tree.child(ours, name) else { continue };
        if tree.text(own) != tree.text(value.id) {
            tree.field(own).error("kubevirt.instancetype.conflict", || {
                format!(
                    "conflicts with {} of the instancetype: only one of them may be there",
                    tree.path(value.id)
                )
            });
        }
    }
}

/// Marks a field and the objects around it as read.
pub(super) fn mark(tree: &Tree, root: Id, path: &[&'static str]) {
    if let Some(field) = tree.field(root).path(path) {
        field.cover();
    }
}

/// Whether both say something; reported with both places.
fn conflict(
    tree: &Tree,
    from: &Referenced,
    source: &[&'static str],
    below: Id,
    target: &[&'static str],
) -> bool {
    let (Some(theirs), Some(ours)) = (tree.find(from.spec, source), tree.find(below, target)) else {
        return false;
    };
    // Go cannot tell false and zero from absent.
    let empty = matches!(tree.to_json(ours), serde_json::Value::Bool(false))
        || tree.to_json(ours).as_i64() == Some(0)
        || tree.text(ours) == Some("");
    if empty {
        return false;
    }
    tree.field(ours).error("kubevirt.instancetype.conflict", || {
        format!("conflicts with {} of the instancetype: only one of them may be there", tree.path(theirs))
    });
    true
}

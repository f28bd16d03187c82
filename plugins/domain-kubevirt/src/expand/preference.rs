//! Preferences: what a guest likes. What the machine says wins.

use crate::manifest::Manifest;
use crate::tree::{Field, Id, Kind, Tree, Waiver};

use super::instancetype::mark;
use super::topology::{Across, Shape};
use super::{Machine, Reference, Referenced, annotate, follow};

const PREFERENCE: Reference = Reference {
    field: "preference",
    cluster: "VirtualMachineClusterPreference",
    namespaced: "VirtualMachinePreference",
    annotations: ["kubevirt.io/cluster-preference-name", "kubevirt.io/preference-name"],
};

/// Fields of `devices` that say what is attached by itself.
const ATTACHED: &[(&str, &str)] = &[
    ("preferredAutoattachGraphicsDevice", "autoattachGraphicsDevice"),
    ("preferredAutoattachInputDevice", "autoattachInputDevice"),
    ("preferredAutoattachMemBalloon", "autoattachMemBalloon"),
    ("preferredAutoattachPodInterface", "autoattachPodInterface"),
    ("preferredAutoattachSerialConsole", "autoattachSerialConsole"),
];
/// Other fields of `devices` that go over as they are.
const DEVICES: &[(&str, &str)] = &[
    ("preferredBlockMultiQueue", "blockMultiQueue"),
    ("preferredDisableHotplug", "disableHotplug"),
    ("preferredNetworkInterfaceMultiQueue", "networkInterfaceMultiqueue"),
    ("preferredRng", "rng"),
    ("preferredTPM", "tpm"),
    ("preferredUseVirtioTransitional", "useVirtioTransitional"),
];
const FEATURES: &[(&str, &str)] = &[
    ("preferredAcpi", "acpi"),
    ("preferredApic", "apic"),
    ("preferredHyperv", "hyperv"),
    ("preferredKvm", "kvm"),
    ("preferredPvspinlock", "pvspinlock"),
    ("preferredSmm", "smm"),
];
const STORAGE: Waiver =
    Waiver::info("kubevirt.storage", "there are no storage classes: volumes are the daemon's");

pub(super) fn find(manifest: &mut Manifest, machine: &Machine) -> Option<Referenced> {
    follow(manifest, machine, &PREFERENCE)
}

/// What decides on devices that are attached by themselves.
pub(super) fn attach(tree: &mut Tree, devices: Id, from: &Referenced) -> Option<()> {
    let Some(preferred) = tree.child(from.spec, "devices") else { return Some(()) };
    table(tree, preferred, devices, ATTACHED, from.origin)
}

/// Copies fields under their new names where nothing is.
fn table(tree: &mut Tree, from: Id, to: Id, names: &[(&'static str, &str)], origin: u16) -> Option<()> {
    for (source, target) in names {
        mark(tree, from, &[source]);
        if let Some(value) = tree.child(from, source) {
            tree.default_copy(to, target, value, origin)?;
        }
    }
    Some(())
}

pub(super) fn apply(
    tree: &mut Tree,
    machine: &Machine,
    domain: Id,
    devices: Id,
    from: &Referenced,
) -> Option<()> {
    // Marks the object itself, so that what is unknown in it is found.
    tree.field(from.spec).object();
    let (spec, origin) = (machine.spec, from.origin);
    let top = [
        ("preferredArchitecture", "architecture"),
        ("preferredSubdomain", "subdomain"),
        ("preferredTerminationGracePeriodSeconds", "terminationGracePeriodSeconds"),
    ];
    table(tree, from.spec, spec, &top, origin)?;
    table(tree, from.spec, domain, &[("preferredLaunchSecurity", "launchSecurity")], origin)?;
    if let Some(preferred) = tree.child(from.spec, "devices") {
        table(tree, preferred, devices, DEVICES, origin)?;
        disks(tree, preferred, devices, origin)?;
        interfaces(tree, preferred, devices, spec, origin)?;
        small_devices(tree, preferred, devices, origin)?;
    }
    if let Some(preferred) = tree.child(from.spec, "features") {
        let features = tree.ensure_map(domain, &["features"], origin)?;
        if let (Some(theirs), Some(ours)) =
            (tree.child(preferred, "preferredHyperv"), tree.child(features, "hyperv"))
        {
            merge(tree, theirs, ours, origin)?;
        }
        table(tree, preferred, features, FEATURES, origin)?;
    }
    if let Some(preferred) = tree.child(from.spec, "machine") {
        let board = tree.ensure_map(domain, &["machine"], origin)?;
        drop_empty(tree, board, "type");
        table(tree, preferred, board, &[("preferredMachineType", "type")], origin)?;
    }
    if let Some(preferred) = tree.child(from.spec, "clock") {
        clock(tree, preferred, domain, origin)?;
    }
    if let Some(preferred) = tree.child(from.spec, "firmware") {
        firmware(tree, preferred, domain, origin)?;
    }
    cpu_features(tree, from, domain)?;
    if let Some(volumes) = tree.field(from.spec).get("volumes") {
        volumes.waive_fields(&["preferredStorageClassName"], &STORAGE);
    }
    annotate(tree, machine, from)
}

/// An empty string is as good as absent, as in Go.
fn drop_empty(tree: &mut Tree, map: Id, name: &str) {
    if let Some(value) = tree.child(map, name).filter(|value| tree.text(*value) == Some("")) {
        tree.remove(map, name);
        tree.field(value).cover();
    }
}

fn merge(tree: &mut Tree, from: Id, into: Id, origin: u16) -> Option<()> {
    let Kind::Map(entries) = tree.kind(from).clone() else { return Some(()) };
    for (name, value) in entries {
        tree.default_copy(into, &name, value, origin)?;
    }
    Some(())
}

fn disks(tree: &mut Tree, from: Id, devices: Id, origin: u16) -> Option<()> {
    let names = [
        "preferredDiskBus",
        "preferredCdromBus",
        "preferredLunBus",
        "preferredDiskBlockSize",
        "preferredDiskCache",
        "preferredDiskIO",
        "preferredDiskDedicatedIoThread",
    ];
    for name in names {
        mark(tree, from, &[name]);
    }
    let Some(list) = tree.child(devices, "disks") else { return Some(()) };
    for disk in tree.items(list) {
        for (target, preferred) in
            [("disk", "preferredDiskBus"), ("cdrom", "preferredCdromBus"), ("lun", "preferredLunBus")]
        {
            let (Some(target), Some(bus)) = (tree.child(disk, target), tree.child(from, preferred)) else {
                continue;
            };
            drop_empty(tree, target, "bus");
            tree.default_copy(target, "bus", bus, origin)?;
        }
        let Some(target) = tree.child(disk, "disk") else { continue };
        let virtio = tree.child(target, "bus").is_some_and(|bus| tree.text(bus) == Some("virtio"));
        for (preferred, name) in [
            ("preferredDiskBlockSize", "blockSize"),
            ("preferredDiskCache", "cache"),
            ("preferredDiskIO", "io"),
            ("preferredDiskDedicatedIoThread", "dedicatedIOThread"),
        ] {
            let Some(value) = tree.child(from, preferred) else { continue };
            if virtio || name != "dedicatedIOThread" {
                tree.default_copy(disk, name, value, origin)?;
            }
        }
    }
    Some(())
}

fn interfaces(tree: &mut Tree, from: Id, devices: Id, spec: Id, origin: u16) -> Option<()> {
    const BINDINGS: &[&str] =
        &["bridge", "masquerade", "sriov", "slirp", "macvtap", "passt", "passtBinding", "binding"];
    mark(tree, from, &["preferredInterfaceModel"]);
    mark(tree, from, &["preferredInterfaceMasquerade"]);
    let Some(list) = tree.child(devices, "interfaces") else { return Some(()) };
    let networks = tree.child(spec, "networks").map(|list| tree.items(list)).unwrap_or_default();
    for interface in tree.items(list) {
        if let Some(model) = tree.child(from, "preferredInterfaceModel") {
            drop_empty(tree, interface, "model");
            tree.default_copy(interface, "model", model, origin)?;
        }
        let Some(masquerade) = tree.child(from, "preferredInterfaceMasquerade") else { continue };
        let name = tree.child(interface, "name").and_then(|name| tree.text(name));
        let on_pod = networks.iter().any(|network| {
            let same = tree.child(*network, "name").and_then(|name| tree.text(name)) == name;
            same && tree.child(*network, "pod").is_some()
        });
        if on_pod && !BINDINGS.iter().any(|binding| tree.child(interface, binding).is_some()) {
            tree.default_copy(interface, "masquerade", masquerade, origin)?;
        }
    }
    Some(())
}

fn small_devices(tree: &mut Tree, from: Id, devices: Id, origin: u16) -> Option<()> {
    for name in [
        "preferredInputBus",
        "preferredInputType",
        "preferredSoundModel",
        "preferredVideoType",
        "preferredPanicDeviceModel",
        "preferredVirtualGPUOptions",
    ] {
        mark(tree, from, &[name]);
    }
    let inputs = tree.child(devices, "inputs").map(|list| tree.items(list)).unwrap_or_default();
    for input in inputs {
        table(tree, from, input, &[("preferredInputBus", "bus"), ("preferredInputType", "type")], origin)?;
    }
    if let Some(sound) = tree.child(devices, "sound") {
        table(tree, from, sound, &[("preferredSoundModel", "model")], origin)?;
    }
    let graphics = tree.child(devices, "autoattachGraphicsDevice").map(|value| tree.kind(value).clone());
    if let Some(kind) = tree.child(from, "preferredVideoType")
        && graphics != Some(Kind::Bool(false))
        && tree.child(devices, "video").is_none()
    {
        let video = tree.ensure_map(devices, &["video"], origin)?;
        tree.default_copy(video, "type", kind, origin)?;
    }
    if let Some(model) = tree.child(from, "preferredPanicDeviceModel") {
        let list = tree.ensure_list(devices, "panicDevices", origin)?;
        if tree.items(list).is_empty() {
            let device = tree.make(list, Kind::Map(Vec::new()), origin)?;
            tree.append(list, device);
        }
        for device in tree.items(list) {
            tree.default_copy(device, "model", model, origin)?;
        }
    }
    Some(())
}

/// Nothing is mixed: a clock or timers of the machine stand alone.
fn clock(tree: &mut Tree, from: Id, domain: Id, origin: u16) -> Option<()> {
    mark(tree, from, &["preferredClockOffset"]);
    mark(tree, from, &["preferredTimer"]);
    let clock = tree.ensure_map(domain, &["clock"], origin)?;
    let set = tree.child(clock, "utc").is_some() || tree.child(clock, "timezone").is_some();
    if let Some(offset) = tree.child(from, "preferredClockOffset").filter(|_| !set) {
        merge(tree, offset, clock, origin)?;
    }
    table(tree, from, clock, &[("preferredTimer", "timer")], origin)
}

fn firmware(tree: &mut Tree, from: Id, domain: Id, origin: u16) -> Option<()> {
    for name in [
        "preferredEfi",
        "preferredUseBios",
        "preferredUseBiosSerial",
        "preferredUseEfi",
        "preferredUseSecureBoot",
    ] {
        mark(tree, from, &[name]);
    }
    let yes = |tree: &Tree, name| tree.child(from, name).map(|value| *tree.kind(value) == Kind::Bool(true));
    let loader = tree.ensure_map(domain, &["firmware", "bootloader"], origin)?;
    let open = |tree: &Tree| tree.child(loader, "bios").is_none() && tree.child(loader, "efi").is_none();
    if yes(tree, "preferredUseBios") == Some(true) && open(tree) {
        tree.ensure_map(loader, &["bios"], origin)?;
    }
    if let Some(bios) = tree.child(loader, "bios") {
        table(tree, from, bios, &[("preferredUseBiosSerial", "useSerial")], origin)?;
    }
    if let Some(efi) = tree.child(from, "preferredEfi").filter(|_| open(tree)) {
        return tree.default_copy(loader, "efi", efi, origin);
    }
    if yes(tree, "preferredUseEfi") == Some(true) && open(tree) {
        tree.ensure_map(loader, &["efi"], origin)?;
    }
    if let Some(efi) = tree.child(loader, "efi") {
        table(tree, from, efi, &[("preferredUseSecureBoot", "secureBoot")], origin)?;
    }
    Some(())
}

fn cpu_features(tree: &mut Tree, from: &Referenced, domain: Id) -> Option<()> {
    mark(tree, from.spec, &["cpu", "preferredCPUFeatures"]);
    // The rest of the preference's processors is the shape, which only an instancetype takes.
    Shape::of(Some(tree.field(from.spec)));
    let Some(list) = tree.find(from.spec, &["cpu", "preferredCPUFeatures"]) else { return Some(()) };
    let cpu = tree.ensure_map(domain, &["cpu"], from.origin)?;
    let ours = tree.ensure_list(cpu, "features", from.origin)?;
    let name = |tree: &Tree, id| tree.child(id, "name").and_then(|name| tree.text(name)).map(str::to_owned);
    let known: Vec<_> = tree.items(ours).into_iter().map(|id| name(tree, id)).collect();
    for feature in tree.items(list) {
        if !known.contains(&name(tree, feature)) {
            let copy = tree.copy(feature, from.origin)?;
            tree.append(ours, copy);
        }
    }
    Some(())
}

/// Checks what the preference requires, when all values are there.
pub(super) fn require(
    tree: &Tree,
    machine: &Machine,
    domain: Id,
    from: &Referenced,
    instancetype: Option<&Referenced>,
) {
    let spec = tree.field(from.spec);
    let Some(required) = spec.get("requirements") else { return };
    let place = instancetype.map_or(machine.object.id, |instancetype| instancetype.spec);
    let refuse = |what: String| {
        tree.field(place)
            .error("kubevirt.preference.requirement", || format!("{} requires {what}", from.title));
    };
    let number = |path: &[&str]| tree.find(domain, path).and_then(|id| tree.to_json(id).as_u64());
    let wanted = required.path(&["cpu", "guest"]).and_then(|guest| guest.integer(1, 1 << 16));
    if let Some(wanted) = wanted.map(i64::unsigned_abs) {
        let [sockets, cores, threads] =
            ["sockets", "cores", "threads"].map(|name| number(&["cpu", name]).unwrap_or(1));
        let shape = if instancetype.is_some() { Shape::Any } else { Shape::of(Some(spec)) };
        let count = match shape {
            Shape::Sockets => sockets,
            Shape::Cores => cores,
            Shape::Threads => threads,
            Shape::Spread { across: Across::SocketsCores, .. } => sockets.saturating_mul(cores),
            Shape::Spread { across: Across::CoresThreads, .. } => cores.saturating_mul(threads),
            Shape::Any | Shape::Spread { .. } => sockets.saturating_mul(cores).saturating_mul(threads),
        };
        if count < wanted {
            refuse(format!("{wanted} processors ({}), there are {count}", shape_name(shape)));
        }
    }
    if let Some(wanted) = required.path(&["memory", "guest"]).and_then(Field::quantity) {
        let memory = tree.find(domain, &["memory", "guest"]).and_then(|id| quantity(tree, id));
        if memory.is_some_and(|memory| memory < wanted) {
            refuse(format!("{wanted} bytes of memory, there are {}", memory.unwrap_or(0)));
        }
    }
    let arch = tree.child(machine.spec, "architecture").and_then(|id| tree.text(id));
    if let Some(wanted) =
        required.text("architecture").filter(|wanted| arch.is_some_and(|arch| arch != *wanted))
    {
        refuse(format!("the architecture {wanted}"));
    }
}

fn quantity(tree: &Tree, id: Id) -> Option<u64> {
    match tree.to_json(id) {
        serde_json::Value::String(text) => crate::quantity::parse(&text),
        serde_json::Value::Number(number) => crate::quantity::parse(&number.to_string()),
        _ => None,
    }
}

fn shape_name(shape: Shape) -> &'static str {
    match shape {
        Shape::Sockets => "as sockets",
        Shape::Cores => "as cores",
        Shape::Threads => "as threads",
        Shape::Any => "in all",
        Shape::Spread { .. } => "spread",
    }
}

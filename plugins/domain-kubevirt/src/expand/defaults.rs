//! What KubeVirt fills in. Values are those of its defaults for amd64.

use crate::tree::{Id, Kind, Tree};

use super::Machine;

/// The namespace of UUIDs that KubeVirt derives from names.
const UUIDS: uuid::Uuid = uuid::uuid!("6a1a24a1-4061-4607-8bf4-a3963d0c5895");

/// Devices that are attached by themselves: a disk for each volume without one, an interface, an input.
pub(super) fn attach(tree: &mut Tree, spec: Id, domain: Id, devices: Id) -> Option<()> {
    disks(tree, spec, domain, devices)?;
    let flag = |tree: &Tree, name| tree.child(devices, name).map(|id| tree.kind(id).clone());
    let none = |tree: &Tree, map, name| tree.child(map, name).is_none_or(|list| tree.items(list).is_empty());
    if flag(tree, "autoattachPodInterface") != Some(Kind::Bool(false))
        && none(tree, devices, "interfaces")
        && none(tree, spec, "networks")
    {
        let interfaces = tree.ensure_list(devices, "interfaces", 0)?;
        let interface = tree.make(interfaces, Kind::Map(Vec::new()), 0)?;
        tree.append(interfaces, interface);
        tree.default_text(interface, "name", "default", 0)?;
        tree.ensure_map(interface, &["bridge"], 0)?;
        let networks = tree.ensure_list(spec, "networks", 0)?;
        let network = tree.make(networks, Kind::Map(Vec::new()), 0)?;
        tree.append(networks, network);
        tree.default_text(network, "name", "default", 0)?;
        tree.ensure_map(network, &["pod"], 0)?;
    }
    if flag(tree, "autoattachInputDevice") == Some(Kind::Bool(true)) && none(tree, devices, "inputs") {
        let inputs = tree.ensure_list(devices, "inputs", 0)?;
        let input = tree.make(inputs, Kind::Map(Vec::new()), 0)?;
        tree.append(inputs, input);
        tree.default_text(input, "name", "default-0", 0)?;
    }
    Some(())
}

fn disks(tree: &mut Tree, spec: Id, domain: Id, devices: Id) -> Option<()> {
    let name = |tree: &Tree, id| tree.child(id, "name").and_then(|name| tree.text(name)).map(str::to_owned);
    let mut named = Vec::new();
    for list in ["disks", "filesystems"] {
        let items = tree.child(devices, list).map(|list| tree.items(list)).unwrap_or_default();
        named.extend(items.into_iter().filter_map(|id| name(tree, id)));
    }
    // Volumes that are no disks: licence tables, and dumps.
    for table in ["slicNameRef", "msdmNameRef"] {
        let table = tree.find(domain, &["firmware", "acpi", table]).and_then(|id| tree.text(id));
        named.extend(table.map(str::to_owned));
    }
    let volumes = tree.child(spec, "volumes").map(|list| tree.items(list)).unwrap_or_default();
    let bare = |tree: &Tree, id: &Id| {
        tree.child(*id, "memoryDump").is_none() && tree.child(*id, "containerPath").is_none()
    };
    let missing: Vec<_> = volumes
        .into_iter()
        .filter(|id| bare(tree, id))
        .filter_map(|id| name(tree, id).map(|name| (id, name)))
        .filter(|(_, name)| !named.contains(name))
        .collect();
    if !missing.is_empty() {
        let list = tree.ensure_list(devices, "disks", 0)?;
        for (volume, name) in missing {
            let disk = tree.make(volume, Kind::Map(Vec::new()), 0)?;
            tree.append(list, disk);
            tree.default_text(disk, "name", &name, 0)?;
        }
    }
    let disks = tree.child(devices, "disks").map(|list| tree.items(list)).unwrap_or_default();
    for disk in disks {
        let kinds = ["disk", "lun", "cdrom", "floppy"];
        if matches!(tree.kind(disk), Kind::Map(_))
            && !kinds.iter().any(|kind| tree.child(disk, kind).is_some())
        {
            tree.ensure_map(disk, &["disk"], 0)?;
        }
    }
    Some(())
}

/// Values that are not there.
pub(super) fn fill_in(tree: &mut Tree, machine: &Machine, domain: Id, devices: Id) -> Option<()> {
    tree.default_text(machine.spec, "architecture", "amd64", 0)?;
    let board = tree.ensure_map(domain, &["machine"], 0)?;
    replace_empty(tree, board, "type", "q35")?;
    let firmware = tree.ensure_map(domain, &["firmware"], 0)?;
    let uuid = uuid::Uuid::new_v5(&UUIDS, machine.name.as_bytes()).to_string();
    replace_empty(tree, firmware, "uuid", &uuid)?;
    let acpi = tree.ensure_map(domain, &["features", "acpi"], 0)?;
    tree.default_kind(acpi, "enabled", Kind::Bool(true), 0)?;
    memory(tree, domain)?;
    processors(tree, domain)?;
    hyperv(tree, domain)?;
    let disks = tree.child(devices, "disks").map(|list| tree.items(list)).unwrap_or_default();
    for disk in disks {
        for kind in ["disk", "lun", "cdrom"] {
            if let Some(target) = tree.child(disk, kind) {
                replace_empty(tree, target, "bus", "sata")?;
            }
        }
    }
    let inputs = tree.child(devices, "inputs").map(|list| tree.items(list)).unwrap_or_default();
    for input in inputs {
        replace_empty(tree, input, "type", "tablet")?;
        replace_empty(tree, input, "bus", "usb")?;
    }
    if let Some(watchdog) = tree.child(devices, "watchdog")
        && tree.child(watchdog, "diag288").is_none()
    {
        let model = tree.ensure_map(watchdog, &["i6300esb"], 0)?;
        replace_empty(tree, model, "action", "reset")?;
    }
    Some(())
}

fn replace_empty(tree: &mut Tree, map: Id, name: &str, text: &str) -> Option<()> {
    let absent = tree.child(map, name).is_none_or(|id| tree.text(id) == Some(""));
    if absent {
        let value = tree.make(map, Kind::Text(text.into()), 0)?;
        tree.insert(map, name, value);
    }
    Some(())
}

/// The guest's memory is what is requested, else the limit, else one huge page.
fn memory(tree: &mut Tree, domain: Id) -> Option<()> {
    let sources: [&[&str]; 3] = [
        &["resources", "requests", "memory"],
        &["resources", "limits", "memory"],
        &["memory", "hugepages", "pageSize"],
    ];
    if tree.find(domain, &["memory", "guest"]).is_some() {
        return Some(());
    }
    let Some(source) = sources.iter().find_map(|path| tree.find(domain, path)) else { return Some(()) };
    let memory = tree.ensure_map(domain, &["memory"], 0)?;
    tree.default_copy(memory, "guest", source, 0)
}

/// Without a topology each processor that is allowed or requested is a socket.
fn processors(tree: &mut Tree, domain: Id) -> Option<()> {
    let cpu = tree.ensure_map(domain, &["cpu"], 0)?;
    let set =
        |tree: &Tree, name| tree.child(cpu, name).is_some_and(|id| tree.to_json(id) != serde_json::json!(0));
    let names = ["sockets", "cores", "threads"];
    let mut sockets = 1;
    if !names.iter().any(|name| set(tree, name)) {
        let sources: [&[&str]; 2] = [&["resources", "limits", "cpu"], &["resources", "requests", "cpu"]];
        let source = sources.iter().find_map(|path| tree.find(domain, path));
        let count = source.and_then(|id| match tree.to_json(id) {
            serde_json::Value::String(text) => crate::quantity::parse(&text),
            other => crate::quantity::parse(&other.to_string()),
        });
        sockets = count.filter(|count| *count > 0).unwrap_or(1);
    }
    for name in names {
        if !set(tree, name) {
            let count = if name == "sockets" { sockets } else { 1 };
            let value = tree.make(cpu, Kind::Number(count.into()), 0)?;
            tree.insert(cpu, name, value);
        }
    }
    Some(())
}

/// Enlightenments that others need are switched on unless the machine says something of them. In KubeVirt's order.
fn hyperv(tree: &mut Tree, domain: Id) -> Option<()> {
    let Some(hyperv) = tree.find(domain, &["features", "hyperv"]) else { return Some(()) };
    let on = |tree: &Tree, name| {
        let Some(feature) = tree.child(hyperv, name) else { return false };
        tree.child(feature, "enabled").is_none_or(|enabled| *tree.kind(enabled) == Kind::Bool(true))
    };
    let needs = [
        ("evmcs", "vapic"),
        ("ipi", "vpindex"),
        ("tlbflush", "vpindex"),
        ("synictimer", "synic"),
        ("synic", "vpindex"),
    ];
    for (feature, needed) in needs {
        if on(tree, feature) && tree.child(hyperv, needed).is_none() {
            let made = tree.ensure_map(hyperv, &[needed], 0)?;
            tree.default_kind(made, "enabled", Kind::Bool(true), 0)?;
        }
        if on(tree, feature) && !on(tree, needed) {
            tree.field(hyperv).error("kubevirt.features.hyperv", || {
                format!("{feature} needs {needed}, which is switched off")
            });
        }
    }
    if on(tree, "evmcs") {
        let cpu = tree.ensure_map(domain, &["cpu"], 0)?;
        let features = tree.ensure_list(cpu, "features", 0)?;
        let named =
            |tree: &Tree, id: &Id| tree.child(*id, "name").and_then(|name| tree.text(name)) == Some("vmx");
        let found = tree.items(features).into_iter().find(|id| named(tree, id));
        let vmx = match found {
            Some(vmx) => vmx,
            None => {
                let vmx = tree.make(features, Kind::Map(Vec::new()), 0)?;
                tree.append(features, vmx);
                tree.default_text(vmx, "name", "vmx", 0)?;
                vmx
            }
        };
        let policy = tree.make(vmx, Kind::Text("require".into()), 0)?;
        tree.insert(vmx, "policy", policy);
    }
    Some(())
}

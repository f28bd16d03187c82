//! What a guest sees of a command line.

use std::collections::BTreeMap;

use crate::options::{Argument, Properties, is_repeated, properties};

/// Options that are not compared: what they say is the host's business, and no guest can tell.
const HOST_SIDE: &[(&str, &str)] = &[
    ("S", "the monitor lets the machine run"),
    ("accel", "whether hardware or software runs the CPUs is the daemon's setting"),
    ("action", "what the host does when a watchdog fires"),
    ("add-fd", "how a file is handed over"),
    ("compat", "for developers of QEMU"),
    ("daemonize", "how the process runs"),
    ("display", "how the host shows the picture"),
    ("full-screen", "how the host shows the picture"),
    ("incoming", "where the state of a migrated machine comes from"),
    ("k", "the keyboard of whoever looks"),
    ("mon", "the manager's own channel"),
    ("msg", "format of messages"),
    ("name", "the process's name"),
    ("no-shutdown", "what the manager does when the guest ends"),
    ("no-user-config", "both start from nothing"),
    ("nodefaults", "both start from nothing"),
    ("overcommit", "whether memory is locked on the host"),
    ("pidfile", "how the process runs"),
    ("sandbox", "confinement of the process"),
    ("spice", "how the host shows the picture"),
    ("uuid", "compared by the tests of domain-libvirt; libvirt makes one up where the document has none"),
    ("watchdog-action", "what the host does when a watchdog fires"),
];

/// Properties that are not compared, of any device.
const PLACES: &[(&str, &str)] = &[
    ("addr", "the slot on a PCI bus"),
    ("cad", "the number of a codec on its bus"),
    ("channel", "the place on a SCSI bus"),
    ("chassis", "the number of a bridge"),
    ("chassis_nr", "the number of a bridge"),
    ("firstport", "which ports a companion serves"),
    ("id", "a name that only the manager uses"),
    ("lun", "the place on a SCSI bus"),
    ("memaddr", "the place in the address space"),
    ("multifunction", "whether a slot is shared"),
    ("nr", "the number of a virtio port"),
    ("port", "the place on a USB or PCI Express bus"),
    ("scsi-id", "the place on a SCSI bus"),
    ("slot", "the place of a memory module"),
    ("unit", "the place on an IDE bus"),
];

/// Devices that only make room for others. Which buses exist is policy, as long as each device finds its place.
const BRIDGES: &[&str] = &[
    "pcie-root-port",
    "ioh3420",
    "pci-bridge",
    "pcie-pci-bridge",
    "i82801b11-bridge",
    "x3130-upstream",
    "xio3130-downstream",
    "pxb",
    "pxb-pcie",
];

/// QEMU's two names for one device.
const ALIASES: &[(&str, &str)] = &[("lsi", "lsi53c895a"), ("ahci", "ich9-ahci"), ("e1000-82540em", "e1000")];

/// A device, or another part of the machine.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Part {
    /// The device's driver, or the option with its dash.
    pub kind: String,
    /// What is set.
    pub properties: Properties,
}

/// What a guest sees of a command line: its parts, in no particular order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct View {
    /// The parts.
    pub parts: Vec<Part>,
}

struct Backends<'a> {
    /// What has an id, by it.
    named: BTreeMap<String, (&'a str, Properties)>,
}

impl View {
    /// The guest's view of a line.
    pub fn new(arguments: &[Argument]) -> Self {
        let mut view = Self::default();
        let mut backends = Backends { named: BTreeMap::new() };
        let mut parts = Vec::new();
        let mut globals = Properties::new();
        for argument in arguments {
            let name = argument.name.as_str();
            if HOST_SIDE.iter().any(|(option, _)| *option == name) {
                continue;
            }
            let read = argument.value.as_deref().map(|value| properties(name, value)).unwrap_or_default();
            let id = ["id", "node-name"].iter().find_map(|key| read.get(*key));
            if let Some(id) = id.filter(|_| is_repeated(name)) {
                backends.named.insert(id.clone(), (name, read.clone()));
            }
            parts.push((name, argument.value.as_deref().unwrap_or_default(), read));
        }
        for (name, value, read) in parts {
            match name {
                "device" => view.parts.extend(device(read, &backends)),
                // Seen where they are plugged in.
                "blockdev" | "chardev" | "netdev" | "audiodev" | "tpmdev" | "fsdev" | "object" => {
                    view.parts.extend(unused(name, read));
                }
                "vnc" => view.parts.push(Part { kind: "-vnc".to_owned(), properties: Properties::new() }),
                "global" => globals.extend(global(read)),
                "numa" => {
                    let mut properties = read;
                    // The node's memory: its size is all that a guest sees of it.
                    let memory = properties.remove("memdev").and_then(|id| backends.named.get(&id));
                    if let Some(size) = memory.and_then(|(_, read)| read.get("size")) {
                        properties.insert("size".to_owned(), size.clone());
                    }
                    view.parts.push(Part { kind: "-numa".to_owned(), properties });
                }
                "smp" => view.parts.push(Part { kind: "-smp".to_owned(), properties: processors(read) }),
                "kernel" | "initrd" | "append" | "bios" => {
                    let properties = Properties::from([("value".to_owned(), value.to_owned())]);
                    view.parts.push(Part { kind: format!("-{name}"), properties });
                }
                "machine" => {
                    let properties = machine(read, &backends);
                    view.parts.push(Part { kind: "-machine".to_owned(), properties });
                }
                _ => view.parts.push(Part { kind: format!("-{name}"), properties: read }),
            }
        }
        if !globals.is_empty() {
            view.parts.push(Part { kind: "-global".to_owned(), properties: globals });
        }
        view.parts.sort();
        view
    }
}

fn device(mut read: Properties, backends: &Backends<'_>) -> Option<Part> {
    let driver = read.remove("driver")?;
    let kind = canonical(&driver);
    if BRIDGES.contains(&kind) {
        return None;
    }
    let mut properties = Properties::new();
    for (key, value) in read {
        match key.as_str() {
            key if PLACES.iter().any(|(place, _)| *place == key) => {}
            "bus" | "masterbus" => {
                if let Some(bus) = backends.bus(&value) {
                    properties.insert(key, bus);
                }
            }
            "drive" => backends.drive(&value, &mut properties),
            "rng" | "memdev" | "cryptodev" | "tpmdev" | "fsdev" => {
                let backend = backends.named.get(&value);
                let kind = backend.and_then(|(_, read)| {
                    ["qom-type", "type", "fsdriver"].iter().find_map(|key| read.get(*key))
                });
                properties.insert(key, kind.cloned().unwrap_or_default());
            }
            // The host's end of a wire.
            "netdev" | "chardev" | "audiodev" | "iothread" => {
                properties.insert(key, "(host)".to_owned());
            }
            _ => {
                properties.insert(key, value);
            }
        }
    }
    Some(Part { kind: kind.to_owned(), properties })
}

fn canonical(driver: &str) -> &str {
    ALIASES.iter().find(|(alias, _)| *alias == driver).map_or(driver, |(_, name)| name)
}

impl Backends<'_> {
    /// What carries a device: the driver of its controller. `None` for PCI, where all that is plugged in is seen alike.
    fn bus(&self, bus: &str) -> Option<String> {
        let controller = bus.rsplit_once('.').map_or(bus, |(controller, _)| controller);
        let found = self.named.get(controller).or_else(|| self.named.get(bus));
        if let Some((_, read)) = found {
            let driver = canonical(read.get("driver").map_or("", String::as_str));
            return (!BRIDGES.contains(&driver)).then(|| driver.to_owned());
        }
        let board = matches!(controller, "pci" | "pcie") || controller.starts_with("pci.");
        (!board).then(|| controller.to_owned())
    }

    /// What a drive holds, from the topmost of its nodes that says so.
    fn drive(&self, node: &str, properties: &mut Properties) {
        const SEEN: [&str; 6] =
            ["read-only", "cache.direct", "cache.no-flush", "detect-zeroes", "aio", "filename"];
        let mut next = Some(node.to_owned());
        let mut nodes = 0;
        while let Some((_, read)) = next.as_ref().and_then(|node| self.named.get(node)) {
            for key in SEEN {
                for inline in [key.to_owned(), format!("file.{key}")] {
                    if let Some(value) = read.get(&inline) {
                        properties.entry(format!("drive.{key}")).or_insert_with(|| value.clone());
                    }
                }
            }
            next = read.get("file").cloned();
            nodes += 1;
            if nodes > 8 {
                break;
            }
        }
    }
}

/// A backend: seen where it is plugged in, unless nothing is.
fn unused(name: &str, read: Properties) -> Option<Part> {
    let kind = read.get("qom-type").filter(|_| name == "object")?;
    // Seen in other parts, or not at all.
    const BEHIND: &[&str] = &[
        "secret",
        "memory-backend-ram",
        "memory-backend-file",
        "memory-backend-memfd",
        "rng-random",
        "rng-builtin",
        "rng-egd",
        "iothread",
        "thread-context",
        "tls-creds-x509",
        "throttle-group",
        "main-loop",
        "cryptodev-backend-builtin",
        "can-bus",
    ];
    (!BEHIND.contains(&kind.as_str()))
        .then(|| Part { kind: format!("-object {kind}"), properties: Properties::new() })
}

fn global(read: Properties) -> Properties {
    match (read.get("driver"), read.get("property"), read.get("value")) {
        (Some(driver), Some(property), Some(value)) => {
            Properties::from([(format!("{driver}.{property}"), value.clone())])
        }
        _ => read,
    }
}

fn processors(mut read: Properties) -> Properties {
    for key in ["dies", "clusters", "modules"] {
        if read.get(key).is_some_and(|count| count == "1") {
            read.remove(key);
        }
    }
    read
}

fn machine(mut read: Properties, backends: &Backends<'_>) -> Properties {
    // The guest's memory under another name.
    read.remove("memory-backend");
    for flash in ["pflash0", "pflash1"] {
        if let Some(node) = read.remove(flash) {
            let mut file = Properties::new();
            backends.drive(&node, &mut file);
            let file = file.remove("drive.read-only").unwrap_or_default();
            read.insert(flash.to_owned(), format!("read-only={file}"));
        }
    }
    read
}

//! The machine as libvirt domain XML.

use witvirt_sdk::xml::Element;

use crate::commandline::display::Display;
use crate::commandline::network::Link;
use crate::commandline::slot::Address;
use crate::guest::{Boot, Disk, DiskBus, Guest, Nic, Serial};
use crate::settings::Tap;

/// SATA disks that one controller has ports for.
const SATA_PORTS: usize = 6;

/// Writes the domain.
pub(crate) fn write(guest: &Guest, tap: Tap) -> String {
    let mut domain =
        Element::new("domain").attribute("type", "kvm").child(Element::new("name").text(&guest.name));
    if let Some(uuid) = guest.uuid {
        domain.push(Element::new("uuid").text(uuid.to_string()));
    }
    domain.push(memory(guest));
    if guest.wired {
        domain.push(Element::new("memoryBacking").child(Element::new("locked")));
    }
    domain.push(Element::new("vcpu").attribute("placement", "static").text(guest.cpus.to_string()));
    domain.push(os(&guest.boot));
    domain.push(features(guest));
    domain.push(cpu(guest));
    domain.push(Element::new("clock").attribute("offset", if guest.utc { "utc" } else { "localtime" }));
    for (event, action) in [("on_poweroff", "destroy"), ("on_reboot", "restart"), ("on_crash", "destroy")] {
        domain.push(Element::new(event).text(action));
    }
    domain.push(devices(guest, tap));
    domain.to_document(2)
}

fn memory(guest: &Guest) -> Element {
    let (unit, size) = match guest.memory % 1024 {
        0 => ("KiB", guest.memory / 1024),
        _ => ("b", guest.memory),
    };
    Element::new("memory")
        .attribute("unit", unit)
        .optional_attribute("dumpCore", guest.core_dumps.then_some("on"))
        .text(size.to_string())
}

fn os(boot: &Boot) -> Element {
    let kind = Element::new("type").attribute("arch", "x86_64").attribute("machine", "q35").text("hvm");
    let mut os = Element::new("os").child(kind);
    match boot {
        Boot::Devices => {}
        Boot::Kernel { kernel, initrd, cmdline } => {
            os.push(Element::new("kernel").text(kernel));
            if let Some(initrd) = initrd {
                os.push(Element::new("initrd").text(initrd));
            }
            os.push(Element::new("cmdline").text(cmdline));
        }
        Boot::Rom { code, vars } => {
            os.push(
                Element::new("loader").attribute("readonly", "yes").attribute("type", "pflash").text(code),
            );
            if let Some(vars) = vars {
                os.push(Element::new("nvram").text(vars));
            }
        }
    }
    os
}

fn features(guest: &Guest) -> Element {
    let mut features = Element::new("features");
    if guest.acpi {
        features.push(Element::new("acpi"));
    }
    features.push(Element::new("apic"));
    if guest.ignore_msrs {
        features.push(Element::new("msrs").attribute("unknown", "ignore"));
    }
    features
}

fn cpu(guest: &Guest) -> Element {
    // The programs show guests the host's CPU.
    let mut cpu = Element::new("cpu").attribute("mode", "host-model");
    if let Some(topology) = guest.topology {
        let element = Element::new("topology")
            .attribute("sockets", topology.sockets)
            .attribute("cores", topology.cores)
            .attribute("threads", topology.threads);
        cpu.push(element);
    }
    if guest.x2apic {
        cpu.push(Element::new("feature").attribute("policy", "require").attribute("name", "x2apic"));
    }
    cpu
}

fn devices(guest: &Guest, tap: Tap) -> Element {
    let mut devices = Element::new("devices");
    let mut names = [0; 3];
    for disk in &guest.disks {
        let number = &mut names[disk.bus as usize];
        devices.push(write_disk(disk, *number, guest));
        *number += 1;
    }
    let sata = names[DiskBus::Sata as usize].div_ceil(SATA_PORTS);
    for index in 1..sata {
        devices.push(Element::new("controller").attribute("type", "sata").attribute("index", index));
    }
    let usb = Element::new("controller").attribute("type", "usb").attribute("index", 0);
    devices.push(usb.attribute("model", if guest.tablet { "qemu-xhci" } else { "none" }));
    for nic in &guest.nics {
        devices.push(interface(nic, tap, guest));
    }
    for serial in &guest.serials {
        devices.push(write_serial(serial));
    }
    if guest.tablet {
        devices.push(Element::new("input").attribute("type", "tablet").attribute("bus", "usb"));
    }
    if guest.tpm {
        let backend = Element::new("backend").attribute("type", "emulator").attribute("version", "2.0");
        devices.push(Element::new("tpm").attribute("model", "tpm-crb").child(backend));
    }
    if let Some((display, address)) = &guest.display {
        devices.push(graphics(display));
        devices.push(video(display, *address, guest));
    }
    if guest.sound {
        devices.push(Element::new("sound").attribute("model", "ich6"));
    }
    // What libvirt would add, and these programs do not have.
    devices.push(Element::new("memballoon").attribute("model", "none"));
    if let Some(address) = guest.rng {
        let backend = Element::new("backend").attribute("model", "random").text("/dev/urandom");
        let rng = Element::new("rng").attribute("model", "virtio").child(backend);
        devices.push(rng.children(place(address, guest)));
    }
    devices
}

fn write_disk(disk: &Disk, number: usize, guest: &Guest) -> Element {
    let block = disk.backing.path.starts_with("/dev/");
    let cache = match (disk.backing.direct, disk.backing.sync) {
        (true, true) => Some("directsync"),
        (true, false) => Some("none"),
        (false, true) => Some("writethrough"),
        (false, false) => None,
    };
    let driver = Element::new("driver")
        .attribute("name", "qemu")
        .attribute("type", if disk.backing.qcow2 { "qcow2" } else { "raw" })
        .optional_attribute("cache", cache)
        .optional_attribute("discard", disk.backing.no_delete.then_some("ignore"));
    let source = Element::new("source").attribute(if block { "dev" } else { "file" }, &disk.backing.path);
    let (prefix, bus) = match disk.bus {
        DiskBus::Virtio => ("vd", "virtio"),
        DiskBus::Sata => ("sd", "sata"),
        DiskBus::Nvme => ("nvme", "nvme"),
    };
    let dev = match disk.bus {
        DiskBus::Nvme => format!("nvme{number}n1"),
        _ => format!("{prefix}{}", letters(number)),
    };
    let mut element = Element::new("disk")
        .attribute("type", if block { "block" } else { "file" })
        .attribute("device", if disk.cdrom { "cdrom" } else { "disk" })
        .child(driver)
        .child(source)
        .child(Element::new("target").attribute("dev", dev).attribute("bus", bus));
    if let Some((logical, physical)) = disk.backing.sector {
        let sizes = Element::new("blockio")
            .attribute("logical_block_size", logical)
            .attribute("physical_block_size", physical);
        element.push(sizes);
    }
    if disk.cdrom || disk.backing.read_only {
        element.push(Element::new("readonly"));
    }
    if let Some(serial) = &disk.backing.serial {
        element.push(Element::new("serial").text(serial));
    }
    if let Some(order) = disk.boot_index {
        element.push(Element::new("boot").attribute("order", order));
    }
    match disk.bus {
        DiskBus::Sata => {
            let address = Element::new("address")
                .attribute("type", "drive")
                .attribute("controller", number / SATA_PORTS)
                .attribute("bus", 0)
                .attribute("target", 0)
                .attribute("unit", number % SATA_PORTS);
            element.child(address)
        }
        _ => element.children(place(disk.address, guest)),
    }
}

/// a, b ... z, aa, ab ...
fn letters(mut number: usize) -> String {
    let mut letters = Vec::new();
    loop {
        letters.push(char::from(b'a' + (number % 26) as u8));
        if number < 26 {
            break;
        }
        number = number / 26 - 1;
    }
    letters.iter().rev().collect()
}

/// Where the guest finds a device: on the first bus, as there.
fn place(address: Address, guest: &Guest) -> Option<Element> {
    if address.bus != 0 || address.slot == 0 {
        return None;
    }
    let hex = |number: u8| format!("{number:#04x}");
    let mut element = Element::new("address")
        .attribute("type", "pci")
        .attribute("domain", "0x0000")
        .attribute("bus", hex(address.bus))
        .attribute("slot", hex(address.slot))
        .attribute("function", format!("{:#x}", address.function));
    let others = guest.disks.iter().map(|disk| disk.address).chain(guest.nics.iter().map(|nic| nic.address));
    let shares = |other: Address| other.slot == address.slot && other.bus == 0 && other.function > 0;
    if address.function == 0 && others.into_iter().any(shares) {
        element.set_attribute("multifunction", "on");
    }
    Some(element)
}

fn interface(nic: &Nic, tap: Tap, guest: &Guest) -> Element {
    let (kind, device) = match (&nic.card.link, tap) {
        (Link::Shared, _) | (Link::Tap(_), Tap::User) => ("user", None),
        (Link::Tap(device), Tap::Ethernet) => ("ethernet", Some(device)),
        (Link::Tap(_), Tap::Unplugged) | (Link::Elsewhere, _) => ("null", None),
    };
    let mut element = Element::new("interface").attribute("type", kind);
    if let Some(mac) = &nic.card.mac {
        element.push(Element::new("mac").attribute("address", mac));
    }
    if let Some(device) = device {
        element.push(Element::new("target").attribute("dev", device).attribute("managed", "no"));
    }
    element.push(Element::new("model").attribute("type", nic.model));
    if let Some(mtu) = nic.card.mtu {
        element.push(Element::new("mtu").attribute("size", mtu));
    }
    element.children(place(nic.address, guest))
}

fn write_serial(serial: &Serial) -> Element {
    match serial {
        Serial::Com { port, connected, log } => {
            let mut element =
                Element::new("serial").attribute("type", if *connected { "pty" } else { "null" });
            if let Some(log) = log {
                element.push(Element::new("log").attribute("file", log).attribute("append", "on"));
            }
            let model = Element::new("model").attribute("name", "isa-serial");
            element.child(
                Element::new("target").attribute("type", "isa-serial").attribute("port", port).child(model),
            )
        }
        Serial::Pci { .. } => {
            let model = Element::new("model").attribute("name", "pci-serial");
            Element::new("serial")
                .attribute("type", "pty")
                .child(Element::new("target").attribute("type", "pci-serial").child(model))
        }
    }
}

fn graphics(display: &Display) -> Element {
    let listen = Element::new("listen").attribute("type", "address").attribute("address", &display.address);
    Element::new("graphics")
        .attribute("type", "vnc")
        .attribute("port", display.port)
        .attribute("autoport", "no")
        .attribute("listen", &display.address)
        .optional_attribute("passwd", display.password.as_ref())
        .child(listen)
}

fn video(display: &Display, address: Address, guest: &Guest) -> Element {
    let resolution = Element::new("resolution").attribute("x", display.width).attribute("y", display.height);
    let model = Element::new("model").attribute("type", "vga").attribute("heads", 1).child(resolution);
    Element::new("video").child(model).children(place(address, guest))
}

#[cfg(test)]
mod tests {
    use super::letters;

    #[test]
    fn disks_have_letters() {
        for (number, expected) in [(0, "a"), (25, "z"), (26, "aa"), (27, "ab"), (701, "zz"), (702, "aaa")] {
            assert_eq!(letters(number), expected);
        }
    }
}

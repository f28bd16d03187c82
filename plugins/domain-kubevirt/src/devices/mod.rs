//! `domain.devices`.

mod disk;
mod display;
mod interface;
mod small;

use witvirt_sdk::xml::Element;

use crate::draft::Draft;
use crate::tree::{Field, Waiver};

const HOST_HARDWARE: Waiver = Waiver::error(
    "kubevirt.device.host",
    "names hardware of the host, which witvirt does not hand to guests",
);
const SHARED_DIRECTORY: Waiver =
    Waiver::error("kubevirt.device.filesystem", "witvirt shares no directories with guests");
const METRICS: Waiver = Waiver::warning("kubevirt.device.metrics", "the guest gets no metrics of the host");
const VSOCK: Waiver =
    Waiver::error("kubevirt.device.vsock", "witvirt has no such device, and the guest would miss it");
const USB_CLIENT: Waiver =
    Waiver::warning("kubevirt.device.usb", "devices of clients are not passed through");
const QUEUES: Waiver =
    Waiver::info("kubevirt.tuning", "how many queues there are is the hypervisor's choice");
const HOTPLUG: Waiver = Waiver::info("kubevirt.hotplug", "devices are not added to running machines anyway");
const CONSOLE_LOG: Waiver = Waiver::info("kubevirt.console", "the console's output is always kept");
const TRANSITIONAL: Waiver = Waiver::warning(
    "kubevirt.device.transitional",
    "virtio devices are as the hypervisor makes them by default",
);

/// Orders of boot so far, and where they stand.
#[derive(Default)]
pub(crate) struct BootOrder<'a> {
    taken: Vec<(i64, Field<'a>)>,
}

impl<'a> BootOrder<'a> {
    /// `<boot order=>` of a device with a field `bootOrder`.
    fn read(&mut self, device: Field<'a>) -> Option<Element> {
        let field = device.get("bootOrder")?;
        let order = field.integer(1, i64::from(u32::MAX))?;
        if let Some((_, other)) = self.taken.iter().find(|(taken, _)| *taken == order) {
            let path = field.tree.path(other.id);
            field.error("kubevirt.boot-order", || format!("{order} is taken by {path}"));
            return None;
        }
        self.taken.push((order, field));
        Some(Element::new("boot").attribute("order", order))
    }
}

/// `<address>` of a PCI address like 0000:81:01.10.
fn pci_address(device: Field<'_>) -> Option<Element> {
    let field = device.get("pciAddress")?;
    let text = field.string().filter(|text| !text.is_empty())?;
    let parts: Vec<&str> = text.split([':', '.']).collect();
    let hex = |part: &str, most: u32| u32::from_str_radix(part, 16).ok().filter(|n| *n <= most);
    let parsed = match parts[..] {
        [domain, bus, slot, function] if text.matches(':').count() == 2 => {
            [hex(domain, 0xffff), hex(bus, 0xff), hex(slot, 0x1f), hex(function, 7)]
        }
        _ => [None; 4],
    };
    let [Some(domain), Some(bus), Some(slot), Some(function)] = parsed else {
        field.refuse("a PCI address like 0000:01:00.0");
        return None;
    };
    Some(
        Element::new("address")
            .attribute("type", "pci")
            .attribute("domain", format!("0x{domain:04x}"))
            .attribute("bus", format!("0x{bus:02x}"))
            .attribute("slot", format!("0x{slot:02x}"))
            .attribute("function", format!("0x{function:x}")),
    )
}

pub(crate) fn read(draft: &mut Draft<'_>) -> Element {
    let mut order = BootOrder::default();
    let disks = disk::read(draft, &mut order);
    let interfaces = interface::read(draft, &mut order);
    let devices = draft.devices;
    let mut parts = controllers(draft);
    parts.extend(disks);
    parts.extend(interfaces);
    parts.extend(display::console(devices));
    parts.extend(small::read(devices));
    parts.extend(display::read(draft));
    devices.waive_fields(&["gpus", "hostDevices"], &HOST_HARDWARE);
    devices.waive_fields(&["filesystems"], &SHARED_DIRECTORY);
    devices.waive_fields(&["downwardMetrics"], &METRICS);
    devices.waive_fields(&["clientPassthrough"], &USB_CLIENT);
    devices.waive_fields(&["logSerialConsole"], &CONSOLE_LOG);
    for (name, waiver) in [
        ("autoattachVSOCK", &VSOCK),
        ("blockMultiQueue", &QUEUES),
        ("networkInterfaceMultiqueue", &QUEUES),
        ("disableHotplug", &HOTPLUG),
        ("useVirtioTransitional", &TRANSITIONAL),
    ] {
        if devices.flag(name) == Some(true) {
            devices.waive_fields(&[name], waiver);
        }
    }
    Element::new("devices").children(parts)
}

/// A USB controller where a device needs one, SCSI where a disk does.
fn controllers(draft: &Draft<'_>) -> Vec<Element> {
    let controller = |kind: &str, model: &str| {
        Element::new("controller").attribute("type", kind).attribute("index", 0).attribute("model", model)
    };
    let usb = small::needs_usb(draft.devices) || disk::uses_bus(draft.devices, "usb");
    let mut parts = vec![controller("usb", if usb { "qemu-xhci" } else { "none" })];
    if disk::uses_bus(draft.devices, "scsi") {
        parts.push(controller("scsi", "virtio-scsi"));
    }
    let annotation =
        draft.metadata.get("annotations").and_then(|all| all.text("kubevirt.io/disablePCIHole64"));
    if annotation.is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        let hole = Element::new("pcihole64").attribute("unit", "KiB").text("0");
        parts.push(controller("pci", "pcie-root").child(hole));
    }
    parts
}

//! Controllers: those that the spec names, and those that its devices need.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};
use witvirt_core::spec::{
    Chipset, Controller, ControllerKind, Disk, DiskBus, InputBus, MachineSpec, NicModel,
};

use super::board::Board;
use super::{unsupported, virtio};
use crate::Error;

/// Ports of an AHCI controller.
const SATA_PORTS: u32 = 6;
/// The last SATA controller that is added without being named.
const SATA_CONTROLLERS: u32 = 15;
/// Ports of a virtio-serial controller that does not say how many.
const VIRTIO_PORTS: u32 = 31;
/// Channels that name no controller find room on one of these.
const CHANNEL_CONTROLLERS: u32 = 31;
/// Drives on the two channels of the PIIX3.
const IDE_DRIVES: u32 = 4;

/// Where drives are plugged in: for each disk of the spec its bus and unit on it, when its bus has such.
pub(super) struct Ports {
    pub drives: Vec<Option<(String, Option<u32>)>>,
}

/// Adds all controllers and gives each drive its place.
pub(super) fn plug(spec: &MachineSpec, board: &mut Board<'_>) -> Result<Ports, Error> {
    let mut wanted = wanted(spec)?;
    let ports = place(spec, &mut wanted)?;
    for ((kind, index), controller) in &wanted {
        match kind {
            Kind::Usb => usb(*index, *controller, board)?,
            Kind::Scsi => scsi(*index, *controller, board)?,
            Kind::Sata if spec.chipset == Chipset::Q35 && *index == 0 => {}
            Kind::Sata => board.pci_device(json!({ "driver": "ich9-ahci", "id": format!("sata{index}") }))?,
            Kind::VirtioSerial => serials(*index, *controller, board)?,
            Kind::RootPort => {
                let chassis = index.saturating_add(1);
                board.pci_device(
                    json!({ "driver": "pcie-root-port", "id": format!("port{index}"), "chassis": chassis }),
                )?;
            }
            Kind::Bridge => {
                let chassis = index.saturating_add(1);
                board.pci_device(
                    json!({ "driver": "pci-bridge", "id": format!("bridge{index}"), "chassis_nr": chassis }),
                )?;
            }
        }
    }
    Ok(ports)
}

/// A kind of controller, in the order in which they are plugged in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    RootPort,
    Bridge,
    Usb,
    Sata,
    Scsi,
    VirtioSerial,
}

type Wanted<'a> = BTreeMap<(Kind, u32), Option<&'a Controller>>;

fn wanted(spec: &MachineSpec) -> Result<Wanted<'_>, Error> {
    let mut wanted = Wanted::new();
    for (index, controller) in spec.controllers.iter().enumerate() {
        explicit(spec, controller, &format!("controllers[{index}]"), &mut wanted)?;
    }
    for disk in &spec.disks {
        let kind = match disk.bus {
            DiskBus::Usb => Kind::Usb,
            DiskBus::Scsi => Kind::Scsi,
            _ => continue,
        };
        if kind == Kind::Usb && disk.controller.is_none() {
            continue;
        }
        wanted.entry((kind, disk.controller.unwrap_or(0))).or_default();
    }
    if needs_usb(spec) && !wanted.keys().any(|(kind, _)| *kind == Kind::Usb) {
        wanted.insert((Kind::Usb, 0), None);
    }
    if needs_usb(spec) && !wanted.contains_key(&(Kind::Usb, 0)) {
        return Err(unsupported(
            "controllers",
            "USB devices are plugged into USB controller 0, which is not there",
        ));
    }
    if !spec.consoles.is_empty() {
        wanted.entry((Kind::VirtioSerial, 0)).or_default();
    }
    for controller in channels(spec) {
        wanted.entry((Kind::VirtioSerial, controller)).or_default();
    }
    Ok(wanted)
}

/// The virtio-serial controller of each channel: the one it names, else the first with room.
pub(super) fn channels(spec: &MachineSpec) -> Vec<u32> {
    let room = |index: u32| {
        let named = |controller: &&Controller| {
            controller.kind == ControllerKind::VirtioSerial && controller.index == index
        };
        let ports = spec.controllers.iter().find(named).and_then(|controller| controller.ports);
        // Port 0 is kept for a console, of which each takes one on controller 0.
        let consoles = if index == 0 { spec.consoles.len().saturating_sub(1) } else { 0 };
        (ports.unwrap_or(VIRTIO_PORTS) as usize).saturating_sub(1).saturating_sub(consoles)
    };
    let mut taken = BTreeMap::<u32, usize>::new();
    for index in spec.channels.iter().filter_map(|channel| channel.controller) {
        *taken.entry(index).or_default() += 1;
    }
    let place = |channel: &witvirt_core::spec::Channel| {
        if let Some(index) = channel.controller {
            return index;
        }
        let free = |index: &u32| taken.get(index).copied().unwrap_or(0) < room(*index);
        let index = (0..CHANNEL_CONTROLLERS).find(free).unwrap_or(0);
        *taken.entry(index).or_default() += 1;
        index
    };
    spec.channels.iter().map(place).collect()
}

fn needs_usb(spec: &MachineSpec) -> bool {
    spec.inputs.iter().any(|input| input.bus == InputBus::Usb)
        || spec.disks.iter().any(|disk| disk.bus == DiskBus::Usb && disk.controller.is_none())
        || spec.interfaces.iter().any(|interface| interface.model == NicModel::UsbNet)
        || spec.sounds.iter().any(|sound| sound.model == "usb")
}

fn explicit<'a>(
    spec: &MachineSpec,
    controller: &'a Controller,
    path: &str,
    wanted: &mut Wanted<'a>,
) -> Result<(), Error> {
    let (index, model) = (controller.index, controller.model.as_deref());
    let q35 = spec.chipset == Chipset::Q35;
    if index > 99 {
        return Err(unsupported(format!("{path}.index"), "above 99"));
    }
    let only = |names: &[&str]| match model {
        Some(model) if !names.contains(&model) => Err(unsupported(
            format!("{path}.model"),
            format!("no model \"{model}\"; use {}", names.join(", ")),
        )),
        _ => Ok(()),
    };
    let kind = match controller.kind {
        ControllerKind::Usb => {
            // The companions of an EHCI controller are plugged in with it.
            let companion = model.is_some_and(|model| model.starts_with("ich9-uhci"));
            let beside = spec.controllers.iter().any(|other| {
                other.kind == ControllerKind::Usb
                    && other.index == index
                    && other.model.as_deref() == Some("ich9-ehci1")
            });
            if companion && beside {
                return Ok(());
            }
            Kind::Usb
        }
        ControllerKind::Scsi => Kind::Scsi,
        ControllerKind::Sata => {
            only(&["ahci", "ich9-ahci"])?;
            Kind::Sata
        }
        ControllerKind::Ide => {
            only(&["piix3-ide", "piix3"])?;
            if q35 || index != 0 {
                return Err(unsupported(path, "IDE is built into the pc chipset, once; use sata"));
            }
            return Ok(());
        }
        ControllerKind::VirtioSerial => {
            only(&["virtio"])?;
            Kind::VirtioSerial
        }
        ControllerKind::PcieRootPort => {
            only(&["pcie-root-port"])?;
            if !q35 {
                return Err(unsupported(path, "PCI Express needs the q35 chipset"));
            }
            Kind::RootPort
        }
        ControllerKind::PciBridge => {
            only(&["pci-bridge"])?;
            Kind::Bridge
        }
    };
    fits(controller, kind, path)?;
    let twice = wanted.insert((kind, index), Some(controller)).is_some();
    if twice {
        return Err(unsupported(format!("{path}.index"), format!("{index} is used twice for this kind")));
    }
    Ok(())
}

/// Refuses properties of other kinds.
fn fits(controller: &Controller, kind: Kind, path: &str) -> Result<(), Error> {
    let xhci = controller.model.as_deref().is_none_or(|model| model.ends_with("xhci"));
    let virtio_scsi = controller.model.as_deref().is_none_or(|model| model.starts_with("virtio"));
    let ports = (kind == Kind::Usb && xhci) || kind == Kind::VirtioSerial;
    let scsi = kind == Kind::Scsi && virtio_scsi;
    for (name, set, fits, right) in [
        ("ports", controller.ports.is_some(), ports, "only for xHCI and virtio-serial"),
        ("vectors", controller.vectors.is_some(), kind == Kind::VirtioSerial, "only for virtio-serial"),
        ("queues", controller.queues.is_some(), scsi, "only for virtio-scsi"),
        ("commands-per-lun", controller.commands_per_lun.is_some(), scsi, "only for virtio-scsi"),
        ("max-sectors", controller.max_sectors.is_some(), scsi, "only for virtio-scsi"),
        (
            "virtio",
            !controller.virtio.is_default(),
            scsi || kind == Kind::VirtioSerial,
            "only for virtio-scsi and virtio-serial",
        ),
    ] {
        if set && !fits {
            return Err(unsupported(format!("{path}.{name}"), right));
        }
    }
    if kind == Kind::Usb && controller.ports.is_some_and(|ports| ports > 15) {
        return Err(unsupported(format!("{path}.ports"), "an xHCI controller has at most 15"));
    }
    Ok(())
}

fn serials(index: u32, controller: Option<&Controller>, board: &mut Board<'_>) -> Result<(), Error> {
    let mut device = Map::new();
    device.insert("driver".to_owned(), json!("virtio-serial-pci"));
    device.insert("id".to_owned(), json!(format!("serials{index}")));
    if let Some(controller) = controller {
        for (property, count) in [("max_ports", controller.ports), ("vectors", controller.vectors)] {
            if let Some(count) = count {
                device.insert(property.to_owned(), json!(count));
            }
        }
        virtio(&controller.virtio, &mut device, format!("controllers: virtio-serial {index}"))?;
    }
    board.pci_device(Value::Object(device))
}

fn usb(index: u32, controller: Option<&Controller>, board: &mut Board<'_>) -> Result<(), Error> {
    let id = format!("usb{index}");
    let driver = match controller.and_then(|controller| controller.model.as_deref()) {
        None | Some("qemu-xhci") => "qemu-xhci",
        Some("nec-xhci") => "nec-usb-xhci",
        Some("piix3-uhci") => "piix3-usb-uhci",
        Some("piix4-uhci") => "piix4-usb-uhci",
        Some("pci-ohci") => "pci-ohci",
        Some("ehci") => "usb-ehci",
        Some("ich9-uhci1") => "ich9-usb-uhci1",
        Some("ich9-ehci1") => return ehci(&id, board),
        Some(other) => {
            let known = "qemu-xhci, nec-xhci, ich9-ehci1, ehci, piix3-uhci, piix4-uhci, ich9-uhci1, pci-ohci";
            return Err(unsupported(
                format!("controllers: usb {index}"),
                format!("no model \"{other}\"; use {known}"),
            ));
        }
    };
    if driver.ends_with("xhci") {
        // As many ports as the controller can have: 15 of each speed.
        let ports = controller.and_then(|controller| controller.ports).unwrap_or(15);
        return board.pci_device(json!({ "driver": driver, "id": id, "p2": ports, "p3": ports }));
    }
    board.pci_device(json!({ "driver": driver, "id": id }))
}

/// EHCI for high speed and three UHCI companions for full and low speed, as on the ICH9.
fn ehci(id: &str, board: &mut Board<'_>) -> Result<(), Error> {
    board.pci_device(json!({ "driver": "ich9-usb-ehci1", "id": id }))?;
    for (number, port) in [(1, 0), (2, 2), (3, 4)] {
        board.pci_device(json!({
            "driver": format!("ich9-usb-uhci{number}"),
            "id": format!("{id}-companion{number}"),
            "masterbus": format!("{id}.0"),
            "firstport": port,
        }))?;
    }
    Ok(())
}

fn scsi(index: u32, controller: Option<&Controller>, board: &mut Board<'_>) -> Result<(), Error> {
    let driver = match controller.and_then(|controller| controller.model.as_deref()) {
        None | Some("virtio-scsi") => "virtio-scsi-pci",
        Some("virtio-transitional") => "virtio-scsi-pci-transitional",
        Some("virtio-non-transitional") => "virtio-scsi-pci-non-transitional",
        Some("lsilogic") => "lsi53c895a",
        Some("lsisas1068") => "mptsas1068",
        Some("vmpvscsi") => "pvscsi",
        Some("megasas" | "lsisas1078") => "megasas",
        Some("am53c974") => "am53c974",
        Some("dc390") => "dc390",
        Some(other) => {
            let known = "virtio-scsi, lsilogic, lsisas1068, vmpvscsi, megasas, am53c974, dc390";
            return Err(unsupported(
                format!("controllers: scsi {index}"),
                format!("no model \"{other}\"; use {known}"),
            ));
        }
    };
    let mut device = Map::new();
    device.insert("driver".to_owned(), json!(driver));
    device.insert("id".to_owned(), json!(format!("scsi{index}")));
    if let Some(controller) = controller {
        for (property, count) in [
            ("num_queues", controller.queues.map(u32::from)),
            ("cmd_per_lun", controller.commands_per_lun.map(u32::from)),
            ("max_sectors", controller.max_sectors),
        ] {
            if let Some(count) = count {
                device.insert(property.to_owned(), json!(count));
            }
        }
        virtio(&controller.virtio, &mut device, format!("controllers: scsi {index}"))?;
    }
    board.pci_device(Value::Object(device))
}

/// Gives each drive its bus; may add AHCI controllers.
fn place(spec: &MachineSpec, wanted: &mut Wanted<'_>) -> Result<Ports, Error> {
    let mut taken = BTreeSet::new();
    let mut ide = 0;
    let mut floppies = 0;
    let mut drives = Vec::with_capacity(spec.disks.len());
    for (index, disk) in spec.disks.iter().enumerate() {
        let path = format!("disks[{index}]");
        let drive = match disk.bus {
            DiskBus::Virtio | DiskBus::Nvme => {
                refuse_controller(disk, &path, false)?;
                None
            }
            DiskBus::Usb => Some((format!("usb{}.0", disk.controller.unwrap_or(0)), None)),
            DiskBus::Scsi => Some((format!("scsi{}.0", disk.controller.unwrap_or(0)), None)),
            DiskBus::Sata => Some((sata(spec, disk, &path, wanted, &mut taken)?, None)),
            DiskBus::Ide => {
                refuse_controller(disk, &path, true)?;
                if spec.chipset == Chipset::Q35 {
                    return Err(unsupported(
                        format!("{path}.bus"),
                        "q35 has no IDE; use sata, or the pc chipset",
                    ));
                }
                if ide >= IDE_DRIVES {
                    return Err(unsupported(
                        format!("{path}.bus"),
                        format!("more than {IDE_DRIVES} IDE drives"),
                    ));
                }
                ide += 1;
                Some((format!("ide.{}", (ide - 1) / 2), Some((ide - 1) % 2)))
            }
            DiskBus::Fdc => {
                refuse_controller(disk, &path, true)?;
                if floppies >= 2 {
                    return Err(unsupported(format!("{path}.bus"), "more than 2 floppy drives"));
                }
                floppies += 1;
                let bus = if spec.chipset == Chipset::Q35 { "fdc0.0" } else { "floppy-bus.0" };
                Some((bus.to_owned(), Some(floppies - 1)))
            }
        };
        drives.push(drive);
    }
    Ok(Ports { drives })
}

/// The first free port, on the disk's controller when it names one.
fn sata(
    spec: &MachineSpec,
    disk: &Disk,
    path: &str,
    wanted: &mut Wanted<'_>,
    taken: &mut BTreeSet<(u32, u32)>,
) -> Result<String, Error> {
    let controllers = disk.controller.map_or(0..=SATA_CONTROLLERS, |index| index..=index);
    for controller in controllers {
        for port in 0..SATA_PORTS {
            if !taken.insert((controller, port)) {
                continue;
            }
            wanted.entry((Kind::Sata, controller)).or_default();
            let built_in = spec.chipset == Chipset::Q35 && controller == 0;
            return Ok(if built_in { format!("ide.{port}") } else { format!("sata{controller}.{port}") });
        }
    }
    Err(unsupported(format!("{path}.controller"), "no free SATA port"))
}

fn refuse_controller(disk: &Disk, path: &str, has_one: bool) -> Result<(), Error> {
    match disk.controller {
        None => Ok(()),
        Some(0) if has_one => Ok(()),
        Some(_) if has_one => Err(unsupported(format!("{path}.controller"), "there is only controller 0")),
        Some(_) => Err(unsupported(format!("{path}.controller"), "virtio and NVMe disks have no controller")),
    }
}

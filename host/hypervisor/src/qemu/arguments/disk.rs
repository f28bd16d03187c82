//! Disks: their files as block nodes, and the drives in front of them.

use serde_json::{Map, Value, json};
use witvirt_core::spec::{
    Cache, Chipset, DetectZeroes, Disk, DiskBus, DiskDevice, DiskIo, ErrorPolicy, Translation,
};

use super::board::Board;
use super::boot::Order;
use super::controller::Ports;
use super::{BlockDescriptor, Machine, on_off, unsupported, virtio};
use crate::{Error, SERVED_EXPORT};

/// How long requests wait for a server that is gone, in seconds: ten years. The next daemon is one.
const RECONNECT_DELAY: u32 = 315_360_000;

/// QEMU takes node names of at most 31 characters.
const NODE_NAME: usize = 31;

pub(super) fn plug(
    machine: &Machine<'_>,
    order: &Order,
    ports: &Ports,
    board: &mut Board<'_>,
) -> Result<(), Error> {
    floppy_controller(machine, order, board);
    let files = machine.descriptors.disks.iter().chain(std::iter::repeat(&None));
    let places = ports.drives.iter().zip(&order.disks);
    for (index, ((disk, block), (port, boot_index))) in
        machine.spec.disks.iter().zip(files).zip(places).enumerate()
    {
        let path = format!("disks[{index}]");
        check(disk, &path)?;
        let node = block.as_ref().map(|block| nodes(index, disk, block, board));
        let drive = Drive { index, disk, node, port, boot_index: *boot_index };
        drive.plug(block.as_ref(), &path, board)?;
    }
    Ok(())
}

/// The disk that a block node belongs to, for messages: its name, or its number where the name was too long for a node.
pub(crate) fn disk_of_node(node: &str) -> Option<&str> {
    let (index, name) = node.strip_prefix("disk")?.split_once('-')?;
    index.parse::<usize>().ok()?;
    Some(name)
}

fn node_name(index: usize, disk: &Disk) -> String {
    let mut name = format!("disk{index}-{}", disk.name);
    name.truncate(NODE_NAME);
    name
}

/// The block nodes of a disk; returns the name of the topmost.
fn nodes(index: usize, disk: &Disk, block: &BlockDescriptor, board: &mut Board<'_>) -> String {
    let name = node_name(index, disk);
    let node = node(index, disk, block, board);
    let mut named = Map::new();
    named.insert("node-name".to_owned(), json!(name));
    named.extend(node);
    board.json("-blockdev", &Value::Object(named));
    name
}

fn node(index: usize, disk: &Disk, block: &BlockDescriptor, board: &mut Board<'_>) -> Map<String, Value> {
    let cache = json!({
        "direct": matches!(disk.cache, Cache::None | Cache::Directsync),
        "no-flush": disk.cache == Cache::Unsafe,
    });
    let discard = if disk.discard { "unmap" } else { "ignore" };
    let file = |fd, read_only: bool, block_device: bool, board: &mut Board| {
        let aio = match disk.io {
            DiskIo::Threads => "threads",
            DiskIo::Native => "native",
            DiskIo::IoUring => "io_uring",
        };
        json!({
            "driver": if block_device { "host_device" } else { "file" },
            "filename": board.file_set(fd),
            "read-only": read_only,
            "aio": aio,
            "cache": cache,
            "discard": discard,
        })
    };
    let zeroes = match disk.detect_zeroes {
        DetectZeroes::Off => None,
        DetectZeroes::On => Some("on"),
        DetectZeroes::Unmap => Some("unmap"),
    };
    let fields = match block {
        BlockDescriptor::Raw { fd, read_only, block_device } => json!({
            "driver": "raw",
            "read-only": read_only,
            "cache": cache,
            "discard": discard,
            "file": file(*fd, *read_only, *block_device, board),
        }),
        BlockDescriptor::Overlay { fd, read_only, backing } => json!({
            "driver": "qcow2",
            "read-only": read_only,
            "cache": cache,
            "discard": discard,
            "file": file(*fd, *read_only, false, board),
            // Named here, so that the name in the header is never followed.
            "backing": backing_node(index, disk, backing, board),
        }),
        BlockDescriptor::Served { directory, socket } => json!({
            "driver": "raw",
            "read-only": true,
            "file": {
                "driver": "nbd",
                "read-only": true,
                "export": SERVED_EXPORT,
                "server": { "type": "unix", "path": format!("/proc/self/fd/{directory}/{socket}") },
                "reconnect-delay": RECONNECT_DELAY,
            },
        }),
    };
    match fields {
        Value::Object(mut fields) => {
            if let Some(zeroes) = zeroes.filter(|_| !block.is_read_only()) {
                fields.insert("detect-zeroes".to_owned(), json!(zeroes));
            }
            fields
        }
        _ => Map::new(),
    }
}

/// What lies below an overlay. QEMU takes the name in the header where the options given here name no file, so that what is
/// no file has to be a node by itself.
fn backing_node(index: usize, disk: &Disk, backing: &BlockDescriptor, board: &mut Board<'_>) -> Value {
    let fields = node(index, disk, backing, board);
    if !matches!(backing, BlockDescriptor::Served { .. }) {
        return Value::Object(fields);
    }
    let name = format!("base{index}");
    let mut named = Map::new();
    named.insert("node-name".to_owned(), json!(name));
    named.extend(fields);
    board.json("-blockdev", &Value::Object(named));
    json!(name)
}

struct Drive<'a> {
    index: usize,
    disk: &'a Disk,
    node: Option<String>,
    port: &'a Option<(String, Option<u32>)>,
    boot_index: Option<u32>,
}

impl Drive<'_> {
    fn plug(&self, block: Option<&BlockDescriptor>, path: &str, board: &mut Board<'_>) -> Result<(), Error> {
        let disk = self.disk;
        let cdrom = disk.device == DiskDevice::Cdrom;
        let ata = matches!(disk.bus, DiskBus::Ide | DiskBus::Sata);
        if ata && !cdrom && block.is_some_and(BlockDescriptor::is_read_only) {
            return Err(unsupported(
                format!("{path}.read-only"),
                "IDE and SATA disks cannot be; use virtio or scsi",
            ));
        }
        let mut device = Map::new();
        let mut set = |key: &str, value: Value| {
            device.insert(key.to_owned(), value);
        };
        set("driver", json!(self.driver()));
        set("id", json!(format!("drive{}", self.index)));
        if let Some(node) = &self.node {
            set("drive", json!(node));
        }
        // The USB bridge of a CD-ROM drive has a bus of its own, named after it.
        let usb_cdrom = cdrom && disk.bus == DiskBus::Usb;
        if let Some((bus, unit)) = self.port {
            if usb_cdrom {
                let id = format!("bridge-drive{}", self.index);
                board.device(&json!({ "driver": "usb-bot", "id": id, "bus": bus }));
                set("bus", json!(format!("{id}.0")));
                set("lun", json!(0));
            } else {
                set("bus", json!(bus));
            }
            if let Some(unit) = unit {
                set("unit", json!(unit));
            }
        }
        // A floppy's position is a property of its controller.
        if let (Some(index), true) = (self.boot_index, disk.bus != DiskBus::Fdc) {
            set("bootindex", json!(index));
        }
        match &disk.serial {
            Some(serial) => set("serial", json!(serial)),
            None if disk.bus == DiskBus::Nvme => set("serial", json!(nvme_serial(self.index, disk))),
            None => {}
        }
        if let Some(size) = disk.logical_block_size {
            set("logical_block_size", json!(size));
        }
        if let Some(size) = disk.physical_block_size.or(disk.logical_block_size) {
            set("physical_block_size", json!(size));
        }
        if self.node.is_some() && !cdrom {
            set("write-cache", json!(on_off(!matches!(disk.cache, Cache::Writethrough | Cache::Directsync))));
        }
        let reports = matches!(disk.bus, DiskBus::Nvme | DiskBus::Fdc);
        if self.node.is_some() && !reports {
            let (write, read) = match disk.error_policy {
                ErrorPolicy::Enospace => ("enospc", "report"),
                ErrorPolicy::Stop => ("stop", "stop"),
                ErrorPolicy::Report => ("report", "report"),
                ErrorPolicy::Ignore => ("ignore", "ignore"),
            };
            set("werror", json!(write));
            set("rerror", json!(disk.read_error_policy.map_or(read, read_policy)));
        }
        details(disk, &mut device, path)?;
        virtio(&disk.virtio, &mut device, path)?;
        let device = Value::Object(device);
        match disk.bus {
            DiskBus::Virtio | DiskBus::Nvme => board.pci_device(device)?,
            _ => board.device(&device),
        }
        Ok(())
    }

    fn driver(&self) -> &'static str {
        match (self.disk.bus, self.disk.device) {
            (DiskBus::Virtio, _) => "virtio-blk-pci",
            (DiskBus::Nvme, _) => "nvme",
            (DiskBus::Fdc, _) => "floppy",
            (DiskBus::Scsi | DiskBus::Usb, DiskDevice::Cdrom) => "scsi-cd",
            (DiskBus::Scsi, _) => "scsi-hd",
            (DiskBus::Usb, _) => "usb-storage",
            (DiskBus::Ide | DiskBus::Sata, DiskDevice::Cdrom) => "ide-cd",
            (DiskBus::Ide | DiskBus::Sata, _) => "ide-hd",
        }
    }
}

fn read_policy(policy: ErrorPolicy) -> &'static str {
    match policy {
        ErrorPolicy::Stop => "stop",
        // A read fills no disk.
        ErrorPolicy::Report | ErrorPolicy::Enospace => "report",
        ErrorPolicy::Ignore => "ignore",
    }
}

/// What only drives on some buses say of themselves.
fn details(disk: &Disk, device: &mut Map<String, Value>, path: &str) -> Result<(), Error> {
    let ata = matches!(disk.bus, DiskBus::Ide | DiskBus::Sata);
    let scsi = disk.bus == DiskBus::Scsi;
    let virtio = disk.bus == DiskBus::Virtio;
    let hard = disk.device == DiskDevice::Disk;
    let product = if ata { "model" } else { "product" };
    // As QEMU reads 64-bit properties.
    let wwn = disk.wwn.as_deref().and_then(|wwn| u64::from_str_radix(wwn, 16).ok());
    for (name, property, value, fits, right) in [
        ("wwn", "wwn", wwn.map(|wwn| json!(wwn)), ata || scsi, "only on sata, ide and scsi"),
        ("vendor", "vendor", disk.vendor.as_ref().map(|text| json!(text)), scsi, "only on scsi"),
        (
            "product",
            product,
            disk.product.as_ref().map(|text| json!(text)),
            ata || scsi,
            "only on sata, ide and scsi",
        ),
        (
            "removable",
            "removable",
            disk.removable.map(|on| json!(on)),
            hard && (scsi || disk.bus == DiskBus::Usb),
            "only for disks on scsi and usb",
        ),
        (
            "rotation-rate",
            "rotation_rate",
            disk.rotation_rate.map(|rate| json!(rate)),
            hard && (ata || scsi),
            "only for disks on sata, ide and scsi",
        ),
        ("queues", "num-queues", disk.queues.map(|queues| json!(queues)), virtio, "only for virtio"),
        ("queue-size", "queue-size", disk.queue_size.map(|size| json!(size)), virtio, "only for virtio"),
    ] {
        let Some(value) = value else { continue };
        if !fits {
            return Err(unsupported(format!("{path}.{name}"), right));
        }
        device.insert(property.to_owned(), value);
    }
    if scsi && disk.product.as_ref().is_some_and(|product| product.len() > 16) {
        return Err(unsupported(format!("{path}.product"), "over 16 characters, the most on this bus"));
    }
    let Some(geometry) = disk.geometry else { return Ok(()) };
    if !hard || !(ata || scsi || virtio) {
        return Err(unsupported(format!("{path}.geometry"), "only for disks on ide, sata, scsi and virtio"));
    }
    for (property, count) in
        [("cyls", geometry.cylinders), ("heads", geometry.heads), ("secs", geometry.sectors)]
    {
        device.insert(property.to_owned(), json!(count));
    }
    let translation = match geometry.translation {
        None => return Ok(()),
        Some(_) if !ata => {
            return Err(unsupported(format!("{path}.geometry.translation"), "only on ide and sata"));
        }
        Some(Translation::None) => "none",
        Some(Translation::Lba) => "lba",
        Some(Translation::Auto) => "auto",
    };
    device.insert("bios-chs-trans".to_owned(), json!(translation));
    Ok(())
}

/// NVMe needs a serial number: the disk's name, as far as it fits.
fn nvme_serial(index: usize, disk: &Disk) -> String {
    let mut serial = format!("{index}-{}", disk.name);
    serial.truncate(20);
    serial
}

/// What the drive cannot be.
fn check(disk: &Disk, path: &str) -> Result<(), Error> {
    let ata = matches!(disk.bus, DiskBus::Ide | DiskBus::Sata);
    let longest = match disk.bus {
        DiskBus::Virtio | DiskBus::Ide | DiskBus::Sata | DiskBus::Nvme => 20,
        DiskBus::Scsi | DiskBus::Usb => 36,
        DiskBus::Fdc => 0,
    };
    if disk.serial.as_ref().is_some_and(|serial| serial.len() > longest) {
        return Err(unsupported(
            format!("{path}.serial"),
            format!("over {longest} characters, the most on this bus"),
        ));
    }
    let fixed = ata || disk.bus == DiskBus::Fdc;
    if disk.logical_block_size.is_some_and(|size| size != 512) && fixed {
        return Err(unsupported(format!("{path}.logical-block-size"), "always 512 on this bus"));
    }
    if disk.logical_block_size.is_some() && disk.device == DiskDevice::Cdrom {
        return Err(unsupported(format!("{path}.logical-block-size"), "a CD-ROM has sectors of 2048 bytes"));
    }
    if disk.io == DiskIo::Native && !matches!(disk.cache, Cache::None | Cache::Directsync) {
        return Err(unsupported(format!("{path}.io"), "\"native\" needs cache \"none\" or \"directsync\""));
    }
    if disk.detect_zeroes == DetectZeroes::Unmap && !disk.discard {
        return Err(unsupported(format!("{path}.detect-zeroes"), "\"unmap\" needs discard"));
    }
    let reports = matches!(disk.bus, DiskBus::Nvme | DiskBus::Fdc);
    if reports && disk.read_error_policy.is_some() {
        return Err(unsupported(
            format!("{path}.read-error-policy"),
            "this drive reports errors to the guest",
        ));
    }
    if reports && matches!(disk.error_policy, ErrorPolicy::Stop | ErrorPolicy::Ignore) {
        return Err(unsupported(
            format!("{path}.error-policy"),
            "NVMe and floppy drives report errors to the guest",
        ));
    }
    Ok(())
}

/// The pc has one; q35 gets one when a floppy drive is there.
fn floppy_controller(machine: &Machine<'_>, order: &Order, board: &mut Board<'_>) {
    let disks = machine.spec.disks.iter().zip(&order.disks);
    let floppies: Vec<_> =
        disks.filter(|(disk, _)| disk.bus == DiskBus::Fdc).map(|(_, index)| *index).collect();
    if floppies.is_empty() {
        return;
    }
    let positions = floppies.iter().zip(["bootindexA", "bootindexB"]);
    let positions = positions.filter_map(|(index, property)| index.map(|index| (property, index)));
    if machine.spec.chipset == Chipset::Pc {
        for (property, index) in positions {
            board.option("-global", format!("isa-fdc.{property}={index}"));
        }
        return;
    }
    let mut device = Map::new();
    device.insert("driver".to_owned(), json!("isa-fdc"));
    device.insert("id".to_owned(), json!("fdc0"));
    device.extend(positions.map(|(property, index)| (property.to_owned(), json!(index))));
    board.device(&Value::Object(device));
}

//! Disks, CD-ROM and floppy drives.

use witvirt_sdk::core::Name;
use witvirt_sdk::core::domain::Severity;
use witvirt_sdk::core::spec::{
    Cache, Chipset, DetectZeroes, Disk, DiskBus, DiskDevice, DiskIo, ErrorPolicy, Geometry, Translation,
    Virtio,
};

use super::{common, disk_source, revision, virtio};
use crate::document::{DETAIL, Element, RUNTIME, TUNING, Value, Waiver};
use crate::domain::fitting_name;
use crate::draft::Draft;

const THROTTLE: Waiver = Waiver::warning("libvirt.disk.throttle", "the disk is as fast as it can be");
const SHARED: Waiver = Waiver::warning(
    "libvirt.disk.shared",
    "witvirt does not share a disk between machines that run at a time",
);
const BACKING: Waiver =
    Waiver::warning("libvirt.disk.backing", "not used: the image itself says what it is based on");
const PASSTHROUGH: Waiver = Waiver::warning(
    "libvirt.disk.passthrough",
    "an ordinary disk: SCSI commands do not reach the host's device",
);
const PERSISTENT: Waiver = Waiver::error(
    "libvirt.disk.transient",
    "what the guest writes would be kept; use an image, whose overlay can be thrown away with the machine",
);

pub(crate) fn read<'a>(disk: Element<'a>, draft: &mut Draft<'a>) {
    let Some(target) = disk.child("target") else {
        return disk.cover(Severity::Error, "libvirt.value.missing", || "<disk>: has no <target>".to_owned());
    };
    let Some(dev) = target.required("dev") else { return };
    let device = device(disk);
    let source = match disk_source::read(disk, draft) {
        Ok(source) => source,
        Err(waiver) => return disk.waive(&waiver),
    };
    let read_only = disk.child("readonly").is_some();
    let mut made = Disk {
        name: name(dev, draft),
        source,
        device,
        bus: bus(target, dev, device, draft.spec.chipset),
        read_only: read_only || device == DiskDevice::Cdrom,
        boot_index: boot_index(disk),
        serial: disk.child_text("serial").filter(|serial| !serial.text.is_empty()).map(|s| s.text.to_owned()),
        cache: Cache::default(),
        io: DiskIo::default(),
        discard: true,
        error_policy: ErrorPolicy::default(),
        logical_block_size: None,
        physical_block_size: None,
        wwn: disk.child_text("wwn").map(|wwn| wwn.text.trim_start_matches("0x").to_owned()),
        vendor: disk.child_text("vendor").map(|vendor| vendor.text.to_owned()),
        product: disk.child_text("product").map(|product| product.text.to_owned()),
        removable: None,
        rotation_rate: target.attribute("rotation_rate").and_then(Value::number),
        queues: None,
        queue_size: None,
        geometry: disk.child("geometry").and_then(geometry),
        read_error_policy: None,
        detect_zeroes: DetectZeroes::Off,
        virtio: Virtio::default(),
        controller: controller(disk),
    };
    if let Some(removable) = target.attribute("removable").and_then(Value::on) {
        // What a drive on these says anyway.
        made.removable = Some(removable).filter(|on| *on || made.bus == DiskBus::Usb);
    }
    if let Some(driver) = disk.child("driver") {
        read_driver(driver, &mut made);
    }
    if let Some(block) = disk.child("blockio") {
        made.logical_block_size = block.attribute("logical_block_size").and_then(Value::number);
        made.physical_block_size = block.attribute("physical_block_size").and_then(Value::number);
        block.waive_parts(&["@discard_granularity"], &DETAIL);
    }
    target.expect("tray", &["closed"], &DETAIL);
    target.waive_parts(&["@dpofua"], &DETAIL);
    if let Some(model) = disk.attribute("model") {
        model.choose(&[("virtio", ()), ("virtio-transitional", ()), ("virtio-non-transitional", ())]);
        made.virtio.revision = revision(Some(model));
    }
    read_rest(disk);
    draft.made_from("disks", draft.spec.disks.len(), disk);
    draft.spec.disks.push(made);
}

fn geometry(geometry: Element<'_>) -> Option<Geometry> {
    let count = |name| geometry.required(name).and_then(Value::number::<u32>);
    let (cylinders, heads, sectors) = (count("cyls"), count("heads"), count("secs"));
    let translations = [("none", Translation::None), ("lba", Translation::Lba), ("auto", Translation::Auto)];
    let translation = geometry.attribute("trans").and_then(|trans| trans.choose(&translations));
    Some(Geometry { cylinders: cylinders?, heads: heads?, sectors: sectors?, translation })
}

fn device(disk: Element<'_>) -> DiskDevice {
    let devices = [
        ("disk", DiskDevice::Disk),
        ("cdrom", DiskDevice::Cdrom),
        ("floppy", DiskDevice::Floppy),
        ("lun", DiskDevice::Disk),
    ];
    let Some(device) = disk.attribute("device") else { return DiskDevice::Disk };
    if device.text == "lun" {
        device.waive(&PASSTHROUGH);
        if disk.attribute("type").is_none_or(|kind| kind.text != "block") {
            device.refuse("\"disk\": a lun has to be a block device");
        }
    }
    device.choose(&devices).unwrap_or_default()
}

fn name(dev: Value<'_>, draft: &Draft<'_>) -> Name {
    fitting_name(dev.text).unwrap_or_else(|| {
        dev.refuse("a device name like vda");
        draft.spec.name.clone()
    })
}

/// The bus that is given, else the one that libvirt derives from the device name.
fn bus(target: Element<'_>, dev: Value<'_>, device: DiskDevice, chipset: Chipset) -> DiskBus {
    let buses = [
        ("virtio", DiskBus::Virtio),
        ("sata", DiskBus::Sata),
        ("scsi", DiskBus::Scsi),
        ("ide", DiskBus::Ide),
        ("usb", DiskBus::Usb),
        ("fdc", DiskBus::Fdc),
        ("nvme", DiskBus::Nvme),
    ];
    let given = target.attribute("bus");
    let bus = match given {
        Some(given) => given.choose(&buses),
        None => derived_bus(dev, device),
    };
    if bus == Some(DiskBus::Ide) && chipset == Chipset::Q35 {
        given.unwrap_or(dev).report(Severity::Error, "libvirt.disk.bus", || {
            "q35 has no IDE controller, as under libvirt: use sata".to_owned()
        });
    }
    bus.unwrap_or_default()
}

fn derived_bus(dev: Value<'_>, device: DiskDevice) -> Option<DiskBus> {
    let derived = match (device, dev.text.get(..2)) {
        (DiskDevice::Floppy, _) | (_, Some("fd")) => Some(("fdc", DiskBus::Fdc)),
        (_, Some("hd")) => Some(("ide", DiskBus::Ide)),
        (_, Some("sd")) => Some(("scsi", DiskBus::Scsi)),
        (_, Some("vd")) => Some(("virtio", DiskBus::Virtio)),
        _ => None,
    };
    match derived {
        Some((bus, _)) => dev.report(Severity::Info, "libvirt.default.disk-bus", || {
            format!("no bus: \"{bus}\", from the device name, as under libvirt")
        }),
        None => dev.refuse("a name that starts with hd, sd, vd or fd, or an attribute bus"),
    }
    derived.map(|(_, bus)| bus)
}

fn controller(disk: Element<'_>) -> Option<u32> {
    let address = disk.child("address")?;
    let drive = address.attribute("type").is_some_and(|kind| kind.text == "drive");
    let index = address.attribute("controller").filter(|_| drive).and_then(Value::number::<u32>);
    address.waive(&super::PLACEMENT);
    index.filter(|index| *index > 0)
}

/// `<boot order>`, counted from 1.
pub(super) fn boot_index(device: Element<'_>) -> Option<u32> {
    let boot = device.child("boot")?;
    boot.waive_parts(&["@loadparm"], &DETAIL);
    boot.required("order").and_then(Value::number)
}

fn read_driver(driver: Element<'_>, disk: &mut Disk) {
    driver.expect(
        "name",
        &["qemu"],
        &Waiver::error("libvirt.disk.driver", "the driver can only be \"qemu\""),
    );
    let caches = [
        ("default", Cache::Writeback),
        ("none", Cache::None),
        ("writethrough", Cache::Writethrough),
        ("writeback", Cache::Writeback),
        ("directsync", Cache::Directsync),
        ("unsafe", Cache::Unsafe),
    ];
    disk.cache = driver.attribute("cache").and_then(|cache| cache.choose(&caches)).unwrap_or_default();
    read_io(driver, disk);
    let discards = [("unmap", true), ("ignore", false)];
    disk.discard = driver.attribute("discard").and_then(|discard| discard.choose(&discards)).unwrap_or(true);
    let policies = [
        ("stop", ErrorPolicy::Stop),
        ("report", ErrorPolicy::Report),
        ("ignore", ErrorPolicy::Ignore),
        ("enospace", ErrorPolicy::Enospace),
    ];
    let policy = driver.attribute("error_policy");
    disk.error_policy = policy.and_then(|policy| policy.choose(&policies)).unwrap_or_default();
    disk.read_error_policy =
        driver.attribute("rerror_policy").and_then(|policy| policy.choose(&policies[..3]));
    if disk.bus == DiskBus::Virtio {
        disk.queues = driver.attribute("queues").and_then(Value::number);
        disk.queue_size = driver.attribute("queue_size").and_then(Value::number);
    }
    let zeroes = [("off", DetectZeroes::Off), ("on", DetectZeroes::On), ("unmap", DetectZeroes::Unmap)];
    disk.detect_zeroes =
        driver.attribute("detect_zeroes").and_then(|detect| detect.choose(&zeroes)).unwrap_or_default();
    if disk.detect_zeroes == DetectZeroes::Unmap && !disk.discard {
        // As under libvirt.
        disk.detect_zeroes = DetectZeroes::On;
    }
    disk.virtio = virtio(driver);
    driver.expect("copy_on_read", &["off"], &TUNING);
    driver.waive_parts(
        &[
            "@iothread",
            "@queues",
            "@queue_size",
            "@ioeventfd",
            "@event_idx",
            "@max_sectors",
            "@discard_no_unref",
            "metadata_cache",
            "iothreads",
            "statistics",
        ],
        &TUNING,
    );
}

fn read_io(driver: Element<'_>, disk: &mut Disk) {
    let Some(io) = driver.attribute("io") else { return };
    let kinds = [("threads", DiskIo::Threads), ("native", DiskIo::Native), ("io_uring", DiskIo::IoUring)];
    disk.io = io.choose(&kinds).unwrap_or_default();
    if disk.io == DiskIo::Native && !matches!(disk.cache, Cache::None | Cache::Directsync) {
        io.report(Severity::Error, "libvirt.disk.io", || {
            "native IO needs cache='none' or cache='directsync'".to_owned()
        });
    }
}

fn read_rest(disk: Element<'_>) {
    disk.waive_parts(&["@rawio", "@sgio"], &PASSTHROUGH);
    disk.waive_parts(&["@snapshot", "mirror"], &RUNTIME);
    disk.waive_parts(&["shareable"], &SHARED);
    disk.waive_parts(&["transient"], &PERSISTENT);
    disk.waive_parts(&["iotune", "throttlefilters"], &THROTTLE);
    if let Some(backing) = disk.child("backingStore")
        && backing.unread().next().is_some()
    {
        backing.waive(&BACKING);
    }
    common(disk);
}

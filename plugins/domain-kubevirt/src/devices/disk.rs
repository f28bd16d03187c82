//! Disks, LUNs and CD-ROM drives.

use std::collections::BTreeMap;

use witvirt_sdk::xml::Element;

use super::{BootOrder, pci_address};
use crate::draft::{Draft, alias, alias_element, text_element, writable};
use crate::tree::{Field, Waiver, quote};
use crate::volumes::{self, Content};

const THREAD: Waiver =
    Waiver::info("kubevirt.tuning", "how requests are spread over threads is the hypervisor's choice");
const TRACKING: Waiver = Waiver::info(
    "kubevirt.disk.tracking",
    "changed blocks are not tracked: there are no incremental backups",
);
const TAG: Waiver = Waiver::info("kubevirt.tag", "guests are not told tags of devices");
const MATCH: Waiver =
    Waiver::info("kubevirt.disk.block-size", "volumes of the daemon have blocks of 512 bytes");
const RESERVATION: Waiver =
    Waiver::error("kubevirt.disk.reservation", "persistent reservations do not reach a device of the host");

/// How a disk looks to the guest.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Look {
    Disk,
    Lun,
    Cdrom,
}

const LOOKS: [(&str, Look); 3] = [("disk", Look::Disk), ("lun", Look::Lun), ("cdrom", Look::Cdrom)];

/// Letters of device names: each prefix has its own row.
#[derive(Default)]
struct Names(BTreeMap<&'static str, usize>);

impl Names {
    /// The next name on a bus: vda, vdb, ..., vdz, vdaa.
    fn next(&mut self, bus: &str) -> String {
        let prefix = if bus == "virtio" { "vd" } else { "sd" };
        let index = self.0.entry(prefix).or_default();
        let mut rest = *index;
        *index += 1;
        let mut letters = Vec::new();
        loop {
            letters.push(char::from(b'a' + (rest % 26) as u8));
            if rest < 26 {
                return prefix.chars().chain(letters.into_iter().rev()).collect();
            }
            rest = rest / 26 - 1;
        }
    }
}

/// Whether a disk is on a bus; nothing is reported.
pub(super) fn uses_bus(devices: Field<'_>, bus: &str) -> bool {
    let tree = devices.tree;
    let disks = tree.child(devices.id, "disks").map(|list| tree.items(list)).unwrap_or_default();
    disks.into_iter().any(|disk| {
        LOOKS.iter().any(|(kind, _)| {
            tree.find(disk, &[kind, "bus"]).and_then(|id| tree.text(id)).is_some_and(|found| found == bus)
        })
    })
}

/// Disks in their order, each with the volume of its name.
pub(super) fn read<'a>(draft: &mut Draft<'a>, order: &mut BootOrder<'a>) -> Vec<Element> {
    let mut volumes = volumes::read(draft);
    let mut names = Names::default();
    let mut seen: Vec<&str> = Vec::new();
    let mut parts = Vec::new();
    for disk in draft.devices.bounded_list("disks", volumes::MOST) {
        let Some(alias) = alias(disk) else { continue };
        let Some(name) = disk.text("name") else { continue };
        if seen.contains(&name) {
            disk.error("kubevirt.disk.name", || format!("there is another disk called {}", quote(name)));
        }
        seen.push(name);
        let content = match volumes.take(name) {
            Some(content) => content,
            None if disk.get("cdrom").is_some() => {
                disk.info("kubevirt.disk.empty", || "no volume of this name: the drive is empty".to_owned());
                Content::empty()
            }
            None => {
                disk.error("kubevirt.disk.volume", || format!("there is no volume called {}", quote(name)));
                Content::empty()
            }
        };
        if let Some(made) = read_disk(disk, &alias, content, &mut names, order) {
            parts.push(made);
        }
    }
    parts
}

fn read_disk<'a>(
    disk: Field<'a>,
    alias: &str,
    content: Content,
    names: &mut Names,
    order: &mut BootOrder<'a>,
) -> Option<Element> {
    let looks = LOOKS.iter().filter_map(|(name, look)| disk.get(name).map(|target| (*look, target)));
    let looks: Vec<_> = looks.collect();
    let [(look, target)] = looks[..] else {
        disk.error("kubevirt.disk", || "use one of disk, lun and cdrom".to_owned());
        return None;
    };
    let driver = driver(disk, content.format);
    let bus = bus(target, look)?;
    let read_only = target.flag("readonly").unwrap_or(look == Look::Cdrom) || content.read_only;
    let tray = target.get("tray").filter(|_| look == Look::Cdrom);
    let open = tray.and_then(|tray| tray.choose(&[("open", true), ("closed", false), ("", false)]));
    let device = match look {
        Look::Disk => "disk",
        Look::Cdrom => "cdrom",
        Look::Lun => {
            target.warn("kubevirt.disk.lun", || {
                "an ordinary disk: SCSI commands do not reach a device of the host".to_owned()
            });
            if target.flag("reservation") == Some(true) {
                target.waive_fields(&["reservation"], &RESERVATION);
            }
            "disk"
        }
    };
    let mut place = Element::new("target").attribute("dev", names.next(bus)).attribute("bus", bus);
    if open == Some(true) {
        place = place.attribute("tray", "open");
    }
    let mut made =
        Element::new("disk").attribute("type", content.kind).attribute("device", device).child(driver);
    made = made.children(content.source).child(place);
    if let Some(serial) = disk.text("serial")
        && disk.get("serial").is_some_and(|field| writable(field, serial))
    {
        made = made.child(text_element("serial", serial));
    }
    made = made.children(block_size(disk));
    if read_only {
        made = made.child(Element::new("readonly"));
    }
    if disk.flag("shareable") == Some(true) || content.shareable {
        made = made.child(Element::new("shareable"));
    }
    made = made.children(order.read(disk)).child(alias_element(alias));
    if look == Look::Disk {
        made = made.children(pci_address(target));
    }
    disk.waive_fields(&["dedicatedIOThread"], &THREAD);
    disk.waive_fields(&["changedBlockTracking"], &TRACKING);
    disk.waive_fields(&["tag"], &TAG);
    Some(made).filter(|_| !content.refused)
}

fn bus(target: Field<'_>, look: Look) -> Option<&'static str> {
    let table: &[(&str, &str)] = match look {
        Look::Disk => &[("virtio", "virtio"), ("sata", "sata"), ("scsi", "scsi"), ("usb", "usb")],
        Look::Lun => &[("scsi", "scsi"), ("sata", "sata"), ("virtio", "virtio")],
        Look::Cdrom => &[("sata", "sata"), ("scsi", "scsi"), ("usb", "usb")],
    };
    target.get("bus")?.choose(table)
}

fn driver(disk: Field<'_>, format: Option<&'static str>) -> Element {
    let choice = |name: &'static str, values: &[&'static str]| {
        let table: Vec<_> = values.iter().map(|value| (*value, *value)).collect();
        let field = disk.get(name).filter(|field| field.string() != Some(""))?;
        field.choose(&table)
    };
    let cache = choice("cache", &["none", "writethrough", "writeback"]);
    let io = choice("io", &["native", "threads", "default"]).filter(|io| *io != "default");
    let errors = choice("errorPolicy", &["stop", "ignore", "report", "enospace"]);
    Element::new("driver")
        .attribute("name", "qemu")
        .optional_attribute("type", format)
        .optional_attribute("cache", cache)
        .optional_attribute("io", io)
        .attribute("error_policy", errors.unwrap_or("stop"))
        .attribute("discard", "unmap")
}

fn block_size(disk: Field<'_>) -> Option<Element> {
    let size = disk.get("blockSize")?;
    size.object();
    size.waive_fields(&["matchVolume"], &MATCH);
    let custom = size.get("custom")?;
    let number = |name: &'static str| custom.get(name).and_then(|field| field.integer(1, 2 << 20));
    let [logical, physical, granularity] = ["logical", "physical", "discardGranularity"].map(number);
    Some(
        Element::new("blockio")
            .optional_attribute("logical_block_size", logical)
            .optional_attribute("physical_block_size", physical)
            .optional_attribute("discard_granularity", granularity),
    )
}

#[cfg(test)]
mod tests {
    use super::Names;

    #[test]
    fn names_follow_the_alphabet() {
        let mut names = Names::default();
        assert_eq!([names.next("virtio"), names.next("sata"), names.next("virtio")], ["vda", "sda", "vdb"]);
        assert_eq!(names.next("usb"), "sdb");
        let mut names = Names::default();
        let all: Vec<_> = (0..703).map(|_| names.next("scsi")).collect();
        assert_eq!([&all[25], &all[26], &all[701], &all[702]], ["sdz", "sdaa", "sdzz", "sdaaa"]);
    }
}

//! `<devices>`.

mod character;
mod controller;
mod disk;
mod disk_source;
mod display;
mod interface;
mod small;

use witvirt_sdk::core::domain::Severity;
use witvirt_sdk::core::spec::{Virtio, VirtioRevision};

use crate::document::{DETAIL, Element, PLACEMENT, RUNTIME, TUNING, Value, Waiver};
use crate::draft::Draft;

const EMULATOR: Waiver = Waiver::info("libvirt.emulator", "the daemon's own hypervisor runs the machine");
const ABSENT: Waiver =
    Waiver::error("libvirt.device.unsupported", "witvirt has no such device, and the guest would miss it");
const OPTIONAL: Waiver =
    Waiver::warning("libvirt.device.unsupported", "witvirt has no such device; the guest goes without");
const AUDIO: Waiver = Waiver::warning("libvirt.audio", "sound cards play into nothing");

pub(crate) fn read(draft: &mut Draft<'_>) {
    let domain = draft.domain;
    let Some(devices) = domain.child("devices") else {
        return fill_in(domain, false, draft);
    };
    let mut consoles = Vec::new();
    let mut graphics = false;
    for device in devices.unread() {
        match device.name() {
            "disk" => disk::read(device.open(), draft),
            "controller" => controller::read(device.open(), draft),
            "interface" => interface::read(device.open(), draft),
            "serial" => character::read_serial(device.open(), draft),
            "console" => consoles.push(device.open()),
            "graphics" => {
                graphics = true;
                display::read_graphics(device.open(), draft);
            }
            "video" => display::read_video(device.open(), draft),
            "input" => small::read_input(device.open(), draft),
            "rng" => small::read_rng(device.open(), draft),
            "watchdog" => small::read_watchdog(device.open(), draft),
            "tpm" => small::read_tpm(device.open(), draft),
            "sound" => small::read_sound(device.open(), draft),
            "memballoon" => small::read_balloon(device.open(), draft),
            "emulator" => device.open().waive(&EMULATOR),
            "audio" => read_audio(device.open()),
            "channel" => character::read_channel(device.open(), draft),
            "panic" => small::read_panic(device.open(), draft),
            "redirdev" | "redirfilter" | "hub" | "crypto" | "pstore" | "parallel" => {
                device.open().waive(&OPTIONAL);
            }
            "hostdev" | "filesystem" | "vsock" | "memory" | "shmem" | "smartcard" | "iommu" | "lease"
            | "nvram" => {
                device.open().waive(&ABSENT);
            }
            _ => {}
        }
    }
    character::read_consoles(&consoles, draft);
    fill_in(devices, graphics, draft);
}

fn read_audio(audio: Element<'_>) {
    let none = audio.attribute("type").is_some_and(|kind| kind.text == "none");
    audio.waive(if none { &RUNTIME } else { &AUDIO });
}

/// Devices that libvirt adds by itself.
fn fill_in<'a>(devices: Element<'a>, graphics: bool, draft: &mut Draft<'a>) {
    if graphics && draft.spec.videos.is_empty() && devices.peek("video").is_none() {
        display::add_default_video(devices, draft);
    }
    if devices.peek("memballoon").is_none() {
        draft.spec.balloon = true;
        devices.report(Severity::Info, "libvirt.default.memballoon", || {
            "no <memballoon>: a virtio balloon, as under libvirt".to_owned()
        });
    }
    controller::add_usb(devices, draft);
    controller::add_scsi(draft);
    small::add_watchdog(devices, draft);
}

/// What every device may carry, and what no guest sees.
fn common(device: Element<'_>) {
    device.waive_parts(&["address"], &PLACEMENT);
    device.waive_parts(&["alias"], &RUNTIME);
    device.waive_parts(&["acpi"], &DETAIL);
}

/// `<driver>` of a device without settings of its own for it.
fn driver(device: Element<'_>) -> Virtio {
    let Some(driver) = device.child("driver") else { return Virtio::default() };
    driver.waive_parts(&["@queues", "@name", "@ioeventfd", "@event_idx"], &TUNING);
    virtio(driver)
}

/// The attributes of `<driver>` that virtio devices share.
fn virtio(driver: Element<'_>) -> Virtio {
    let on = |name| driver.attribute(name).and_then(Value::on);
    Virtio {
        revision: None,
        iommu: on("iommu"),
        ats: on("ats"),
        packed: on("packed"),
        page_per_vq: on("page_per_vq"),
    }
}

/// The revision of virtio in a model's name.
fn revision(model: Option<Value<'_>>) -> Option<VirtioRevision> {
    match model?.text {
        "virtio-transitional" => Some(VirtioRevision::Transitional),
        "virtio-non-transitional" => Some(VirtioRevision::NonTransitional),
        _ => None,
    }
}

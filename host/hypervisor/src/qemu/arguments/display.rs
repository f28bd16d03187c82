//! Display adapters, VNC and input devices.

use std::net::IpAddr;

use serde_json::{Map, Value, json};
use witvirt_core::spec::{Input, InputBus, InputKind, Video, VideoModel, Vnc};

use super::board::Board;
use super::{Machine, unsupported, virtio};
use crate::{Error, ErrorKind};

/// Ports from 5900 that are tried when the spec names none.
const VNC_PORTS: u16 = 1000;

pub(super) fn plug(machine: &Machine<'_>, board: &mut Board<'_>) -> Result<(), Error> {
    for (index, adapter) in machine.spec.videos.iter().enumerate() {
        video(index, adapter, board)?;
    }
    if let Some(vnc) = &machine.spec.vnc {
        server(vnc, &machine.permissions.vnc_addresses, board)?;
    }
    for (index, device) in machine.spec.inputs.iter().enumerate() {
        input(index, device, board)?;
    }
    Ok(())
}

fn video(index: usize, video: &Video, board: &mut Board<'_>) -> Result<(), Error> {
    let path = format!("videos[{index}]");
    let first = index == 0;
    let driver = match (video.model, first) {
        (VideoModel::Vga, true) => "VGA",
        (VideoModel::Vga, false) => "secondary-vga",
        (VideoModel::Qxl, true) => "qxl-vga",
        (VideoModel::Qxl, false) => "qxl",
        (VideoModel::Virtio, true) => "virtio-vga",
        (VideoModel::Virtio, false) => "virtio-gpu-pci",
        (VideoModel::Bochs, _) => "bochs-display",
        (VideoModel::Ramfb, _) => "ramfb",
        (VideoModel::Cirrus, true) => "cirrus-vga",
        (VideoModel::Vmvga, true) => "vmware-svga",
        (VideoModel::Cirrus | VideoModel::Vmvga, false) => {
            return Err(unsupported(format!("{path}.model"), "can only be the first adapter"));
        }
    };
    let mut device = Map::new();
    device.insert("driver".to_owned(), json!(driver));
    device.insert("id".to_owned(), json!(format!("video{index}")));
    if let Some(kib) = video.vram_kib {
        let path = format!("{path}.vram-kib");
        let (key, value) = match video.model {
            VideoModel::Vga | VideoModel::Cirrus | VideoModel::Vmvga => {
                if kib == 0 || !kib.is_multiple_of(1024) || !kib.is_power_of_two() {
                    return Err(unsupported(path, "has to be a power of two of at least 1024"));
                }
                ("vgamem_mb", u64::from(kib / 1024))
            }
            VideoModel::Qxl => ("vram_size", u64::from(kib) * 1024),
            VideoModel::Bochs => ("vgamem", u64::from(kib) * 1024),
            VideoModel::Virtio | VideoModel::Ramfb => {
                return Err(unsupported(path, "this adapter takes guest memory as it needs it"));
            }
        };
        device.insert(key.to_owned(), json!(value));
    }
    match (video.heads, video.model) {
        (None, _) => {}
        (Some(heads), VideoModel::Virtio | VideoModel::Qxl) => {
            device.insert("max_outputs".to_owned(), json!(heads));
        }
        (Some(1), _) => {}
        (Some(_), _) => {
            return Err(unsupported(format!("{path}.heads"), "only virtio and qxl have several outputs"));
        }
    }
    details(video, &mut device, &path)?;
    match video.model {
        VideoModel::Ramfb => board.device(&Value::Object(device)),
        _ => board.pci_device(Value::Object(device))?,
    }
    Ok(())
}

/// What only some adapters have.
fn details(video: &Video, device: &mut Map<String, Value>, path: &str) -> Result<(), Error> {
    let only = |property: &str, adapter: &str| {
        unsupported(format!("{path}.{property}"), format!("only for {adapter}"))
    };
    for (name, property, kib, unit) in [
        ("ram-kib", "ram_size", video.ram_kib, Some(1024)),
        ("vgamem-kib", "vgamem_mb", video.vgamem_kib, None),
        ("vram64-kib", "vram64_size_mb", video.vram64_kib, None),
    ] {
        let Some(kib) = kib else { continue };
        if video.model != VideoModel::Qxl {
            return Err(only(name, "qxl"));
        }
        // Properties in MiB, but for the one in bytes.
        let value = unit.map_or(u64::from(kib / 1024), |unit| u64::from(kib) * unit);
        device.insert(property.to_owned(), json!(value));
    }
    if let Some(blob) = video.blob {
        if video.model != VideoModel::Virtio {
            return Err(only("blob", "virtio"));
        }
        device.insert("blob".to_owned(), json!(blob));
    }
    let has_edid = matches!(video.model, VideoModel::Vga | VideoModel::Virtio | VideoModel::Bochs);
    if (video.edid.is_some() || video.resolution.is_some()) && !has_edid {
        let property = if video.edid.is_some() { "edid" } else { "resolution" };
        return Err(only(property, "vga, virtio and bochs"));
    }
    if let Some(edid) = video.edid {
        device.insert("edid".to_owned(), json!(edid));
    }
    if let Some(size) = video.resolution {
        device.insert("xres".to_owned(), json!(size.width));
        device.insert("yres".to_owned(), json!(size.height));
    }
    virtio(&video.virtio, device, path)
}

fn server(vnc: &Vnc, allowed: &[IpAddr], board: &mut Board<'_>) -> Result<(), Error> {
    if !vnc.address.is_loopback() && !allowed.contains(&vnc.address) {
        let address = vnc.address;
        let message =
            format!("vnc.address: {address} is not allowed; add it to vnc-addresses in [hypervisor]");
        return Err(Error::new(ErrorKind::Denied, message));
    }
    let host = match vnc.address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    };
    let mut text = match vnc.port {
        Some(port) => {
            let number = port.checked_sub(5900).ok_or_else(|| unsupported("vnc.port", "below 5900"))?;
            format!("{host}:{number}")
        }
        None => format!("{host}:0,to={VNC_PORTS}"),
    };
    if let Some(port) = vnc.websocket {
        text.push_str(&format!(",websocket={port}"));
    }
    board.option("-vnc", text);
    if let Some(keymap) = &vnc.keymap {
        board.option("-k", keymap.as_str());
    }
    Ok(())
}

fn input(index: usize, input: &Input, board: &mut Board<'_>) -> Result<(), Error> {
    let (driver, bus) = match (input.bus, input.kind) {
        // Part of both boards.
        (InputBus::Ps2, InputKind::Keyboard | InputKind::Mouse) => return Ok(()),
        (InputBus::Ps2, InputKind::Tablet) => {
            return Err(unsupported(format!("inputs[{index}]"), "a tablet needs usb or virtio"));
        }
        (InputBus::Usb, InputKind::Keyboard) => ("usb-kbd", Some("usb0.0")),
        (InputBus::Usb, InputKind::Mouse) => ("usb-mouse", Some("usb0.0")),
        (InputBus::Usb, InputKind::Tablet) => ("usb-tablet", Some("usb0.0")),
        (InputBus::Virtio, InputKind::Keyboard) => ("virtio-keyboard-pci", None),
        (InputBus::Virtio, InputKind::Mouse) => ("virtio-mouse-pci", None),
        (InputBus::Virtio, InputKind::Tablet) => ("virtio-tablet-pci", None),
    };
    let id = format!("input{index}");
    let mut device = Map::new();
    device.insert("driver".to_owned(), json!(driver));
    device.insert("id".to_owned(), json!(id));
    virtio(&input.virtio, &mut device, format!("inputs[{index}]"))?;
    if let Some(bus) = bus {
        device.insert("bus".to_owned(), json!(bus));
        board.device(&Value::Object(device));
        return Ok(());
    }
    board.pci_device(Value::Object(device))
}

//! Serial console, display and video.

use witvirt_sdk::xml::Element;

use crate::draft::Draft;
use crate::tree::Field;

/// The serial port and the console that is another name of it.
pub(super) fn console(devices: Field<'_>) -> Vec<Element> {
    if devices.flag("autoattachSerialConsole") == Some(false) {
        return Vec::new();
    }
    let target = Element::new("target").attribute("port", 0);
    vec![
        Element::new("serial").attribute("type", "pty").child(target.clone()),
        Element::new("console").attribute("type", "pty").child(target.attribute("type", "serial")),
    ]
}

/// A VNC server on loopback where KubeVirt has one on a socket, and its video adapter.
pub(super) fn read(draft: &Draft<'_>) -> Vec<Element> {
    let video = draft.devices.get("video");
    let kinds = ["virtio", "vga", "bochs", "ramfb", "cirrus"].map(|kind| (kind, kind));
    let kind = video.and_then(|video| video.get("type")).and_then(|kind| kind.choose(&kinds));
    if let Some(video) = video {
        video.object();
    }
    if draft.devices.flag("autoattachGraphicsDevice") == Some(false) {
        if let Some(video) = video {
            video.error("kubevirt.device.video", || {
                "needs a graphics device: autoattachGraphicsDevice is false".to_owned()
            });
        }
        return Vec::new();
    }
    let efi = draft.domain.path(&["firmware", "bootloader", "efi"]).is_some();
    let annotations = draft.metadata.get("annotations");
    let wants_vga = annotations.and_then(|all| all.text("kubevirt.io/vga-display-efi-x86"));
    let kind = kind.unwrap_or(if efi && wants_vga.is_none() { "bochs" } else { "vga" });
    let mut model = Element::new("model").attribute("type", kind).attribute("heads", 1);
    if kind == "vga" {
        model = model.attribute("vram", 16_384);
    }
    let listen = Element::new("listen").attribute("type", "address").attribute("address", "127.0.0.1");
    let graphics =
        Element::new("graphics").attribute("type", "vnc").attribute("port", -1).attribute("autoport", "yes");
    vec![graphics.child(listen), Element::new("video").child(model)]
}

//! Serial ports and consoles. Whatever backend the XML names, the machine's own console takes the output.

use witvirt_sdk::core::spec::{Channel, Console, ConsoleTarget, Serial};

use super::{OPTIONAL, common};
use crate::document::{DETAIL, Element, PLACEMENT, RUNTIME, Value, Waiver};
use crate::draft::Draft;

const BACKEND: Waiver =
    Waiver::warning("libvirt.console.backend", "the machine's own console takes the output instead");
const UNCONNECTED: Waiver = Waiver::warning(
    "libvirt.channel.backend",
    "the guest finds the port, but nothing on the host is connected to it",
);
const LOG: Waiver = Waiver::info("libvirt.console.log", "the machine's own console log keeps the output");
const ALIAS: Waiver =
    Waiver::warning("libvirt.console.repeated", "only the first console stands for a serial port");
const NO_PORT: Waiver =
    Waiver::error("libvirt.serial.unsupported", "serial ports are the four of the board (isa-serial)");

pub(crate) fn read_serial<'a>(serial: Element<'a>, draft: &mut Draft<'a>) {
    read_backend(serial);
    let target = serial.child("target");
    let mut port = None;
    if let Some(target) = target {
        port = target.attribute("port").and_then(Value::number::<u8>);
        target.expect("type", &["isa-serial", "serial"], &NO_PORT);
        if let Some(model) = target.child("model") {
            model.expect("name", &["isa-serial"], &NO_PORT);
        }
    }
    common(serial);
    draft.made_from("serials", draft.spec.serials.len(), serial);
    draft.spec.serials.push(Serial { port });
}

/// After all serial ports are read: the first console on a serial port is the other name of the first of them.
pub(crate) fn read_consoles<'a>(consoles: &[Element<'a>], draft: &mut Draft<'a>) {
    let mut on_serial = 0;
    for console in consoles {
        read_console(*console, &mut on_serial, draft);
    }
}

fn read_console<'a>(console: Element<'a>, on_serial: &mut usize, draft: &mut Draft<'a>) {
    let target = console.child("target");
    let kind = target.and_then(|target| target.attribute("type"));
    let kinds = [("serial", false), ("virtio", true)];
    let Some(virtio) = kind.map_or(Some(false), |kind| kind.choose(&kinds)) else {
        return console.waive(&OPTIONAL);
    };
    let port = target.and_then(|target| target.attribute("port")).and_then(Value::number::<u8>);
    console.waive_parts(&["@tty"], &RUNTIME);
    if let Some(target) = target {
        target.waive_parts(&["@name"], &DETAIL);
    }
    common(console);
    *on_serial += usize::from(!virtio);
    if virtio {
        read_backend(console);
        draft.made_from("consoles", draft.spec.consoles.len(), console);
        draft.spec.consoles.push(Console { target: ConsoleTarget::Virtio });
    } else if draft.spec.serials.is_empty() {
        read_backend(console);
        draft.made_from("serials", 0, console);
        draft.spec.serials.push(Serial { port });
    } else if *on_serial > 1 {
        console.waive(&ALIAS);
    } else {
        // The serial port itself says all there is to say.
        console.attribute("type");
        console.waive_parts(&["source", "protocol", "log"], &RUNTIME);
    }
}

/// A virtio port by its name; what libvirt connects to its other end is not there.
pub(crate) fn read_channel<'a>(channel: Element<'a>, draft: &mut Draft<'a>) {
    let target = channel.child("target");
    let target = target.filter(|target| target.attribute("type").is_some_and(|kind| kind.text == "virtio"));
    let Some(target) = target else { return channel.waive(&OPTIONAL) };
    let kind = channel.required("type");
    let agent = kind.is_some_and(|kind| matches!(kind.text, "spicevmc" | "qemu-vdagent"));
    // What libvirt calls those of SPICE.
    let name = target.attribute("name").map(|name| name.text.to_owned());
    let name = name.or(agent.then(|| "com.redhat.spice.0".to_owned()));
    target.waive_parts(&["@state"], &RUNTIME);
    let address = channel.child("address");
    let controller =
        address.and_then(|address| address.attribute("controller")).and_then(Value::number::<u32>);
    if let Some(kind) = kind {
        kind.waive(&UNCONNECTED);
    }
    channel.waive_parts(&["source", "protocol", "log", "clipboard", "mouse", "gl"], &RUNTIME);
    if let Some(address) = address {
        address.waive(&PLACEMENT);
    }
    common(channel);
    draft.made_from("channels", draft.spec.channels.len(), channel);
    draft.spec.channels.push(Channel { name, controller: controller.filter(|index| *index > 0) });
}

fn read_backend(device: Element<'_>) {
    let Some(kind) = device.required("type") else { return };
    let kinds = [
        "pty",
        "null",
        "vc",
        "stdio",
        "file",
        "pipe",
        "unix",
        "tcp",
        "udp",
        "dev",
        "spicevmc",
        "spiceport",
        "nmdm",
        "qemu-vdagent",
        "dbus",
    ];
    let own =
        matches!(kind.choose(&kinds.map(|kind| (kind, kind))), Some("pty" | "null" | "vc" | "stdio") | None);
    if !own {
        kind.waive(&BACKEND);
    }
    device.waive_parts(&["source", "protocol"], &RUNTIME);
    device.waive_parts(&["log"], &LOG);
}

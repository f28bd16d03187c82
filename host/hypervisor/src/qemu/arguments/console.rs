//! The monitor, serial ports and consoles.

use serde_json::{Map, Value, json};
use witvirt_core::spec::{ConsoleTarget, MachineSpec};

use super::board::Board;
use super::controller;
use super::{Machine, escape, unsupported};
use crate::Error;

/// The character device of the machine's console.
const CONSOLE: &str = "console";

/// Whether the machine has a console: a virtio console or a serial port.
pub(crate) fn has_console(spec: &MachineSpec) -> bool {
    !spec.consoles.is_empty() || !spec.serials.is_empty()
}

pub(super) fn plug(machine: &Machine<'_>, board: &mut Board<'_>) -> Result<(), Error> {
    let (spec, descriptors) = (machine.spec, machine.descriptors);
    let monitor = board.socket(descriptors.qmp);
    board.option("-chardev", format!("socket,id=monitor,{monitor},server=on,wait=off"));
    board.option("-mon", "chardev=monitor,mode=control");
    if has_console(spec) {
        // QEMU writes the log itself, so that nothing is lost while no daemon runs.
        let log = escape(&board.file_set(descriptors.console_log));
        let socket = format!("socket,id={CONSOLE},{},server=on,wait=off", board.socket(descriptors.console));
        board.option("-chardev", format!("{socket},logfile={log},logappend=on"));
    }
    let mut primary = Some(CONSOLE);
    for (index, console) in spec.consoles.iter().enumerate() {
        let chardev = backend(&mut primary, &format!("console{index}"), board);
        let driver = match console.target {
            ConsoleTarget::Virtio => "virtconsole",
        };
        let id = format!("virtconsole{index}");
        board.device(&json!({ "driver": driver, "id": id, "bus": "serials0.0", "chardev": chardev }));
    }
    let controllers = controller::channels(spec);
    for (index, (channel, controller)) in spec.channels.iter().zip(controllers).enumerate() {
        let chardev = format!("channel{index}");
        board.option("-chardev", format!("null,id={chardev}"));
        let mut device = Map::new();
        device.insert("driver".to_owned(), json!("virtserialport"));
        device.insert("id".to_owned(), json!(format!("virtport{index}")));
        device.insert("bus".to_owned(), json!(format!("serials{}.0", controller)));
        device.insert("chardev".to_owned(), json!(chardev));
        if let Some(name) = &channel.name {
            device.insert("name".to_owned(), json!(name));
        }
        board.device(&Value::Object(device));
    }
    for (index, port) in serial_ports(spec)?.into_iter().enumerate() {
        let chardev = backend(&mut primary, &format!("com{port}"), board);
        let id = format!("serial{index}");
        board.device(&json!({ "driver": "isa-serial", "id": id, "index": port, "chardev": chardev }));
    }
    Ok(())
}

/// The first takes the machine's console; the others lead nowhere.
fn backend(primary: &mut Option<&str>, id: &str, board: &mut Board<'_>) -> String {
    if let Some(console) = primary.take() {
        return console.to_owned();
    }
    board.option("-chardev", format!("null,id={id}"));
    id.to_owned()
}

/// The port number of each serial port.
fn serial_ports(spec: &MachineSpec) -> Result<Vec<u8>, Error> {
    let taken: Vec<u8> = spec.serials.iter().filter_map(|serial| serial.port).collect();
    let mut free = (0..4).filter(|port| !taken.contains(port));
    let mut ports = Vec::with_capacity(spec.serials.len());
    for (index, serial) in spec.serials.iter().enumerate() {
        let port = serial.port.or_else(|| free.next());
        ports.push(
            port.ok_or_else(|| unsupported(format!("serials[{index}]"), "a PC has four serial ports"))?,
        );
    }
    Ok(ports)
}

//! Network interfaces.

use serde_json::{Map, Value, json};
use witvirt_core::spec::{Forward, InterfaceSource, MacAddress, MachineSpec, NicModel, Protocol};

use super::board::Board;
use super::boot::Order;
use super::unsupported;
use crate::Error;

pub(super) fn plug(spec: &MachineSpec, order: &Order, board: &mut Board<'_>) -> Result<(), Error> {
    let uuid = spec.effective_uuid();
    let nothing_else = spec.boot.kernel.is_none() && spec.disks.is_empty();
    for (index, (interface, boot_index)) in spec.interfaces.iter().zip(&order.interfaces).enumerate() {
        let path = format!("interfaces[{index}]");
        let mut device = Map::new();
        let mut set = |key: &str, value: Value| {
            device.insert(key.to_owned(), value);
        };
        set("driver", json!(interface.model.device()));
        set("id", json!(nic_id(index)));
        if interface.source == InterfaceSource::User {
            let id = format!("net{index}");
            board.json("-netdev", &netdev(&id, &interface.forwards, &path)?);
            set("netdev", json!(id));
        }
        let position = u8::try_from(index).map_err(|_| unsupported(&path, "more than 256 interfaces"))?;
        let mac = interface.mac.unwrap_or_else(|| MacAddress::derived(&uuid, position));
        set("mac", json!(mac.to_string()));
        if let Some(boot_index) = boot_index {
            set("bootindex", json!(boot_index));
        }
        let pci = !matches!(interface.model, NicModel::Ne2kIsa | NicModel::UsbNet);
        // The PXE loader of a card that is not booted from would only delay the firmware.
        if pci && boot_index.is_none() && !nothing_else {
            set("romfile", json!(""));
        }
        if let Some(mtu) = interface.mtu {
            let virtio = [NicModel::Virtio, NicModel::VirtioTransitional, NicModel::VirtioNonTransitional];
            if !virtio.contains(&interface.model) {
                return Err(unsupported(format!("{path}.mtu"), "only virtio tells the guest"));
            }
            set("host_mtu", json!(mtu));
        }
        match interface.model {
            NicModel::UsbNet => {
                set("bus", json!("usb0.0"));
                board.device(&Value::Object(device));
            }
            NicModel::Ne2kIsa => board.device(&Value::Object(device)),
            _ => board.pci_device(Value::Object(device))?,
        }
    }
    Ok(())
}

/// The device of an interface, as the monitor names it.
pub(crate) fn nic_id(index: usize) -> String {
    format!("nic{index}")
}

fn netdev(id: &str, forwards: &[Forward], path: &str) -> Result<Value, Error> {
    let mut rules = Vec::with_capacity(forwards.len());
    for (at, forward) in forwards.iter().enumerate() {
        let path = format!("{path}.forwards[{at}].address");
        let std::net::IpAddr::V4(address) = forward.address else {
            return Err(unsupported(path, "user networks listen on IPv4 addresses only"));
        };
        let protocol = match forward.protocol {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        };
        rules.push(
            json!({ "str": format!("{protocol}:{address}:{}-:{}", forward.host_port, forward.guest_port) }),
        );
    }
    let mut netdev = Map::new();
    netdev.insert("type".to_owned(), json!("user"));
    netdev.insert("id".to_owned(), json!(id));
    if !rules.is_empty() {
        netdev.insert("hostfwd".to_owned(), Value::Array(rules));
    }
    Ok(Value::Object(netdev))
}

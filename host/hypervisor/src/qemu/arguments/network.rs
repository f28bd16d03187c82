//! Network interfaces.

use serde_json::{Map, Value, json};
use witvirt_core::spec::{
    Forward, Interface, InterfaceSource, MacAddress, MachineSpec, NicModel, Offload, Protocol,
};

use super::board::Board;
use super::boot::Order;
use super::{unsupported, virtio};
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
        let wanted = interface.rom.unwrap_or(boot_index.is_some() || nothing_else);
        if pci && !wanted {
            set("romfile", json!(""));
        }
        if let Some(mtu) = interface.mtu {
            if !interface.model.is_virtio() {
                return Err(unsupported(format!("{path}.mtu"), "only virtio tells the guest"));
            }
            set("host_mtu", json!(mtu));
        }
        queues(interface, &mut device, &path)?;
        let mut set = |key: &str, value: Value| {
            device.insert(key.to_owned(), value);
        };
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

/// What only virtio cards have.
fn queues(interface: &Interface, device: &mut Map<String, Value>, path: &str) -> Result<(), Error> {
    let mut wanted = Vec::new();
    for (name, property, size) in [
        ("rx-queue-size", "rx_queue_size", interface.rx_queue_size),
        ("tx-queue-size", "tx_queue_size", interface.tx_queue_size),
    ] {
        wanted.extend(size.map(|size| (name, property, json!(size))));
    }
    for (name, property, on) in [("rss", "rss", interface.rss), ("rss-hash", "hash", interface.rss_hash)] {
        wanted.extend(on.map(|on| (name, property, json!(on))));
    }
    wanted.extend(
        interface.offloads_off.iter().map(|offload| ("offloads-off", property(*offload), json!(false))),
    );
    if let (Some((name, ..)), false) = (wanted.first(), interface.model.is_virtio()) {
        return Err(unsupported(format!("{path}.{name}"), "only for virtio"));
    }
    for (_, property, value) in wanted {
        device.insert(property.to_owned(), value);
    }
    virtio(&interface.virtio, device, path)
}

fn property(offload: Offload) -> &'static str {
    match offload {
        Offload::Csum => "csum",
        Offload::Gso => "gso",
        Offload::HostTso4 => "host_tso4",
        Offload::HostTso6 => "host_tso6",
        Offload::HostEcn => "host_ecn",
        Offload::HostUfo => "host_ufo",
        Offload::MergedBuffers => "mrg_rxbuf",
        Offload::GuestCsum => "guest_csum",
        Offload::GuestTso4 => "guest_tso4",
        Offload::GuestTso6 => "guest_tso6",
        Offload::GuestEcn => "guest_ecn",
        Offload::GuestUfo => "guest_ufo",
    }
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

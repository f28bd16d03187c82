//! Host ports of forwards that nobody has chosen: port 0 in a spec.

use std::collections::HashSet;
use std::net::{IpAddr, TcpListener, UdpSocket};

use witvirt_core::spec::{Forward, MachineSpec, Protocol};

use crate::api::{Error, ErrorKind};

/// How often the kernel is asked for a port that no other machine has.
const TRIES: usize = 64;

/// A port of a protocol, which is one in all addresses.
pub(super) type Port = (u8, u16);

/// The host ports of a machine.
pub(super) fn ports(spec: &MachineSpec) -> impl Iterator<Item = Port> {
    let forwards = spec.interfaces.iter().flat_map(|interface| &interface.forwards);
    forwards
        .filter(|forward| forward.host_port != 0)
        .map(|forward| (forward.protocol as u8, forward.host_port))
}

/// Gives forwards that have none the port they have in `existing`, the machine of that name.
pub(super) fn keep(spec: &mut MachineSpec, existing: &MachineSpec) {
    let known = existing.interfaces.iter().map(|interface| &interface.forwards);
    for (interface, known) in spec.interfaces.iter_mut().zip(known) {
        for (forward, known) in interface.forwards.iter_mut().zip(known) {
            let wanted = Forward { host_port: forward.host_port, ..known.clone() };
            if forward.host_port == 0 && *forward == wanted {
                forward.host_port = known.host_port;
            }
        }
    }
}

/// Gives forwards that have none a port that is free now and that no other machine has.
///
/// # Errors
/// When nothing can listen on the address, or all ports are taken.
pub(super) fn assign(spec: &mut MachineSpec, mut taken: HashSet<Port>) -> Result<(), Error> {
    taken.extend(ports(spec));
    let forwards = spec.interfaces.iter_mut().flat_map(|interface| &mut interface.forwards);
    for forward in forwards.filter(|forward| forward.host_port == 0) {
        forward.host_port = free(forward.protocol, forward.address, &taken)?;
        taken.insert((forward.protocol as u8, forward.host_port));
    }
    Ok(())
}

fn free(protocol: Protocol, address: IpAddr, taken: &HashSet<Port>) -> Result<u16, Error> {
    // Held until one is found, so that the kernel offers others.
    let (mut streams, mut datagrams) = (Vec::new(), Vec::new());
    let failed = |error| {
        Error::caused(
            ErrorKind::Invalid,
            format!("no port of {address} can be forwarded to a machine"),
            &error,
        )
    };
    for _ in 0..TRIES {
        let port = match protocol {
            Protocol::Tcp => {
                let socket = TcpListener::bind((address, 0)).map_err(failed)?;
                let port = socket.local_addr().map_err(failed)?.port();
                streams.push(socket);
                port
            }
            Protocol::Udp => {
                let socket = UdpSocket::bind((address, 0)).map_err(failed)?;
                let port = socket.local_addr().map_err(failed)?.port();
                datagrams.push(socket);
                port
            }
        };
        if !taken.contains(&(protocol as u8, port)) {
            return Ok(port);
        }
    }
    let message = format!("no port of {address} was found that no machine has");
    Err(Error::new(ErrorKind::Conflict, message).hint("choose one: host-port"))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use serde_json::json;
    use witvirt_core::spec::MachineSpec;

    use super::{assign, keep, ports};

    fn machine(forwards: &serde_json::Value) -> MachineSpec {
        let object = json!({ "name": "m", "memory": 64 << 20, "interfaces": [{ "forwards": forwards }] });
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn forwards_get_different_free_ports_and_keep_them() {
        let wanted = machine(&json!([
            { "host-port": 0, "guest-port": 22 },
            { "host-port": 0, "guest-port": 80 },
            { "host-port": 0, "guest-port": 53, "protocol": "udp" },
            { "host-port": 8080, "guest-port": 8080 },
        ]));
        assert!(wanted.validate().is_empty(), "{:?}", wanted.validate());
        let mut first = wanted.clone();
        assign(&mut first, HashSet::new()).unwrap();
        let chosen: HashSet<_> = ports(&first).collect();
        assert_eq!(chosen.len(), 4);
        let mut again = wanted.clone();
        keep(&mut again, &first);
        assert_eq!(again, first);
        let mut other = wanted;
        assign(&mut other, chosen.clone()).unwrap();
        let both: HashSet<_> = ports(&other).chain(chosen).collect();
        assert_eq!(both.len(), 7, "only the port that was asked for is shared");
    }
}

//! Network interfaces, each with the network of its name.

use witvirt_sdk::xml::Element;

use super::{BootOrder, pci_address};
use crate::draft::{Draft, alias, alias_element};
use crate::settings::{HostPorts, OtherNetworks};
use crate::tree::{Field, Waiver, quote};

/// Most interfaces and networks.
const MOST: usize = 64;
/// Most ports of an interface.
const MOST_PORTS: usize = 256;
const MODELS: &[&str] = &[
    "virtio",
    "e1000",
    "e1000e",
    "igb",
    "ne2k_pci",
    "pcnet",
    "rtl8139",
    "virtio-non-transitional",
    "virtio-transitional",
];
const TAG: Waiver = Waiver::info("kubevirt.tag", "guests are not told tags of devices");
const DHCP: Waiver = Waiver::warning(
    "kubevirt.interface.dhcp",
    "the user network's own DHCP server answers, without these options",
);
const RANGE: Waiver = Waiver::warning(
    "kubevirt.interface.range",
    "the guest gets an address in the hypervisor's own range, 10.0.2.0/24 unless it says otherwise",
);
const ACPI_INDEX: Waiver =
    Waiver::warning("kubevirt.interface.acpi-index", "the guest names the card by its place");
const CLAIM: Waiver = Waiver::error(
    "kubevirt.device.host",
    "names hardware of the host, which witvirt does not hand to guests",
);

/// How KubeVirt would connect an interface.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Binding {
    /// By translation of addresses, or something that looks the same to a guest that only calls out.
    Translated,
    /// With the pod's own address.
    Bridged,
    /// By a device of the host.
    Host,
    /// By a plugin of the cluster.
    Plugin,
}

const BINDINGS: [(&str, Binding); 8] = [
    ("masquerade", Binding::Translated),
    ("slirp", Binding::Translated),
    ("passt", Binding::Translated),
    ("passtBinding", Binding::Translated),
    ("bridge", Binding::Bridged),
    ("macvtap", Binding::Host),
    ("sriov", Binding::Host),
    ("binding", Binding::Plugin),
];

pub(super) fn read<'a>(draft: &mut Draft<'a>, order: &mut BootOrder<'a>) -> Vec<Element> {
    let networks = draft.spec.bounded_list("networks", MOST);
    let interfaces = draft.devices.bounded_list("interfaces", MOST);
    let mut parts = Vec::new();
    for interface in &interfaces {
        let Some(alias) = alias(*interface) else { continue };
        let name = interface.text("name");
        let named: Vec<_> = networks.iter().filter(|network| network.text("name") == name).collect();
        let twice = interfaces.iter().filter(|other| other.text("name") == name).count() > 1;
        if twice || named.len() > 1 {
            interface.error("kubevirt.interface.name", || "the name is there twice".to_owned());
        }
        let Some(network) = named.first() else {
            interface.cover();
            interface.error("kubevirt.interface.network", || {
                format!("there is no network called {}", quote(name.unwrap_or_default()))
            });
            continue;
        };
        parts.extend(read_interface(*interface, **network, &alias, draft, order));
    }
    draft.devices.flag("autoattachPodInterface");
    for network in networks {
        let name = network.required("name");
        if name.is_some() && !interfaces.iter().any(|interface| interface.text("name") == name) {
            network.cover();
            network.error("kubevirt.interface.network", || {
                "no interface has the name of this network".to_owned()
            });
        }
    }
    parts
}

fn read_interface<'a>(
    interface: Field<'a>,
    network: Field<'a>,
    alias: &str,
    draft: &mut Draft<'a>,
    order: &mut BootOrder<'a>,
) -> Option<Element> {
    let state = interface.get("state").filter(|state| state.string() != Some(""));
    let states = [("up", "up"), ("down", "down"), ("absent", "absent")];
    let state = state.and_then(|state| state.choose(&states)).unwrap_or("up");
    if state == "absent" {
        interface.cover();
        network.cover();
        interface
            .info("kubevirt.interface.absent", || "state: absent: the machine has no such card".to_owned());
        return None;
    }
    let user = source(interface, network, draft.settings.other_networks);
    let kind = if user { "user" } else { "null" };
    let models: Vec<_> = MODELS.iter().map(|model| (*model, *model)).collect();
    let model = interface.get("model").filter(|model| model.string() != Some(""));
    let model = model.map_or(Some("virtio"), |model| model.choose(&models));
    let mut made = Element::new("interface").attribute("type", kind);
    if let Some(mac) = interface.get("macAddress").and_then(mac) {
        made = made.child(Element::new("mac").attribute("address", mac));
    }
    made = made.child(Element::new("model").attribute("type", model?));
    if state == "down" || !user {
        made = made.child(Element::new("link").attribute("state", "down"));
    }
    let boot = order.read(interface);
    made = made.children(boot).child(alias_element(alias)).children(pci_address(interface));
    ports(interface, alias, user, draft);
    interface.waive_fields(&["tag"], &TAG);
    interface.waive_fields(&["dhcpOptions"], &DHCP);
    interface.waive_fields(&["acpiIndex"], &ACPI_INDEX);
    Some(made)
}

/// Whether it is connected to a user network; anything else is a card without a cable.
fn source(interface: Field<'_>, network: Field<'_>, rule: OtherNetworks) -> bool {
    let bindings =
        BINDINGS.iter().filter_map(|(name, binding)| interface.get(name).map(|field| (field, *binding)));
    let bindings: Vec<_> = bindings.collect();
    for (field, binding) in &bindings {
        match binding {
            Binding::Translated | Binding::Bridged => _ = field.object(),
            Binding::Host | Binding::Plugin => field.cover(),
        }
    }
    if bindings.len() > 1 {
        interface
            .error("kubevirt.interface.binding", || "there are several bindings: one decides".to_owned());
    }
    let binding = bindings.first().map_or(Binding::Bridged, |(_, binding)| *binding);
    let kinds = ["pod", "multus", "resourceClaim"].map(|name| network.get(name));
    if kinds.iter().flatten().count() != 1 {
        network.error("kubevirt.interface.network", || "use one of pod and multus".to_owned());
    }
    let [pod, multus, claim] = kinds;
    if let Some(claim) = claim {
        claim.waive(&CLAIM);
    }
    if let Some(pod) = pod {
        pod.object();
        pod.waive_fields(&["vmNetworkCIDR", "vmIPv6NetworkCIDR"], &RANGE);
    }
    let name = multus.and_then(|multus| {
        multus.waive_fields(
            &["default"],
            &Waiver::info("kubevirt.pod", "there is no pod that it would apply to"),
        );
        multus.required("networkName")
    });
    let reason = match (binding, name) {
        (_, Some(name)) => format!("the network {}", quote(name)),
        (Binding::Host, None) => "a device of the host".to_owned(),
        (Binding::Plugin, None) => "a network of a plugin of the cluster".to_owned(),
        (Binding::Bridged, None) => {
            interface.info("kubevirt.interface.bridge", || {
                "a user network instead of a bridge to a pod's: outgoing connections work alike".to_owned()
            });
            return true;
        }
        (Binding::Translated, None) => return true,
    };
    let place = multus.unwrap_or(interface);
    match rule {
        OtherNetworks::Refuse => {
            place.error("kubevirt.interface.network", || {
                format!("witvirt cannot connect a machine to {reason}: use the pod network, or this plugin's setting other-networks")
            });
            false
        }
        OtherNetworks::User => {
            place.warn("kubevirt.interface.network", || format!("a user network instead of {reason}"));
            true
        }
        OtherNetworks::Unplugged => {
            place
                .warn("kubevirt.interface.network", || format!("a card without a cable instead of {reason}"));
            false
        }
    }
}

fn mac(field: Field<'_>) -> Option<String> {
    let text = field.string().filter(|text| !text.is_empty())?;
    let parsed: Option<witvirt_sdk::core::spec::MacAddress> = text.parse().ok();
    if parsed.is_none() {
        field.refuse("a unicast MAC address like 02:00:00:12:34:56");
    }
    parsed.map(|mac| mac.to_string())
}

/// Ports that lead to the guest. KubeVirt opens all where none is listed; a host's ports are listed, or none.
fn ports<'a>(interface: Field<'a>, alias: &str, user: bool, draft: &mut Draft<'a>) {
    let mut ports = Vec::new();
    for port in interface.list("ports") {
        let protocol = protocol(port);
        port.waive_fields(
            &["name"],
            &Waiver::info("kubevirt.interface.port", "names of ports are for services"),
        );
        match port.get("port") {
            Some(field) => {
                let number = field.integer(1, 65_535);
                ports.extend(number.zip(protocol).map(|(number, protocol)| (number, protocol, field)));
            }
            None => {
                port.required("port");
            }
        }
    }
    for range in interface.list("portRanges") {
        let protocol = protocol(range);
        let bound = |name: &'static str| range.get(name).and_then(|field| field.integer(1, 65_535));
        let (Some(start), Some(end)) = (bound("start"), bound("end")) else {
            range.error("kubevirt.interface.port", || "needs start and end, from 1 to 65535".to_owned());
            continue;
        };
        if end < start {
            range.error("kubevirt.interface.port", || "ends before it starts".to_owned());
        }
        let numbers = (start..=end).take(MOST_PORTS + 1);
        ports.extend(numbers.filter_map(|number| Some((number, protocol?, range))));
    }
    if ports.len() > MOST_PORTS {
        interface.error("kubevirt.interface.port", || format!("these are more than {MOST_PORTS} ports"));
        return;
    }
    if user && draft.settings.host_ports == HostPorts::None && !ports.is_empty() {
        interface.info("kubevirt.interface.port", || {
            "the ports stay closed: the setting host-ports of this plugin is \"none\"".to_owned()
        });
        return;
    }
    for (number, protocol, field) in ports.into_iter().filter(|_| user) {
        let host = if draft.settings.host_ports == HostPorts::Same { number } else { 0 };
        let forward = Element::new("w:forward")
            .attribute("interface", alias)
            .attribute("protocol", protocol)
            .attribute("host-port", host)
            .attribute("guest-port", number);
        if draft.forwards.contains(&forward) {
            field.info("kubevirt.interface.port", || format!("{protocol} {number} is listed twice"));
        } else {
            draft.forwards.push(forward);
        }
    }
}

fn protocol(port: Field<'_>) -> Option<&'static str> {
    let Some(protocol) = port.get("protocol") else { return Some("tcp") };
    protocol.choose(&[("TCP", "tcp"), ("UDP", "udp"), ("", "tcp")])
}

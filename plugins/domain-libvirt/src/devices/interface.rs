//! Network interfaces.

use std::net::{IpAddr, Ipv4Addr};

use witvirt_sdk::core::domain::Severity;
use witvirt_sdk::core::spec::{
    Forward, Interface, InterfaceSource, MacAddress, NicModel, Offload, Protocol, Virtio,
};

use super::{common, disk::boot_index, virtio};
use crate::document::{DETAIL, Element, RUNTIME, TUNING, Value, Waiver, quote};
use crate::draft::Draft;
use crate::settings::OtherNetworks;

/// Most ports that the forwards of one interface may open.
const MAX_FORWARDS: usize = 256;

const BACKEND: Waiver =
    Waiver::info("libvirt.interface.backend", "the hypervisor's own user network serves it");
const HOST_SIDE: Waiver = Waiver::warning(
    "libvirt.interface.host",
    "not honoured: there is no device on the host's side of a user network",
);
const ONE_QUEUE: Waiver = Waiver::warning("libvirt.interface.queue", "a user network has one queue");
const NO_VIRTIO: Waiver = Waiver::info("libvirt.interface.driver", "only for virtio cards");
const FILTER: Waiver = Waiver::warning("libvirt.interface.filter", "packets are not filtered");
const TRANSPARENT: Waiver =
    Waiver::info("libvirt.interface.target", "a name on the host, which is not needed");
const ADDRESSES: Waiver =
    Waiver::warning("libvirt.interface.address", "the guest gets its address from the hypervisor's own DHCP");
const FORWARD_DEVICE: Waiver =
    Waiver::warning("libvirt.interface.forward", "the port is open on every device that has the address");

const MODELS: &[(&str, NicModel)] = &[
    ("virtio", NicModel::Virtio),
    ("virtio-transitional", NicModel::VirtioTransitional),
    ("virtio-non-transitional", NicModel::VirtioNonTransitional),
    ("virtio-net-pci", NicModel::Virtio),
    ("virtio-net-pci-transitional", NicModel::VirtioTransitional),
    ("virtio-net-pci-non-transitional", NicModel::VirtioNonTransitional),
    ("e1000", NicModel::E1000),
    ("e1000-82540em", NicModel::E1000),
    ("e1000-82544gc", NicModel::E100082544gc),
    ("e1000-82545em", NicModel::E100082545em),
    ("e1000e", NicModel::E1000e),
    ("igb", NicModel::Igb),
    ("rtl8139", NicModel::Rtl8139),
    ("ne2k_pci", NicModel::Ne2kPci),
    ("ne2k_isa", NicModel::Ne2kIsa),
    ("pcnet", NicModel::Pcnet),
    ("tulip", NicModel::Tulip),
    ("vmxnet3", NicModel::Vmxnet3),
    ("usb-net", NicModel::UsbNet),
    ("i82550", NicModel::I82550),
    ("i82551", NicModel::I82551),
    ("i82557a", NicModel::I82557a),
    ("i82557b", NicModel::I82557b),
    ("i82557c", NicModel::I82557c),
    ("i82558a", NicModel::I82558a),
    ("i82558b", NicModel::I82558b),
    ("i82559a", NicModel::I82559a),
    ("i82559b", NicModel::I82559b),
    ("i82559c", NicModel::I82559c),
    ("i82559er", NicModel::I82559er),
    ("i82562", NicModel::I82562),
    ("i82801", NicModel::I82801),
];

pub(crate) fn read<'a>(interface: Element<'a>, draft: &mut Draft<'a>) {
    let mut made = Interface {
        source: source(interface, draft),
        model: model(interface),
        mac: mac(interface),
        forwards: forwards(interface),
        boot_index: boot_index(interface),
        link: link(interface),
        mtu: interface.child("mtu").and_then(|mtu| mtu.required("size")).and_then(Value::number),
        rom: None,
        rx_queue_size: None,
        tx_queue_size: None,
        rss: None,
        rss_hash: None,
        offloads_off: Vec::new(),
        virtio: Virtio::default(),
    };
    if let Some(rom) = interface.child("rom") {
        made.rom = rom.attribute("enabled").and_then(Value::yes);
        // The older way to say that there is none.
        if rom.attribute("file").is_some_and(|file| file.text.is_empty()) {
            made.rom = Some(false);
        }
        rom.waive_parts(&["@bar", "@file"], &DETAIL);
    }
    if let Some(driver) = interface.child("driver") {
        read_driver(driver, &mut made);
    }
    read_rest(interface);
    draft.made_from("interfaces", draft.spec.interfaces.len(), interface);
    draft.spec.interfaces.push(made);
}

/// What the card is connected to, by the rule in the crate's documentation.
fn source(interface: Element<'_>, draft: &Draft<'_>) -> InterfaceSource {
    let Some(kind) = interface.required("type") else { return InterfaceSource::None };
    let types = [
        "user",
        "null",
        "network",
        "bridge",
        "direct",
        "ethernet",
        "hostdev",
        "vhostuser",
        "vdpa",
        "internal",
        "udp",
        "server",
        "client",
        "mcast",
        "vds",
    ];
    match kind.choose(&types.map(|name| (name, name))) {
        Some("user") => {
            interface.waive_parts(&["source"], &TRANSPARENT);
            InterfaceSource::User
        }
        None | Some("null") => InterfaceSource::None,
        Some("network") => network(interface, kind, draft),
        Some("hostdev") => {
            interface.waive_parts(&["source", "teaming"], &RUNTIME);
            kind.waive(&Waiver::error(
                "libvirt.interface.hostdev",
                "witvirt does not hand host devices to guests",
            ));
            InterfaceSource::None
        }
        Some(name) => {
            interface.waive_parts(&["source"], &RUNTIME);
            other(kind, name, draft.settings.other_networks)
        }
    }
}

fn network(interface: Element<'_>, kind: Value<'_>, draft: &Draft<'_>) -> InterfaceSource {
    let source = interface.child("source");
    if let Some(source) = source {
        source.waive_parts(&["@bridge", "@portid", "@portgroup"], &RUNTIME);
    }
    let Some(name) = source.and_then(|source| source.required("network")) else {
        return other(kind, "network", draft.settings.other_networks);
    };
    if draft.settings.nat_networks.iter().any(|network| network == name.text) {
        name.report(Severity::Warning, "libvirt.interface.network", || {
            format!(
                "a user network instead of the network {}: outgoing connections work alike",
                quote(name.text)
            )
        });
        return InterfaceSource::User;
    }
    other(name, "network", draft.settings.other_networks)
}

fn other(place: Value<'_>, kind: &str, rule: OtherNetworks) -> InterfaceSource {
    let (severity, source, outcome) = match rule {
        OtherNetworks::Refuse => (
            Severity::Error,
            InterfaceSource::None,
            "; use type='user', or the plugin's settings nat-networks and other-networks",
        ),
        OtherNetworks::User => (Severity::Warning, InterfaceSource::User, ": a user network instead"),
        OtherNetworks::Unplugged => {
            (Severity::Warning, InterfaceSource::None, ": a card without a cable instead")
        }
    };
    place.report(severity, "libvirt.interface.network", || {
        format!("witvirt cannot connect an interface of type \"{kind}\" to where this one leads{outcome}")
    });
    source
}

fn model(interface: Element<'_>) -> NicModel {
    let Some(model) = interface.child("model").and_then(|model| model.required("type")) else {
        interface.report(Severity::Info, "libvirt.default.nic", || {
            "no model: \"rtl8139\", as under libvirt".to_owned()
        });
        return NicModel::Rtl8139;
    };
    model.choose(MODELS).unwrap_or_default()
}

fn mac(interface: Element<'_>) -> Option<MacAddress> {
    let mac = interface.child("mac")?;
    mac.waive_parts(&["@type", "@check", "@currentAddress"], &RUNTIME);
    let address = mac.required("address")?;
    let parsed = address.text.parse().ok();
    if parsed.is_none() {
        address.refuse("a unicast MAC address like 52:54:00:12:34:56");
    }
    parsed
}

fn link(interface: Element<'_>) -> bool {
    let state = interface.child("link").and_then(|link| link.required("state"));
    state.and_then(|state| state.choose(&[("up", true), ("down", false)])).unwrap_or(true)
}

fn forwards(interface: Element<'_>) -> Vec<Forward> {
    let mut forwards = Vec::new();
    for forward in interface.children("portForward") {
        let protocols = [("tcp", Protocol::Tcp), ("udp", Protocol::Udp)];
        let protocol = forward.required("proto").and_then(|proto| proto.choose(&protocols));
        let address = match forward.attribute("address") {
            Some(address) => address.text.parse::<IpAddr>().ok().or_else(|| {
                address.refuse("an IP address");
                None
            }),
            // passt listens everywhere unless told otherwise.
            None => Some(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        };
        forward.waive_parts(&["@dev"], &FORWARD_DEVICE);
        let pairs = ports(forward);
        if let (Some(protocol), Some(address)) = (protocol, address) {
            let room = MAX_FORWARDS.saturating_sub(forwards.len());
            if pairs.len() > room {
                forward.report(Severity::Error, "libvirt.interface.forward", || {
                    format!("the interface forwards more than {MAX_FORWARDS} ports")
                });
            }
            let made = |(host_port, guest_port)| Forward { protocol, address, host_port, guest_port };
            forwards.extend(pairs.into_iter().take(room).map(made));
        }
    }
    forwards
}

/// Pairs of host and guest port; ranges with `exclude` are taken out. At most one more than an interface may have.
fn ports(forward: Element<'_>) -> Vec<(u16, u16)> {
    let mut pairs = Vec::new();
    let mut excluded = Vec::new();
    for range in forward.children("range") {
        let Some(start) = range.required("start").and_then(Value::number::<u16>) else { continue };
        let end = range.attribute("end").and_then(Value::number::<u16>).unwrap_or(start);
        let to = range.attribute("to").and_then(Value::number::<u16>).unwrap_or(start);
        let exclude = range.attribute("exclude").and_then(Value::yes).unwrap_or(false);
        if end < start || to.checked_add(end - start).is_none() {
            range.report(Severity::Error, "libvirt.value.invalid", || {
                "the range has to go up, and to end at 65535 at most".to_owned()
            });
        } else if exclude {
            excluded.push(start..=end);
        } else {
            pairs.push((start..=end, to));
        }
    }
    if pairs.is_empty() {
        forward.report(Severity::Error, "libvirt.interface.forward", || {
            "forwarding all ports is not available: list them with <range start= end=>".to_owned()
        });
    }
    let all = pairs.into_iter().flat_map(|(range, to)| {
        let first = *range.start();
        range.map(move |port| (port, to + (port - first)))
    });
    all.filter(|(port, _)| !excluded.iter().any(|range| range.contains(port)))
        .take(MAX_FORWARDS + 1)
        .collect()
}

fn read_rest(interface: Element<'_>) {
    interface.waive_parts(&["backend"], &BACKEND);
    interface.waive_parts(&["target"], &TRANSPARENT);
    interface.waive_parts(&["@managed", "@trustGuestRxFilters"], &RUNTIME);
    interface.waive_parts(
        &["script", "downscript", "bandwidth", "vlan", "virtualport", "port", "guest"],
        &HOST_SIDE,
    );
    interface.waive_parts(&["filterref"], &FILTER);
    interface.waive_parts(&["ip", "route"], &ADDRESSES);
    interface.waive_parts(&["coalesce", "tune"], &TUNING);
    interface.waive_parts(&["teaming"], &DETAIL);
    common(interface);
}

/// libvirt's names of offloads, for each side.
type Offloads = (&'static str, &'static [(&'static str, Offload)]);

const OFFLOADS: &[Offloads] = &[
    (
        "host",
        &[
            ("csum", Offload::Csum),
            ("gso", Offload::Gso),
            ("tso4", Offload::HostTso4),
            ("tso6", Offload::HostTso6),
            ("ecn", Offload::HostEcn),
            ("ufo", Offload::HostUfo),
            ("mrg_rxbuf", Offload::MergedBuffers),
        ],
    ),
    (
        "guest",
        &[
            ("csum", Offload::GuestCsum),
            ("tso4", Offload::GuestTso4),
            ("tso6", Offload::GuestTso6),
            ("ecn", Offload::GuestEcn),
            ("ufo", Offload::GuestUfo),
        ],
    ),
];

fn read_driver(driver: Element<'_>, made: &mut Interface) {
    driver.expect("name", &["qemu"], &TUNING);
    driver.waive_parts(&["@txmode", "@ioeventfd", "@event_idx"], &TUNING);
    driver.expect("queues", &["1"], &ONE_QUEUE);
    // Other cards ignore the rest.
    if !made.model.is_virtio() {
        return driver.waive(&NO_VIRTIO);
    }
    let on = |name| driver.attribute(name).and_then(Value::on);
    (made.rss, made.rss_hash) = (on("rss"), on("rss_hash_report"));
    made.rx_queue_size = driver.attribute("rx_queue_size").and_then(Value::number);
    made.tx_queue_size = driver.attribute("tx_queue_size").and_then(Value::number);
    if made.source == InterfaceSource::User && made.tx_queue_size.is_some_and(|size| size > 256) {
        made.tx_queue_size = None;
        driver.report(Severity::Warning, "libvirt.interface.queue", || {
            "tx_queue_size: a user network takes no more than 256".to_owned()
        });
    }
    for (side, offloads) in OFFLOADS {
        let Some(side) = driver.child(side) else { continue };
        for (name, offload) in *offloads {
            if side.attribute(name).and_then(Value::on) == Some(false) {
                made.offloads_off.push(*offload);
            }
        }
    }
    made.virtio = virtio(driver);
}

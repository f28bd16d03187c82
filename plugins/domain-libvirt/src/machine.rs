//! `<w:machine>` in `<metadata>`: what libvirt has no words for.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use witvirt_sdk::core::domain::Severity;
use witvirt_sdk::core::spec::{Forward, InterfaceSource, Protocol, RunStrategy};

use crate::document::{Element, Value, quote};
use crate::draft::Draft;
use crate::sources;

pub(crate) const NAMESPACE: &str = "urn:witvirt:domain:1";
/// Most ports that the forwards here may open on one interface.
const MAX_FORWARDS: usize = 256;

const STRATEGIES: [(&str, RunStrategy); 5] = [
    ("always", RunStrategy::Always),
    ("halted", RunStrategy::Halted),
    ("manual", RunStrategy::Manual),
    ("rerun-on-failure", RunStrategy::RerunOnFailure),
    ("once", RunStrategy::Once),
];

/// Everything but the forwards, which need the interfaces. What is in other namespaces, or not known, stays unread.
pub(crate) fn read<'a>(machine: Element<'a>, draft: &mut Draft<'a>) {
    for child in machine.unread().filter(|child| child.namespace() == Some(NAMESPACE)) {
        match child.local_name() {
            "label" => read_tag(child.open(), &mut draft.spec.labels),
            "annotation" => read_tag(child.open(), &mut draft.spec.annotations),
            "os" => read_os(child.open(), draft),
            "run" => {
                let strategy = child.open().required("strategy");
                draft.spec.run = strategy.and_then(|text| text.choose(&STRATEGIES)).unwrap_or_default();
            }
            "stop" => {
                let timeout = child.open().required("timeout").and_then(Value::number::<u32>);
                if let Some(seconds) = timeout {
                    draft.spec.stop_timeout = Duration::from_secs(seconds.into());
                }
            }
            "source" => sources::read(child.open(), &mut draft.sources),
            "forward" => draft.forwards.push(child.open()),
            _ => {}
        }
    }
}

fn read_tag(tag: Element<'_>, tags: &mut BTreeMap<String, String>) {
    let Some(name) = tag.required("name") else { return };
    if tags.insert(name.text.to_owned(), tag.whole_text().into_owned()).is_some() {
        name.report(Severity::Error, "libvirt.witvirt.repeated", || {
            format!("{} is there twice: remove one", quote(name.text))
        });
    }
}

fn read_os(os: Element<'_>, draft: &mut Draft<'_>) {
    let family = os.text();
    if family.text.is_empty() || family.text.len() > 64 {
        return family.refuse("a family of operating systems like linux, windows or macos");
    }
    draft.spec.os = Some(family.text.to_owned());
}

/// `<w:forward>`: ports of the host that lead to interfaces, which are known by their aliases.
pub(crate) fn read_forwards(draft: &mut Draft<'_>) {
    for forward in std::mem::take(&mut draft.forwards) {
        read_forward(forward, draft);
    }
}

fn read_forward(forward: Element<'_>, draft: &mut Draft<'_>) {
    let alias = forward.required("interface");
    let protocols = [("tcp", Protocol::Tcp), ("udp", Protocol::Udp)];
    let protocol = forward.attribute("protocol").map_or(Some(Protocol::Tcp), |text| text.choose(&protocols));
    let host_port = forward.attribute("host-port").map_or(Some(0), Value::number);
    let guest_port = forward.required("guest-port").and_then(Value::number);
    let address = forward.attribute("address").map_or(Some(IpAddr::V4(Ipv4Addr::LOCALHOST)), |text| {
        let address = text.text.parse().ok();
        if address.is_none() {
            text.refuse("an IP address");
        }
        address
    });
    let (Some(alias), Some(protocol), Some(host_port), Some(guest_port), Some(address)) =
        (alias, protocol, host_port, guest_port, address)
    else {
        return;
    };
    let interface = draft.with_alias("interfaces", alias.text);
    let Some(interface) = interface.and_then(|index| draft.spec.interfaces.get_mut(index)) else {
        return alias.refuse("the name of an <alias> in an <interface>");
    };
    if interface.source != InterfaceSource::User {
        alias.report(Severity::Error, "libvirt.witvirt.forward", || {
            format!(
                "the interface {} is none on a user network, which alone forwards ports",
                quote(alias.text)
            )
        });
    } else if interface.forwards.len() >= MAX_FORWARDS {
        alias.report(Severity::Error, "libvirt.witvirt.forward", || {
            format!("the interface forwards more than {MAX_FORWARDS} ports")
        });
    } else {
        interface.forwards.push(Forward { protocol, address, host_port, guest_port });
    }
}

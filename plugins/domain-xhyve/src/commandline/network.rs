//! Network cards and where they lead.

use super::Text;
use crate::findings::{Findings, quote};
use crate::settings::Dialect;

/// Where a card leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Link {
    /// A network of the host's own making, with addresses and a way out: vmnet, vpnkit.
    Shared,
    /// A device of the host.
    Tap(String),
    /// Nowhere that is known here.
    Elsewhere,
}

/// A card's config.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Card {
    pub(crate) link: Link,
    pub(crate) mac: Option<String>,
    /// What the address is made from, instead of the machine's UUID.
    pub(crate) uuid: Option<uuid::Uuid>,
    pub(crate) mtu: Option<u32>,
}

/// Reads the config of `virtio-net`, `virtio-tap`, `e1000` or `virtio-vpnkit`.
pub(crate) fn parse(
    emulation: &str,
    config: &str,
    text: Text<'_>,
    dialect: Dialect,
    findings: &mut Findings,
) -> Card {
    let mut card = Card { link: Link::Shared, mac: None, uuid: None, mtu: None };
    match (emulation, dialect) {
        ("virtio-vpnkit", _) => vpnkit(config, text, &mut card, findings),
        ("virtio-tap", _) | (_, Dialect::Bhyve) => tap(config, text, dialect, &mut card, findings),
        (_, Dialect::Hyperkit) => {
            for field in config.split(',').filter(|field| !field.is_empty()) {
                match field.strip_prefix("mac=") {
                    Some(mac) => read_mac(mac, text, &mut card, findings),
                    None => ignored(field, text, findings),
                }
            }
        }
        (_, Dialect::Xhyve) if !config.is_empty() => ignored(config, text, findings),
        (_, Dialect::Xhyve) => {}
    }
    card
}

fn ignored(config: &str, text: Text<'_>, findings: &mut Findings) {
    let message = format!("{}: the program ignores it, and shares the host's network", quote(config));
    findings.info(text.place, "xhyve.network.ignored", message);
}

fn vpnkit(config: &str, text: Text<'_>, card: &mut Card, findings: &mut Findings) {
    for field in config.split(',').filter(|field| !field.is_empty()) {
        match field.split_once('=') {
            Some(("uuid", uuid)) => {
                card.uuid = uuid::Uuid::parse_str(uuid).ok();
                if card.uuid.is_none() {
                    findings.error(text.place, "xhyve.network.uuid", format!("{}: not a UUID", quote(uuid)));
                }
            }
            Some(("path" | "macfile" | "preferred_ipv4", _)) => {}
            _ => ignored(field, text, findings),
        }
    }
    let message = "a user network instead of vpnkit: outgoing connections work alike; the MAC address that vpnkit \
                   keeps in its file, and a preferred IPv4 address, are not taken over";
    findings.warning(text.place, "xhyve.network.vpnkit", message);
}

fn tap(config: &str, text: Text<'_>, dialect: Dialect, card: &mut Card, findings: &mut Findings) {
    let mut fields = config.split(',');
    let device = fields.next().unwrap_or_default();
    let known: &[&str] = if dialect == Dialect::Bhyve { &["tap", "vmnet"] } else { &["tap"] };
    card.link = if known.iter().any(|prefix| device.starts_with(prefix)) {
        Link::Tap(device.to_owned())
    } else {
        let message = format!("{}: a card leads to a tap device, tapN", quote(device));
        findings.error(text.place, "xhyve.network.device", message);
        Link::Elsewhere
    };
    for field in fields.filter(|field| !field.is_empty()) {
        match field.split_once('=') {
            Some(("mac", mac)) => read_mac(mac, text, card, findings),
            Some(("mtu", mtu)) if dialect == Dialect::Bhyve => card.mtu = mtu.parse().ok(),
            _ => {
                let message = format!("{}: a card takes mac=", quote(field));
                findings.error(text.place, "xhyve.network.option", message);
            }
        }
    }
}

fn read_mac(text: &str, of: Text<'_>, card: &mut Card, findings: &mut Findings) {
    match text.parse::<witvirt_sdk::core::spec::MacAddress>() {
        Ok(_) => card.mac = Some(text.to_ascii_lowercase()),
        Err(_) => {
            let message = format!("{}: not a unicast MAC address like 00:a0:98:12:34:56", quote(text));
            findings.error(of.place, "xhyve.network.mac", message);
        }
    }
}

/// The address of a machine's card: the same for the same UUID, unicast and locally administered, like the one that
/// macOS keeps for an interface's id.
pub(crate) fn mac_of(uuid: uuid::Uuid, card: usize) -> String {
    const NAMESPACE: uuid::Uuid = uuid::uuid!("d1f5a1b2-6a0e-5f6b-8f53-0d5f0a5d2c11");
    let mut name = uuid.as_bytes().to_vec();
    name.extend((card as u32).to_be_bytes());
    let made = uuid::Uuid::new_v5(&NAMESPACE, &name);
    let bytes = made.as_bytes();
    let first = (bytes[0] & 0xfc) | 0x02;
    format!(
        "{first:02x}:{:02x}:{:02x}:{:02x}:{:02x}:{:02x}",
        bytes[1], bytes[2], bytes[3], bytes[4], bytes[5]
    )
}

#[cfg(test)]
mod tests {
    use super::{Card, Link, Text, mac_of, parse};
    use crate::findings::{Findings, Place};
    use crate::settings::Dialect;

    fn run(emulation: &str, config: &str, dialect: Dialect) -> (Card, usize) {
        let mut findings = Findings::default();
        let text = Text { text: config, place: Place::default() };
        let card = parse(emulation, config, text, dialect, &mut findings);
        (card, findings.into_diagnostics().len())
    }

    #[test]
    fn cards() {
        let (card, said) = run("virtio-net", "en0", Dialect::Xhyve);
        assert_eq!((card.link, card.mac, said), (Link::Shared, None, 1));
        let (card, said) = run("virtio-net", "mac=00:A0:98:1e:c0:08", Dialect::Hyperkit);
        assert_eq!((card.mac.as_deref(), said), (Some("00:a0:98:1e:c0:08"), 0));
        let (card, _) = run("virtio-tap", "tap3,mac=00:a0:98:1e:c0:08", Dialect::Xhyve);
        assert_eq!(card.link, Link::Tap("tap3".to_owned()));
        assert!(card.mac.is_some());
        for config in ["notatap", "tap1,notamac", "tap1,mac=garbage"] {
            assert_eq!(run("virtio-net", config, Dialect::Bhyve).1, 1, "{config}");
        }
    }

    #[test]
    fn addresses_are_stable_and_differ() {
        let uuid = uuid::uuid!("8e7af180-c54d-4aa2-9bef-59d94a1ac572");
        assert_eq!(mac_of(uuid, 0), mac_of(uuid, 0));
        assert_ne!(mac_of(uuid, 0), mac_of(uuid, 1));
        assert_ne!(mac_of(uuid, 0), mac_of(uuid::Uuid::nil(), 0));
        for card in 0..64 {
            mac_of(uuid, card).parse::<witvirt_sdk::core::spec::MacAddress>().unwrap();
        }
    }
}

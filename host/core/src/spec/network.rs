//! Network interfaces.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::Virtio;

/// A network interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Interface {
    /// What it is connected to.
    #[serde(default)]
    pub source: InterfaceSource,
    /// The emulated card.
    #[serde(default)]
    pub model: NicModel,
    /// Hardware address; made from the machine's UUID and the position when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<MacAddress>,
    /// Host ports that lead to guest ports; `user` networks only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub forwards: Vec<Forward>,
    /// Position in the boot order, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_index: Option<u32>,
    /// Whether the link is up.
    #[serde(default = "up")]
    pub link: bool,
    /// Largest packet in bytes, told to the guest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u16>,
    /// Whether the card has its boot ROM; when absent, where the boot order has a place for the card.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rom: Option<bool>,
    /// Entries of the receive queue: a power of two from 256 to 1024; virtio.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rx_queue_size: Option<u16>,
    /// Entries of the transmit queue: a power of two from 256 to 1024; virtio. A user network takes 256.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tx_queue_size: Option<u16>,
    /// Receive-side scaling; virtio.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rss: Option<bool>,
    /// Whether the guest gets the hash of each packet; virtio.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rss_hash: Option<bool>,
    /// Offloads that the card does not offer; virtio.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub offloads_off: Vec<Offload>,
    /// How it talks to its driver, if it is a virtio device; the revision is the model's.
    #[serde(default, skip_serializing_if = "Virtio::is_default")]
    pub virtio: Virtio,
}

/// Work on packets that a virtio card takes from the guest ("guest": that the guest takes from the card).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Offload {
    /// Checksums of packets to send.
    Csum,
    /// Segmentation of any kind.
    Gso,
    /// TCP over IPv4 segmentation.
    HostTso4,
    /// TCP over IPv6 segmentation.
    HostTso6,
    /// Segmentation with explicit congestion notification.
    HostEcn,
    /// UDP fragmentation.
    HostUfo,
    /// Merged receive buffers.
    MergedBuffers,
    /// Packets received without checksums.
    GuestCsum,
    /// Large TCP packets received over IPv4.
    GuestTso4,
    /// Large TCP packets received over IPv6.
    GuestTso6,
    /// Large packets received with explicit congestion notification.
    GuestEcn,
    /// Large UDP packets received.
    GuestUfo,
}

fn up() -> bool {
    true
}

/// What an interface is connected to.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum InterfaceSource {
    /// Address translation in the hypervisor process; needs no privileges.
    #[default]
    User,
    /// Nothing: a card without a cable.
    None,
}

/// QEMU's network cards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum NicModel {
    /// virtio-net-pci.
    #[default]
    Virtio,
    /// virtio-net-pci, transitional.
    VirtioTransitional,
    /// virtio-net-pci, modern only.
    VirtioNonTransitional,
    /// Intel 82540EM.
    E1000,
    /// Intel 82544GC.
    #[serde(rename = "e1000-82544gc")]
    E100082544gc,
    /// Intel 82545EM.
    #[serde(rename = "e1000-82545em")]
    E100082545em,
    /// Intel 82574L.
    E1000e,
    /// Intel 82576.
    Igb,
    /// Realtek RTL8139.
    Rtl8139,
    /// NE2000 on PCI.
    Ne2kPci,
    /// NE2000 on ISA.
    Ne2kIsa,
    /// AMD PCnet.
    Pcnet,
    /// DEC Tulip.
    Tulip,
    /// VMware vmxnet3.
    Vmxnet3,
    /// USB CDC.
    UsbNet,
    /// Intel i82550.
    I82550,
    /// Intel i82551.
    I82551,
    /// Intel i82557A.
    I82557a,
    /// Intel i82557B.
    I82557b,
    /// Intel i82557C.
    I82557c,
    /// Intel i82558A.
    I82558a,
    /// Intel i82558B.
    I82558b,
    /// Intel i82559A.
    I82559a,
    /// Intel i82559B.
    I82559b,
    /// Intel i82559C.
    I82559c,
    /// Intel i82559ER.
    I82559er,
    /// Intel i82562.
    I82562,
    /// Intel i82801.
    I82801,
}

impl NicModel {
    /// Whether it is a virtio card.
    pub fn is_virtio(self) -> bool {
        matches!(self, Self::Virtio | Self::VirtioTransitional | Self::VirtioNonTransitional)
    }

    /// QEMU's device name ("virtio-net-pci", "e1000e").
    pub fn device(self) -> &'static str {
        match self {
            Self::Virtio => "virtio-net-pci",
            Self::VirtioTransitional => "virtio-net-pci-transitional",
            Self::VirtioNonTransitional => "virtio-net-pci-non-transitional",
            Self::E1000 => "e1000",
            Self::E100082544gc => "e1000-82544gc",
            Self::E100082545em => "e1000-82545em",
            Self::E1000e => "e1000e",
            Self::Igb => "igb",
            Self::Rtl8139 => "rtl8139",
            Self::Ne2kPci => "ne2k_pci",
            Self::Ne2kIsa => "ne2k_isa",
            Self::Pcnet => "pcnet",
            Self::Tulip => "tulip",
            Self::Vmxnet3 => "vmxnet3",
            Self::UsbNet => "usb-net",
            Self::I82550 => "i82550",
            Self::I82551 => "i82551",
            Self::I82557a => "i82557a",
            Self::I82557b => "i82557b",
            Self::I82557c => "i82557c",
            Self::I82558a => "i82558a",
            Self::I82558b => "i82558b",
            Self::I82559a => "i82559a",
            Self::I82559b => "i82559b",
            Self::I82559c => "i82559c",
            Self::I82559er => "i82559er",
            Self::I82562 => "i82562",
            Self::I82801 => "i82801",
        }
    }
}

/// A host port that leads to a guest port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Forward {
    /// TCP or UDP.
    #[serde(default)]
    pub protocol: Protocol,
    /// Address to listen on; loopback when absent.
    #[serde(default = "loopback")]
    pub address: IpAddr,
    /// Port on the host; 0: one that is free when the machine is created, and that it keeps.
    pub host_port: u16,
    /// Port in the guest.
    pub guest_port: u16,
}

fn loopback() -> IpAddr {
    IpAddr::from([127, 0, 0, 1])
}

/// A transport protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
}

/// An Ethernet address; never a multicast one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MacAddress([u8; 6]);

impl MacAddress {
    /// The address of interface `index` of the machine with this UUID: locally administered, QEMU's prefix 52:54:00.
    pub fn derived(uuid: &uuid::Uuid, index: u8) -> Self {
        let bytes = uuid.as_bytes();
        let fold = |at: usize| bytes[at] ^ bytes[at + 3] ^ bytes[at + 6] ^ bytes[at + 9];
        Self([0x52, 0x54, 0x00, fold(0), fold(1), fold(2).wrapping_add(index)])
    }

    /// The six bytes.
    pub fn octets(&self) -> [u8; 6] {
        self.0
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// Why a text is no [`MacAddress`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{}\" is not a unicast MAC address like 52:54:00:12:34:56", .0.escape_debug())]
pub struct InvalidMacAddress(String);

impl FromStr for MacAddress {
    type Err = InvalidMacAddress;

    fn from_str(text: &str) -> Result<Self, InvalidMacAddress> {
        let invalid = || InvalidMacAddress(text.to_owned());
        let mut octets = [0; 6];
        let mut parts = text.split([':', '-']);
        for octet in &mut octets {
            let part = parts.next().filter(|part| part.len() == 2).ok_or_else(invalid)?;
            *octet = u8::from_str_radix(part, 16).map_err(|_| invalid())?;
        }
        if parts.next().is_some() || octets[0] & 1 != 0 {
            return Err(invalid());
        }
        Ok(Self(octets))
    }
}

impl Serialize for MacAddress {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for MacAddress {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl schemars::JsonSchema for MacAddress {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "MacAddress".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "pattern": "^([0-9a-fA-F]{2}[:-]){5}[0-9a-fA-F]{2}$" })
    }
}

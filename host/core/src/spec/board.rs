//! The board's own parts, and what virtio devices have in common.

use serde::{Deserialize, Serialize};

use crate::bytes::ByteSize;

/// Parts of the board that can be left out, added or set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Board {
    /// ACPI tables. Without them a guest finds neither power button nor hot-plugged devices.
    #[serde(default = "yes")]
    pub acpi: bool,
    /// The PS/2 controller (i8042) with keyboard and mouse.
    #[serde(default = "yes")]
    pub ps2: bool,
    /// VMware's backdoor port; as the hypervisor likes when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vmport: Option<bool>,
    /// System management mode; follows the firmware when absent: on where that is secure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub smm: Option<bool>,
    /// A device through which a guest's kernel says where its core dump would be.
    #[serde(default)]
    pub vmcoreinfo: bool,
    /// A number that changes when the machine is cloned or goes back in time (VM Generation ID).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation_id: Option<GenerationId>,
    /// Devices through which a guest reports that its kernel panicked; each kind at most once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub panic: Vec<PanicDevice>,
    /// Whether the guest may suspend to memory (ACPI S3); as the board likes when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend_to_memory: Option<bool>,
    /// Whether the guest may suspend to disk (ACPI S4); as the board likes when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend_to_disk: Option<bool>,
    /// Address space for the memory of 64-bit PCI devices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pci_hole64: Option<ByteSize>,
}

fn yes() -> bool {
    true
}

impl Default for Board {
    fn default() -> Self {
        Self {
            acpi: true,
            ps2: true,
            vmport: None,
            smm: None,
            vmcoreinfo: false,
            generation_id: None,
            panic: Vec::new(),
            suspend_to_memory: None,
            suspend_to_disk: None,
            pci_hole64: None,
        }
    }
}

impl Board {
    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// A VM Generation ID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum GenerationId {
    /// A new one at each start.
    Auto,
    /// This one.
    Fixed(uuid::Uuid),
}

/// How a guest reports a panic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PanicDevice {
    /// pvpanic on ISA.
    Isa,
    /// pvpanic on PCI.
    Pci,
    /// Hyper-V's crash registers.
    Hyperv,
}

/// How a virtio device talks to its driver. What is absent is as the hypervisor likes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Virtio {
    /// Which revision of virtio; both where absent and the bus allows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<VirtioRevision>,
    /// Whether the device's accesses go through the platform's IOMMU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iommu: Option<bool>,
    /// Address translation services.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ats: Option<bool>,
    /// Packed instead of split rings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packed: Option<bool>,
    /// A page of its own for each queue's notifications.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page_per_vq: Option<bool>,
}

impl Virtio {
    /// Whether nothing is set.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// A revision of virtio.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum VirtioRevision {
    /// 0.9 and 1.0 on a conventional PCI bus.
    Transitional,
    /// 1.0 only.
    NonTransitional,
}

//! Processors.

use serde::{Deserialize, Serialize};

use crate::bytes::ByteSize;

/// Virtual CPUs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Cpu {
    /// Number of virtual CPUs.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 512))]
    pub count: u32,
    /// How they are arranged; sockets of one core each when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topology: Option<Topology>,
    /// What the guest sees.
    #[serde(default)]
    pub model: CpuModel,
    /// Features added to or taken from the model.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub features: Vec<CpuFeature>,
    /// Other properties of the model, in QEMU's names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub settings: Vec<CpuSetting>,
    /// NUMA nodes that the guest sees; none when empty. Their memory is all of the machine's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub numa: Vec<NumaNode>,
}

fn one() -> u32 {
    1
}

impl Default for Cpu {
    fn default() -> Self {
        Self {
            count: 1,
            topology: None,
            model: CpuModel::default(),
            features: Vec::new(),
            settings: Vec::new(),
            numa: Vec::new(),
        }
    }
}

/// Sockets times dies times cores times threads; their product is the CPU count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Topology {
    /// Sockets.
    pub sockets: u32,
    /// Dies per socket.
    #[serde(default = "one")]
    pub dies: u32,
    /// Cores per die.
    pub cores: u32,
    /// Threads per core.
    pub threads: u32,
}

/// A CPU model.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CpuModel {
    /// The best the accelerator offers: the host's CPU under KVM, everything that can be emulated under TCG.
    #[default]
    Default,
    /// The host's CPU as it is; KVM only.
    Host,
    /// All that the accelerator can do.
    Max,
    /// A named model ("Haswell-v4", "qemu64").
    Named(String),
}

/// A CPU feature flag.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct CpuFeature {
    /// QEMU's name ("aes", "vmx").
    pub name: String,
    /// On or off.
    pub policy: FeaturePolicy,
}

/// A property of a CPU that is neither on nor off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct CpuSetting {
    /// One of "phys-bits", "hv-spinlocks", "hv-vendor-id", "vendor".
    pub name: String,
    /// A number, or for "vendor" and "hv-vendor-id" a text of at most 12 characters.
    pub value: String,
}

/// A NUMA node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct NumaNode {
    /// Its CPUs, by number from 0.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cpus: Vec<u32>,
    /// Its memory.
    pub memory: ByteSize,
    /// How far it is to each node in turn: 10 to itself, 11 to 254 to another that can be reached; QEMU's when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub distances: Vec<u8>,
}

/// Whether a feature is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FeaturePolicy {
    /// On.
    Require,
    /// Off.
    Disable,
}

//! The machine spec: what a machine is, as converters write it (JSON) and people do (TOML).
//!
//! Every struct refuses unknown fields; [`MachineSpec::validate`] finds what the types cannot express, so that a spec from
//! a plugin is treated like one that a stranger typed. The JSON schema is checked in as `config/machine.schema.json`.

mod board;
mod boot;
mod cpu;
mod data;
mod details;
mod device;
mod disk;
mod network;
mod run;
mod validate;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use board::{Board, GenerationId, PanicDevice, Virtio, VirtioRevision};
pub use boot::{
    Boot, BootDevice, Clock, ClockBase, Firmware, FirmwareFile, Smbios, SmbiosTable, Timer, TimerTick,
    TimerTrack,
};
pub use cpu::{Cpu, CpuFeature, CpuModel, CpuSetting, FeaturePolicy, NumaNode, Topology};
pub use data::{DataFile, InvalidData, MAX_ALL_DATA, MAX_DATA, MAX_DATA_FILES, Withheld};
pub use device::{
    BalloonOptions, Channel, Codec, Console, ConsoleTarget, Controller, ControllerKind, Input, InputBus,
    InputKind, Resolution, Rng, Serial, Sound, Tpm, TpmModel, Video, VideoModel, Vnc, Watchdog,
    WatchdogAction, WatchdogModel,
};
pub use disk::{
    Cache, DetectZeroes, Disk, DiskBus, DiskDevice, DiskIo, DiskSource, ErrorPolicy, Geometry, Translation,
};
pub use network::{Forward, Interface, InterfaceSource, MacAddress, NicModel, Offload, Protocol};
pub use run::{RestartPolicy, RunStrategy};
pub use validate::Problem;

use crate::bytes::ByteSize;
use crate::name::Name;

/// A virtual machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[schemars(title = "witvirt machine")]
pub struct MachineSpec {
    /// Unique among the machines of a daemon.
    pub name: Name,
    /// A line for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// What the guest's firmware reports; made from the name when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uuid: Option<uuid::Uuid>,
    /// For selecting and grouping.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// For plugins; the host does not read them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Family of the guest OS ("linux", "windows", "macos", "freebsd" ...), for policies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub os: Option<String>,
    /// The chipset.
    #[serde(default)]
    pub chipset: Chipset,
    /// The board's own parts.
    #[serde(default, skip_serializing_if = "Board::is_default")]
    pub board: Board,
    /// Processors.
    #[serde(default)]
    pub cpu: Cpu,
    /// Guest memory.
    pub memory: ByteSize,
    /// What to boot.
    #[serde(default)]
    pub boot: Boot,
    /// Clock and timers.
    #[serde(default)]
    pub clock: Clock,
    /// SMBIOS texts.
    #[serde(default)]
    pub smbios: Smbios,
    /// Disks and CD-ROMs; the order is the order of attachment.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub disks: Vec<Disk>,
    /// Network interfaces.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub interfaces: Vec<Interface>,
    /// Buses that are wanted explicitly; those that devices need are added.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub controllers: Vec<Controller>,
    /// Serial ports. The first is the machine's console unless a virtio console exists.
    #[serde(default = "default_serials")]
    pub serials: Vec<Serial>,
    /// Virtio and other consoles.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub consoles: Vec<Console>,
    /// Virtio ports for programs in the guest, such as its agent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub channels: Vec<Channel>,
    /// A VNC server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vnc: Option<Vnc>,
    /// Display adapters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub videos: Vec<Video>,
    /// Keyboards, mice, tablets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<Input>,
    /// Entropy device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rng: Option<Rng>,
    /// Watchdog.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watchdog: Option<Watchdog>,
    /// Trusted platform module.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tpm: Option<Tpm>,
    /// Sound cards.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sounds: Vec<Sound>,
    /// A virtio memory balloon.
    #[serde(default)]
    pub balloon: bool,
    /// How the balloon behaves.
    #[serde(default, skip_serializing_if = "BalloonOptions::is_default")]
    pub balloon_options: BalloonOptions,
    /// When the machine runs without being told to.
    #[serde(default)]
    pub run: RunStrategy,
    /// What happens when the guest ends or the hypervisor dies. The other strategies than `manual` decide that themselves
    /// and refuse a policy that says something else.
    #[serde(default)]
    pub restart: RestartPolicy,
    /// How long `stop` waits for the guest before it pulls the plug.
    #[serde(default = "default_stop_timeout", with = "seconds")]
    #[schemars(with = "u64", range(min = 0, max = 86400))]
    pub stop_timeout: Duration,
    /// Extra hypervisor arguments; refused unless `[hypervisor] allow-arguments` names each option.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub qemu_arguments: Vec<String>,
}

fn default_serials() -> Vec<Serial> {
    vec![Serial::default()]
}

fn default_stop_timeout() -> Duration {
    Duration::from_secs(30)
}

mod seconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(value.as_secs())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_secs)
    }
}

/// Which board QEMU emulates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Chipset {
    /// PCI Express, AHCI.
    #[default]
    Q35,
    /// i440FX, IDE.
    Pc,
}

impl MachineSpec {
    /// The UUID that the guest sees: the given one, else one derived from the name (version 5), stable over restarts.
    pub fn effective_uuid(&self) -> uuid::Uuid {
        const NAMESPACE: uuid::Uuid = uuid::uuid!("6c1f4f3e-8f0a-5a3b-9d0c-1b8a0d5a7e11");
        self.uuid.unwrap_or_else(|| uuid::Uuid::new_v5(&NAMESPACE, self.name.as_str().as_bytes()))
    }

    /// The JSON schema of a machine spec.
    pub fn json_schema() -> serde_json::Value {
        schemars::schema_for!(MachineSpec).to_value()
    }
}

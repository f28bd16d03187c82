//! `witvirt.toml` as it is written. [`super::Config`] is the same with every default applied and every path absolute.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use witvirt_core::plugin::{Mode, OnFailure, PluginKind};
use witvirt_core::{ByteSize, Digest, Name, Span};

use super::pipeline::{HooksTable, PipelineTable};

/// The configuration of a witvirt daemon. Relative paths are relative to this file's directory.
#[derive(Debug, Clone, Default, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
#[schemars(title = "witvirt configuration")]
pub struct ConfigFile {
    /// Where machines and volumes are kept. Default: /var/lib/witvirt for root, else $XDG_STATE_HOME/witvirt.
    pub state_directory: Option<PathBuf>,
    /// Where sockets of running machines are; empty after a reboot. Default: /run/witvirt for root, else
    /// $XDG_RUNTIME_DIR/witvirt.
    pub run_directory: Option<PathBuf>,
    /// The plugin engine.
    pub engine: EngineTable,
    /// Which plugins may be loaded.
    pub trust: TrustTable,
    /// The plugins, in order: formats are probed and policies judge in this order.
    pub plugin: Vec<PluginTable>,
    /// How documents become machines, by a name of your choice.
    pub pipeline: BTreeMap<Name, PipelineTable>,
    /// Hook sidecars of KubeVirt as converters.
    pub hooks: HooksTable,
    /// Images, and files that users may name.
    pub store: StoreTable,
    /// How servers are reached that images come from, those of registries included.
    pub http: witvirt_fetch::HttpConfig,
    /// Registries, by the host (and port, where there is one) that references name them with: "registry.example",
    /// "localhost:5000"; "docker.io" for Docker Hub.
    pub registry: BTreeMap<String, witvirt_fetch::RegistryConfig>,
    /// What runs the machines.
    pub hypervisor: HypervisorTable,
    /// What is kept of consoles.
    pub console: ConsoleTable,
    /// Networks of machines.
    pub network: NetworkTable,
    /// Who may do what through which socket.
    pub api: ApiTable,
}

/// The plugin engine.
#[derive(Debug, Clone, Default, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct EngineTable {
    /// Where compiled plugins are kept; only the daemon's user may be able to write it. Default: /var/cache/witvirt for
    /// root, else $XDG_CACHE_HOME/witvirt.
    pub cache_directory: Option<PathBuf>,
    /// Bounds for every plugin that does not set its own.
    pub limits: LimitsTable,
}

/// Bounds of a plugin.
#[derive(Debug, Clone, Default, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct LimitsTable {
    /// Memory of an instance. Default: "64MiB".
    pub memory: Option<ByteSize>,
    /// Time for one call, guest code and host calls together. Default: "2s".
    pub deadline: Option<Span>,
    /// Host calls in the life of an instance. Default: 1000000.
    pub host_calls: Option<u64>,
    /// Bytes read through host calls in the life of an instance. Default: "16GiB".
    pub host_bytes: Option<ByteSize>,
    /// Bytes that one call may hand to the host. Default: "8MiB".
    pub call_data: Option<ByteSize>,
}

/// Which plugins may be loaded.
#[derive(Debug, Clone, Default, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct TrustTable {
    /// What a plugin file has to prove. Default: "require-digest".
    pub mode: TrustMode,
}

/// What a plugin file has to prove.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TrustMode {
    /// Nothing, where the entry has no sha256.
    Permit,
    /// Every entry has a sha256, and the file hashes to it.
    #[default]
    RequireDigest,
}

/// A plugin.
#[derive(Debug, Clone, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct PluginTable {
    /// Its name here, in messages and in `[pipeline]`.
    pub name: Name,
    /// Which contract it implements.
    pub kind: PluginKind,
    /// The component.
    pub file: PathBuf,
    /// What the file must hash to: `sha256sum FILE`.
    #[serde(default)]
    pub sha256: Option<Digest>,
    /// The plugin's own settings; `witvirt plugin inspect NAME` shows their schema.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, serde_json::Value>")]
    pub settings: toml::Table,
    /// Bounds of this plugin; each missing one is taken from `[engine.limits]`.
    #[serde(default)]
    pub limits: LimitsTable,
    /// Policies: what a broken plugin means for the machine. Default: "deny".
    #[serde(default)]
    pub on_failure: OnFailure,
    /// Policies: whether verdicts bind or are only logged. Default: "enforce".
    #[serde(default)]
    pub mode: Mode,
}

/// Images, and files that users may name.
#[derive(Debug, Clone, Default, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct StoreTable {
    /// Where images are kept. Default: "images" in the state directory.
    pub directory: Option<PathBuf>,
    /// Directories whose files machines and imports may name (disks, kernels, firmware). Default: none.
    pub allowed_directories: Vec<PathBuf>,
    /// Which images that no machine uses are removed, once an hour. Default: none.
    pub collect: Option<CollectTable>,
}

/// Which unused images are removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct CollectTable {
    /// Only those that were not used for so long. Default: "30d".
    pub unused_for: Option<Span>,
    /// Only as many as it takes to have so much free, least recently used first. Default: all of them.
    pub keep_free: Option<ByteSize>,
    /// Images that have a name, too. Default: false.
    pub all: bool,
}

/// What runs the machines.
#[derive(Debug, Clone, Default, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct HypervisorTable {
    /// The driver. Default: "qemu".
    pub driver: Driver,
    /// QEMU's program, a path or a name in $PATH. Default: "qemu-system-x86_64".
    pub binary: Option<PathBuf>,
    /// The TPM emulator's program, likewise. Default: "swtpm".
    pub swtpm: Option<PathBuf>,
    /// How guest code is run. Default: "auto".
    pub accel: Accel,
    /// User that QEMU runs as where the daemon is root. Default: "nobody".
    pub user: Option<String>,
    /// QEMU options that machines may add in `qemu-arguments` ("-fw_cfg"), or options and what their values begin with
    /// ("-device isa-applesmc"; no further property may name a file then). Default: none.
    pub allow_arguments: Vec<String>,
    /// Addresses that VNC servers may listen on besides loopback. Default: none.
    pub vnc_addresses: Vec<IpAddr>,
}

/// A hypervisor driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Driver {
    /// QEMU, one process for each machine.
    #[default]
    Qemu,
    /// Machines that exist in memory only, for tests of scale and protocol.
    Null,
}

/// How guest code is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Accel {
    /// KVM where it works for the machine, else TCG with the reason recorded.
    #[default]
    Auto,
    /// KVM or a clear failure.
    Kvm,
    /// Emulation.
    Tcg,
}

/// What is kept of consoles.
#[derive(Debug, Clone, Default, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct ConsoleTable {
    /// Bytes after which a machine's console log is rotated; one older log of the same size is kept. Default: "4MiB".
    pub log_size: Option<ByteSize>,
}

/// Networks of machines. Every machine chooses from `user` (address translation inside the hypervisor) and `none`.
#[derive(Debug, Clone, Default, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct NetworkTable {
    /// Whether machines may have `user` interfaces, which reach everything that the host reaches. Default: true.
    pub user: Option<bool>,
    /// Whether port forwards may listen on other addresses than loopback. Default: false.
    pub public_forwards: bool,
}

/// Who may do what through which socket. Root and the daemon's own user always may do everything.
#[derive(Debug, Clone, Default, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct ApiTable {
    /// The socket. Default: "witvirt.sock" in the run directory.
    pub socket: Option<PathBuf>,
    /// Its permissions, octal. Default: "0660".
    pub socket_mode: Option<String>,
    /// Its group, a name or a number. Default: the daemon's.
    pub socket_group: Option<String>,
    /// User ids that may do everything. Default: none.
    pub full_uids: Vec<u32>,
    /// Groups, by number, whose members may do everything (primary group of the caller). Default: none.
    pub full_gids: Vec<u32>,
    /// User ids that may look but not touch. Default: none.
    pub read_uids: Vec<u32>,
    /// Groups, by number, whose members may look but not touch (primary group of the caller). Default: none.
    pub read_gids: Vec<u32>,
    /// What everybody else may do whom the socket's permissions let in; with socket-group and "full", the members of
    /// that group. Default: "none".
    pub others: Role,
}

/// What a caller of the API may do.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Nothing.
    #[default]
    None,
    /// Look.
    Read,
    /// Everything.
    Full,
}

//! The host.

use serde::{Deserialize, Serialize};

/// The daemon.
#[derive(Debug, Clone, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Version {
    /// Of witvirt.
    pub version: String,
    /// Of the API.
    pub api: String,
    /// Process id of the daemon.
    pub pid: u32,
}

/// Whether the daemon does its work.
#[derive(Debug, Clone, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Health {
    /// Whether nothing is wrong.
    pub healthy: bool,
    /// What is.
    pub problems: Vec<String>,
}

/// What machines have to share.
#[derive(Debug, Clone, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct HostInfo {
    /// Its name.
    pub hostname: String,
    /// Its kernel.
    pub kernel: String,
    /// CPUs that the daemon may use.
    pub cpus: u32,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// The hypervisor driver: "qemu", or "null", which runs nothing.
    pub driver: String,
    /// The configuration; absent: defaults.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<String>,
    /// Where machines are kept.
    pub state_directory: String,
    /// Where images are kept.
    pub store_directory: String,
    /// Machines that are defined.
    pub machines: u32,
    /// Machines that run.
    pub running: u32,
}

/// How a check ended.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum CheckStatus {
    /// Good.
    Pass,
    /// Good to know.
    Info,
    /// Works, not as well as it could.
    Warn,
    /// Machines will not run.
    Fail,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Check {
    /// What.
    pub name: String,
    /// How it ended.
    pub status: CheckStatus,
    /// What was found.
    pub found: String,
    /// What to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

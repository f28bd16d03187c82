//! What the config says of a plugin.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::bytes::ByteSize;
use crate::digest::Digest;
use crate::name::Name;

/// Which world a plugin implements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PluginKind {
    /// `witvirt:disk/disk-format` or `disk-format-writer`.
    DiskFormat,
    /// `witvirt:domain/domain-converter`.
    DomainConverter,
    /// `witvirt:device/device-policy`.
    DevicePolicy,
    /// `witvirt:artifact/artifact-layout` or `artifact-layout-publisher`.
    ArtifactLayout,
}

/// What a failing plugin means for the operation. Formats and converters always fail it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OnFailure {
    /// Refuse the operation.
    #[default]
    Deny,
    /// Go on as if the plugin had allowed it, with a warning.
    Allow,
}

/// Whether a policy's verdicts bind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// They do.
    #[default]
    Enforce,
    /// They are logged only.
    Monitor,
}

/// Bounds of one plugin. Each missing key takes the default of `[engine.limits]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Limits {
    /// Linear memory of an instance.
    pub memory: ByteSize,
    /// Time for one call, guest code and host calls together.
    #[serde(with = "duration_ms")]
    pub deadline: Duration,
    /// Host calls in the life of an instance.
    pub host_calls: u64,
    /// Bytes read through host calls in the life of an instance.
    pub host_bytes: ByteSize,
    /// Bytes that one call may hand to the host (lists, strings).
    pub call_data: ByteSize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory: ByteSize::mib(64),
            deadline: Duration::from_secs(2),
            host_calls: 1_000_000,
            host_bytes: ByteSize::gib(16),
            call_data: ByteSize::mib(8),
        }
    }
}

mod duration_ms {
    use std::time::Duration;

    pub fn serialize<S: serde::Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u128(value.as_millis())
    }
}

/// One plugin to load: an entry of the config with every default applied.
#[derive(Debug, Clone)]
pub struct PluginEntry {
    /// Unique in the config.
    pub name: Name,
    /// Which world it must implement.
    pub kind: PluginKind,
    /// Absolute path of the component.
    pub file: std::path::PathBuf,
    /// What the file must hash to; absent only where `[trust]` permits it.
    pub sha256: Option<Digest>,
    /// Given to `configure`.
    pub settings: serde_json::Value,
    /// Its bounds.
    pub limits: Limits,
    /// For policies.
    pub on_failure: OnFailure,
    /// For policies.
    pub mode: Mode,
}

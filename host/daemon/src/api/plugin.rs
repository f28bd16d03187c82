//! Plugins.

use serde::{Deserialize, Serialize};
use witvirt_core::plugin::{Mode, OnFailure, PluginKind};

/// A plugin that serves.
#[derive(Debug, Clone, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Plugin {
    /// Its name in the config.
    pub name: String,
    /// Its contract.
    pub kind: PluginKind,
    /// What it calls itself.
    pub title: String,
    /// Its version.
    pub version: String,
    /// A line about it.
    pub description: String,
    /// The component.
    pub file: String,
    /// What the component hashes to.
    pub sha256: String,
    /// The world of the contract that it implements.
    pub world: String,
    /// What it handles: formats, conversions.
    pub handles: Vec<String>,
    /// Its settings; of secret ones (`writeOnly` in the schema) only that they are set.
    pub settings: serde_json::Value,
    /// The JSON schema of its settings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings_schema: Option<serde_json::Value>,
    /// Its bounds: memory, deadline (milliseconds), host-calls, host-bytes, call-data.
    pub limits: serde_json::Value,
    /// Policies: what its failure means.
    pub on_failure: OnFailure,
    /// Policies: whether its verdicts bind.
    pub mode: Mode,
    /// Microseconds that loading it took.
    pub load_us: u64,
    /// Why the last reload kept this revision instead of the configured one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reload_error: Option<String>,
}

/// What a reload did.
#[derive(Debug, Clone, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Reload {
    /// Plugins that serve in a new revision.
    pub changed: Vec<String>,
    /// Plugins that were taken out.
    pub removed: Vec<String>,
    /// Plugins that failed, with the reason; where there was an older revision, it goes on serving.
    pub failed: Vec<String>,
}

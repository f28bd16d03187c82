//! Reviews and verdicts.

use crate::error::PluginError;

/// What a policy is asked; see `witvirt:device/policy.review`.
#[derive(Debug, Clone)]
pub struct Review {
    /// Unique per review, repeated in the audit log.
    pub id: String,
    /// "create", "start" or "update".
    pub operation: String,
    /// Who asks: "uid:1000".
    pub subject: String,
    /// The machine spec.
    pub object: serde_json::Value,
    /// What it replaces.
    pub old_object: Option<serde_json::Value>,
    /// Capacity and machines of the host.
    pub host: serde_json::Value,
    /// Milliseconds since 1970.
    pub time_ms: u64,
    /// Whether nothing follows from the verdict.
    pub dry_run: bool,
}

/// What a policy answers.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// As it is.
    Allow,
    /// If replaced by this machine spec.
    AllowWith(serde_json::Value),
    /// Refused, and why.
    Deny(String),
}

/// A verdict with remarks.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// The verdict.
    pub verdict: Verdict,
    /// For the user.
    pub warnings: Vec<String>,
    /// For the audit log.
    pub annotations: Vec<(String, String)>,
}

/// A plugin that admits machines. Calls block.
pub trait Policy: Send + Sync {
    /// The plugin's name in the config.
    fn plugin(&self) -> &str;

    /// The version the plugin describes itself with.
    fn version(&self) -> &str;

    /// Judges in a fresh instance.
    ///
    /// # Errors
    /// What the plugin reports, or how it broke.
    fn evaluate(&self, review: &Review) -> Result<Decision, PluginError>;
}

//! Machines.

use serde::{Deserialize, Serialize};
use witvirt_core::domain::Diagnostic;
use witvirt_core::spec::MachineSpec;
use witvirt_machine::{Condition, MachineStatus};

use super::document::ConvertRequest;

/// What a new machine is made from.
#[derive(Debug, Clone, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Definition {
    /// A machine spec.
    Spec(Box<MachineSpec>),
    /// A document that a pipeline turns into one.
    Document(Box<ConvertRequest>),
}

/// A machine to create.
#[derive(Debug, Clone, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct CreateRequest {
    /// What it is.
    pub definition: Definition,
    /// Whether it is started at once; when that fails, the machine stays and can be looked at.
    #[serde(default)]
    pub start: bool,
    /// Whether it is started before its remote images are here, as far as that is possible.
    #[serde(default)]
    pub lazy: bool,
    /// Whether everything is checked and nothing is created.
    #[serde(default)]
    pub dry_run: bool,
}

/// What was created.
#[derive(Debug, Clone, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct CreateReply {
    /// The machine after converters and policies.
    pub spec: MachineSpec,
    /// How it is; absent after a dry run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<MachineStatus>,
    /// What converters say.
    #[serde(default)]
    pub diagnostics: Vec<Diagnostic>,
    /// What policies say and changed.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// How a machine is started.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct StartParams {
    /// Whether it is started before its remote images are here, as far as that is possible.
    pub lazy: bool,
}

/// How a machine is stopped.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct StopRequest {
    /// Seconds that the guest gets before the plug is pulled; the machine's own when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u64>,
}

/// How a machine is removed.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct RemoveParams {
    /// Whether a running machine is killed first.
    pub force: bool,
}

/// What is waited for.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct WaitParams {
    /// The condition.
    pub condition: Condition,
    /// Seconds after which the answer is an error of kind `timeout`; no end when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u64>,
}

/// What came of waiting.
#[derive(Debug, Clone, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct WaitReply {
    /// How the machine is; absent when it is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<MachineStatus>,
}

/// How a console is attached to.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct ConsoleParams {
    /// Where the output begins.
    pub from: Since,
}

/// Where the output of a console begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Since {
    /// With what is printed from now on.
    #[default]
    Now,
    /// With the first byte since the machine was started, as far as it is kept.
    Boot,
}

/// Which part of a console log.
#[derive(Debug, Clone, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct LogParams {
    /// Whether to go on with what comes.
    pub follow: bool,
    /// Only so many of the last lines.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tail: Option<usize>,
    /// Only what was printed after this moment, RFC 3339 in UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
}

/// Which events.
#[derive(Debug, Clone, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct EventParams {
    /// Only of this machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub machine: Option<String>,
}

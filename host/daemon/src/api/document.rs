//! Documents on their way to a machine.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use witvirt_core::domain::Diagnostic;
use witvirt_core::spec::MachineSpec;

/// A document to convert.
#[derive(Debug, Clone, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ConvertRequest {
    /// What it is ("application/vnd.libvirt.domain+xml").
    pub media_type: String,
    /// The text, at most 4 MiB.
    pub body: String,
    /// The pipeline to take; the automatic one of the media type when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pipeline: Option<String>,
    /// The machine's name, where the document's own is not wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The media type to stop at; that of the pipeline's end, as a rule the machine, when absent. Besides what the pipeline
    /// passes through: "application/vnd.witvirt.machines.v1+json" for the machines that the document holds,
    /// "application/vnd.witvirt.context.v1+json" for what conditions and hooks are told of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Which machine of a document with several: its name, or NAMESPACE/NAME.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub select: Option<String>,
    /// The absolute directory that relative paths in the document are relative to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    /// What conditions and hooks are told, in place of what the document says of itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<Context>,
}

/// What conditions and hooks are told of a machine besides its document.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Context {
    /// Its name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Its namespace, in clusters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
    /// The system of its guest: "linux", "macos", "windows" ...
    #[serde(skip_serializing_if = "Option::is_none")]
    pub os: Option<String>,
    /// The VirtualMachineInstance; for hooks behind sockets alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource: Option<serde_json::Value>,
}

/// A document after a converter.
#[derive(Debug, Clone, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Stage {
    /// The converter that made it; absent for the input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plugin: Option<String>,
    /// Its version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// What it is.
    pub media_type: String,
    /// The text; JSON is indented. Empty where the converter was passed over.
    pub body: String,
    /// Why the converter was passed over: its condition does not hold, or it failed and may be skipped. The document goes on
    /// as it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skipped: Option<String>,
    /// What the converter says of its input.
    #[serde(default)]
    pub diagnostics: Vec<Diagnostic>,
}

/// Every stage of a conversion.
#[derive(Debug, Clone, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Conversion {
    /// The pipeline that was taken.
    pub pipeline: String,
    /// From the input to the last document.
    pub stages: Vec<Stage>,
    /// The machine, where the chain went that far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<MachineSpec>,
    /// Why the result must not be used; empty: it may.
    #[serde(default)]
    pub problems: Vec<String>,
    /// What the pipeline itself has to say: hooks that the machine names and nobody knows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub diagnostics: Vec<Diagnostic>,
    /// Where two hooks changed the same place.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conflicts: Vec<Conflict>,
    /// The machines that the document holds, as `select` takes them, where there are several and none was selected.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub machines: Vec<String>,
}

/// A hook that changed what a hook before it had written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Conflict {
    /// The hook that wrote it.
    pub first: String,
    /// The hook that changed it, whose word counts.
    pub second: String,
    /// The line, from 1, in the document that the second hook was given.
    pub line: u32,
    /// What the first hook wrote there, cut to 120 characters.
    pub before: String,
    /// What the second hook put in its place, cut likewise; absent where it was removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

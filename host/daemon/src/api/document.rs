//! Documents on their way to a machine.

use serde::{Deserialize, Serialize};
use witvirt_core::domain::Diagnostic;
use witvirt_core::spec::MachineSpec;

/// A document to convert.
#[derive(Debug, Clone, Serialize, Deserialize, schemars::JsonSchema)]
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
    /// The media type to stop at; the machine when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
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
    /// The text; JSON is indented.
    pub body: String,
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
}

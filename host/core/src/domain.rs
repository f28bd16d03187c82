//! Documents and what converters say of them. The media types here are those that converters of this repository have in
//! common; a document may be of any.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::PluginError;

/// Media type of libvirt domain XML.
pub const DOMAIN_XML: &str = "application/vnd.libvirt.domain+xml";
/// Media type of a machine spec as JSON.
pub const MACHINE_JSON: &str = "application/vnd.witvirt.machine.v1+json";
/// Media type of KubeVirt manifests: one or many YAML documents or JSON, lists too; a VirtualMachine or
/// VirtualMachineInstance and everything it names (Secrets, ConfigMaps, DataVolumes, claims, instancetypes, preferences)
/// in the same text.
pub const KUBEVIRT: &str = "application/vnd.kubevirt+yaml";
/// Media type of command lines of xhyve, hyperkit and bhyve: a shell script, one line, or a JSON array of arguments.
pub const XHYVE: &str = "application/vnd.xhyve.commandline";
/// Media type of what conditions and hooks know of a machine: `{"name", "namespace"?, "labels": {}, "annotations": {},
/// "os"?, "resource"?}`; `resource` is the VirtualMachineInstance as JSON. What converts a source that has labels or
/// annotations offers this as a second target.
pub const CONTEXT_JSON: &str = "application/vnd.witvirt.context.v1+json";
/// Media type of a list of the machines that a document holds: `{"machines": [{"name", "namespace"?}]}`.
pub const MACHINES_JSON: &str = "application/vnd.witvirt.machines.v1+json";
/// Media type of KubeVirt's `CloudInitData` as JSON, which its hook `PreCloudInitIso` has on both sides.
pub const CLOUD_INIT_JSON: &str = "application/vnd.kubevirt.cloudinit+json";

/// A text and what it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Document {
    /// See the constants of this module.
    pub media_type: String,
    /// The text.
    pub body: String,
}

/// How bad a diagnostic is.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// The result must not be used.
    Error,
    /// Something is not honoured.
    Warning,
    /// A default was filled in.
    Info,
}

/// Something that the user should know of a conversion.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Diagnostic {
    /// How bad.
    pub severity: Severity,
    /// A stable dotted word.
    pub code: String,
    /// A sentence.
    pub message: String,
    /// Where in the input document.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Line in the input document, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
}

impl Diagnostic {
    /// Without a place in the document.
    pub fn new(severity: Severity, code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { severity, code: code.into(), message: message.into(), path: None, line: None }
    }

    /// At a place of the input document.
    #[must_use]
    pub fn at(self, path: impl Into<String>, line: u32) -> Self {
        Self { path: Some(path.into()), line: Some(line), ..self }
    }
}

/// What a converter made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The new document.
    pub document: Document,
    /// Errors, warnings and notes.
    pub diagnostics: Vec<Diagnostic>,
}

/// A plugin that converts documents. Calls block.
pub trait Converter: Send + Sync {
    /// The plugin's name in the config.
    fn plugin(&self) -> &str;

    /// The version the plugin describes itself with.
    fn version(&self) -> &str;

    /// Pairs of source and target media type.
    fn conversions(&self) -> &[(String, String)];

    /// Converts in a fresh instance, within the plugin's own deadline for each call, and within `timeout` for all of it
    /// where one is given.
    ///
    /// # Errors
    /// What the plugin reports, or how it broke.
    fn convert_within(
        &self,
        input: &Document,
        target: &str,
        options: &serde_json::Value,
        timeout: Option<Duration>,
    ) -> Result<Outcome, PluginError>;

    /// As [`Converter::convert_within`], without a timeout.
    ///
    /// # Errors
    /// What the plugin reports, or how it broke.
    fn convert(
        &self,
        input: &Document,
        target: &str,
        options: &serde_json::Value,
    ) -> Result<Outcome, PluginError> {
        self.convert_within(input, target, options, None)
    }
}

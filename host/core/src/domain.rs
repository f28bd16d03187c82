//! Documents and what converters say of them.

use serde::{Deserialize, Serialize};

use crate::error::PluginError;

/// Media type of libvirt domain XML.
pub const DOMAIN_XML: &str = "application/vnd.libvirt.domain+xml";
/// Media type of a machine spec as JSON.
pub const MACHINE_JSON: &str = "application/vnd.witvirt.machine.v1+json";

/// A text and what it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Document {
    /// See [`DOMAIN_XML`] and [`MACHINE_JSON`].
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

    /// Converts in a fresh instance.
    ///
    /// # Errors
    /// What the plugin reports, or how it broke.
    fn convert(
        &self,
        input: &Document,
        target: &str,
        options: &serde_json::Value,
    ) -> Result<Outcome, PluginError>;
}

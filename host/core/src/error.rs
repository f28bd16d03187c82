//! Failures that cross the plugin boundary.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What class of failure it was; the mirror of `witvirt:types/errors.error-kind`, plus the ways a plugin can break.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorKind {
    /// Settings, options or a document that make no sense.
    InvalidInput,
    /// Well formed, but a feature that is not handled.
    Unsupported,
    /// Bytes that contradict their own format.
    Corrupt,
    /// Something named does not exist.
    NotFound,
    /// A rule forbids it.
    Denied,
    /// A bound was reached.
    Limit,
    /// A source could not be read.
    Io,
    /// Anything else that the plugin reported.
    Other,
    /// The plugin itself broke: it trapped, ran out of its limits or lied.
    Plugin,
}

impl ErrorKind {
    /// The word used in messages and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidInput => "invalid input",
            Self::Unsupported => "unsupported",
            Self::Corrupt => "corrupt",
            Self::NotFound => "not found",
            Self::Denied => "denied",
            Self::Limit => "limit reached",
            Self::Io => "input/output",
            Self::Other => "error",
            Self::Plugin => "plugin failure",
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A failure that a plugin reported or caused. It always names the plugin and its version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginError {
    /// The plugin's name in the config.
    pub plugin: String,
    /// The version that the plugin describes itself with; empty before `describe`.
    pub version: String,
    /// The class of failure.
    pub kind: ErrorKind,
    /// A sentence for the operator.
    pub message: String,
    /// Key and value pairs: offsets, indices, limits.
    pub context: Vec<(String, String)>,
}

impl fmt::Display for PluginError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "plugin {}", self.plugin)?;
        if !self.version.is_empty() {
            write!(f, " {}", self.version)?;
        }
        write!(f, ": {}: {}", self.kind, self.message)?;
        for (index, (key, value)) in self.context.iter().enumerate() {
            let lead = if index == 0 { " (" } else { ", " };
            write!(f, "{lead}{key} {value}")?;
        }
        if !self.context.is_empty() {
            f.write_str(")")?;
        }
        Ok(())
    }
}

impl std::error::Error for PluginError {}

//! What goes over the socket: requests, answers and errors of API version 1, shared by server and client.

pub mod document;
pub mod error;
pub mod host;
pub mod image;
pub mod machine;
pub mod plugin;
pub mod volume;

pub use error::{Error, ErrorKind};

use serde::{Deserialize, Serialize};

/// A line of a stream of progress; the last one is `done` or `error`.
#[derive(Debug, Clone, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "event")]
pub enum Progress<T> {
    /// How far it is.
    Progress {
        /// What is being done ("import").
        phase: String,
        /// Bytes done.
        done: u64,
        /// Bytes in all, where that is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        total: Option<u64>,
        /// Bytes a second, over the last seconds.
        #[serde(default)]
        rate: u64,
        /// Seconds to the end at this rate, where the total is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        eta: Option<u64>,
        /// What runs side by side (layers, downloads), in the order in which it began.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        parts: Vec<Part>,
    },
    /// Something worth knowing that stops nothing.
    Warning {
        /// A sentence.
        message: String,
    },
    /// The end, and what came of it.
    Done {
        /// The result.
        result: T,
    },
    /// The end, without a result.
    Error {
        /// Why.
        error: Error,
    },
}

/// How far one part of an operation is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Part {
    /// Which one.
    pub name: String,
    /// Bytes done.
    pub done: u64,
    /// Bytes in all, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
    /// Bytes a second, over the last seconds.
    #[serde(default)]
    pub rate: u64,
}

/// The empty answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Empty {}

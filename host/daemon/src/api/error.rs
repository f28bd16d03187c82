//! Errors as the API tells them.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What class of failure it was; decides the HTTP status and the exit code of the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorKind {
    /// The request makes no sense.
    Invalid,
    /// Something named does not exist.
    NotFound,
    /// Not in this state, or the name is taken.
    Conflict,
    /// A policy, a converter or the host's own rules refuse the machine.
    Refused,
    /// The caller may not.
    Denied,
    /// It took too long.
    Timeout,
    /// The request is too large.
    TooLarge,
    /// Not now: the daemon is busy or shutting down.
    Unavailable,
    /// A server or registry that something comes from does not answer, or not as it should.
    Unreachable,
    /// Anything else.
    Internal,
}

impl ErrorKind {
    /// Every kind.
    pub const ALL: [Self; 10] = [
        Self::Invalid,
        Self::NotFound,
        Self::Conflict,
        Self::Refused,
        Self::Denied,
        Self::Timeout,
        Self::TooLarge,
        Self::Unavailable,
        Self::Unreachable,
        Self::Internal,
    ];

    /// HTTP status.
    pub fn status(self) -> u16 {
        match self {
            Self::Invalid => 400,
            Self::NotFound => 404,
            Self::Conflict => 409,
            Self::Refused => 422,
            Self::Denied => 403,
            Self::Timeout => 504,
            Self::TooLarge => 413,
            Self::Unavailable => 503,
            Self::Unreachable => 502,
            Self::Internal => 500,
        }
    }

    /// Exit code of the command line.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::NotFound => 3,
            Self::Conflict | Self::Refused => 4,
            Self::Denied => 5,
            Self::Unavailable => 6,
            Self::Unreachable => 7,
            Self::Timeout => 124,
            Self::Invalid | Self::TooLarge | Self::Internal => 1,
        }
    }
}

/// A failed request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Error {
    /// The class.
    pub kind: ErrorKind,
    /// What failed and why, the whole chain of causes in one text.
    pub message: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hints: Vec<String>,
}

impl Error {
    /// Without a hint.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hints: Vec::new() }
    }

    /// With a cause, and the causes of that, each told once.
    pub fn caused(
        kind: ErrorKind,
        context: impl fmt::Display,
        cause: &(dyn std::error::Error + 'static),
    ) -> Self {
        Self::new(kind, format!("{context}: {}", chain(cause)))
    }

    /// With what to do.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }
}

/// An error and its causes, outermost first; a cause that the text before it already tells is left out.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let words = cause.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        next = cause.source();
    }
    text
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

//! Failures of a driver.

/// What class of failure it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The spec asks for what this driver or host does not have.
    Unsupported,
    /// The config forbids it.
    Denied,
    /// The hypervisor could not be started.
    Start,
    /// The hypervisor refused a command.
    Command,
    /// The hypervisor does not answer.
    Unresponsive,
    /// The operating system refused.
    Io,
}

/// A failure of a driver.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// The class.
    pub kind: ErrorKind,
    /// What failed, with the machine's name and what to do.
    pub message: String,
    /// The cause.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// Without a cause.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    /// With a cause.
    pub fn caused(
        kind: ErrorKind,
        message: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self { kind, message: message.into(), source: Some(source.into()) }
    }
}

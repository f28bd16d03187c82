//! Failures of machine operations.

/// What class of failure it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// No machine has this name.
    NotFound,
    /// A machine has this name already.
    Exists,
    /// The spec cannot be run.
    Invalid,
    /// The machine's state does not allow it.
    Refused,
    /// The config forbids it.
    Denied,
    /// The hypervisor cannot do it at all.
    Unsupported,
    /// The machine's disks, kernel or firmware could not be opened.
    Resource,
    /// The hypervisor failed, or the machine ended instead.
    Hypervisor,
    /// The machine lives but does not answer, or its files cannot be read.
    Broken,
    /// Another daemon holds the state directory.
    Locked,
    /// It did not happen in time.
    Timeout,
    /// The machines are being closed.
    Closed,
    /// The operating system refused.
    Io,
}

/// A failure of a machine operation.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// The class.
    pub kind: ErrorKind,
    /// What failed, with the machine's name, and what to do.
    pub message: String,
    /// The cause.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    pub(crate) fn caused(
        kind: ErrorKind,
        message: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self { kind, message: message.into(), source: Some(source.into()) }
    }

    pub(crate) fn io(message: impl Into<String>, source: impl Into<std::io::Error>) -> Self {
        Self::caused(ErrorKind::Io, message, source.into())
    }

    /// The message with its causes, for a log line or a state file: "a: b: c".
    pub(crate) fn chain(&self) -> String {
        let mut text = self.message.clone();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    }
}

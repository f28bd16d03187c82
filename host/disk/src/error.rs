//! The error of this crate.

use std::fmt;
use std::io;

use witvirt_core::{ErrorKind as PluginErrorKind, PluginError};

/// What class of failure it was; callers match on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// A request that makes no sense.
    InvalidInput,
    /// No such image, volume or file.
    NotFound,
    /// The name is taken.
    AlreadyExists,
    /// A machine uses the image, or another process has the file open for writing.
    InUse,
    /// The operator's rules forbid it: a file outside the allowed directories, a symbolic link, a device.
    Denied,
    /// Well formed, but a feature that is not handled.
    Unsupported,
    /// Bytes that contradict their own format.
    Corrupt,
    /// A file changed while it was read, or since it was recorded.
    Changed,
    /// The disk is full.
    NoSpace,
    /// A bound was reached.
    Limit,
    /// A plugin broke or lied.
    Plugin,
    /// A server that cannot be reached for now; the same request may succeed later.
    Unavailable,
    /// The caller cancelled.
    Cancelled,
    /// The operating system's.
    Io,
}

/// A failure, with what was being done to which file.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// A failure of this crate's own finding.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    /// The operating system's failure while `doing` something ("read /srv/a.img at byte 4096"). A full disk, a missing
    /// file and a refused permission get kinds of their own.
    pub fn io(doing: impl Into<String>, error: io::Error) -> Self {
        let kind = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                ErrorKind::NoSpace
            }
            io::ErrorKind::NotFound => ErrorKind::NotFound,
            io::ErrorKind::PermissionDenied => ErrorKind::Denied,
            _ => carried(&error).unwrap_or(ErrorKind::Io),
        };
        Self { kind, message: format!("cannot {}", doing.into()), source: Some(Box::new(error)) }
    }

    /// The class of failure.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The same failure with `what` was being done in front of its message.
    #[must_use]
    pub fn during(mut self, what: impl fmt::Display) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }
}

/// Marks an error of [`crate::FileSource`] that means: the file is no longer what was opened.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct SourceChanged(pub(crate) String);

/// The kind that an error of a source or a remote object has inside of what [`io::Read`] makes of it.
fn carried(error: &io::Error) -> Option<ErrorKind> {
    let inner = error.get_ref()?;
    if inner.is::<SourceChanged>() {
        return Some(ErrorKind::Changed);
    }
    inner.downcast_ref::<Error>().map(Error::kind)
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        Self::other(error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn std::error::Error + 'static))
    }
}

impl From<PluginError> for Error {
    fn from(error: PluginError) -> Self {
        let kind = match error.kind {
            PluginErrorKind::InvalidInput => ErrorKind::InvalidInput,
            PluginErrorKind::Unsupported => ErrorKind::Unsupported,
            PluginErrorKind::Corrupt => ErrorKind::Corrupt,
            PluginErrorKind::NotFound => ErrorKind::NotFound,
            PluginErrorKind::Denied => ErrorKind::Denied,
            PluginErrorKind::Limit => ErrorKind::Limit,
            PluginErrorKind::Io => ErrorKind::Io,
            PluginErrorKind::Other | PluginErrorKind::Plugin => ErrorKind::Plugin,
        };
        // The plugin's words are the message: they already name the plugin, its version and the place.
        Self { kind, message: error.to_string(), source: None }
    }
}

/// Turns results of the operating system into this crate's, with what was being done.
pub(crate) trait Doing<T> {
    /// `doing` is only built when it failed.
    fn doing(self, doing: impl FnOnce() -> String) -> Result<T>;
}

impl<T> Doing<T> for io::Result<T> {
    fn doing(self, doing: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| Error::io(doing(), error))
    }
}

impl<T> Doing<T> for rustix::io::Result<T> {
    fn doing(self, doing: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| Error::io(doing(), error.into()))
    }
}

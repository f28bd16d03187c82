//! What goes wrong with sidecars.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tonic::Code;
use witvirt_core::{ErrorKind, PluginError};

use crate::protocol::Version;

/// Characters of a sidecar's own words in a message.
const WORDS: usize = 1000;

/// A call of a sidecar that failed.
#[derive(Debug)]
pub struct SidecarError {
    /// Its socket.
    pub socket: PathBuf,
    /// The call.
    pub call: &'static str,
    /// The version that was spoken, once it was agreed upon.
    pub version: Option<Version>,
    /// Why.
    pub failure: Failure,
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Nobody listens, or this process may not connect.
    #[error("it cannot be reached: {0}; see that the sidecar runs and that its socket may be connected to")]
    Unreachable(io::Error),
    /// What listens speaks no HTTP/2, or hung up.
    #[error("it does not speak gRPC: {0}")]
    NoGrpc(String),
    /// It took too long.
    #[error("it has not answered within {0:?}")]
    NoAnswer(Duration),
    /// Its answer is larger than this many bytes.
    #[error("its answer has more than {0} bytes")]
    TooLarge(usize),
    /// It speaks only these versions.
    #[error("it speaks {}, and here v1alpha3, v1alpha2 and v1alpha1 are spoken", words(.0))]
    NoCommonVersion(Vec<String>),
    /// It reports an error.
    #[error("{code:?}: {message}")]
    Status {
        /// The class.
        code: Code,
        /// Its words, without control characters.
        message: String,
    },
    /// Its answer cannot be what was asked for.
    #[error("{0}")]
    Nonsense(String),
}

fn words(versions: &[String]) -> String {
    if versions.is_empty() {
        return "no version".to_owned();
    }
    versions.iter().map(|word| format!("\"{}\"", word.escape_debug())).collect::<Vec<_>>().join(", ")
}

/// A sidecar's words for a message.
pub(super) fn clean(words: &str) -> String {
    words.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).take(WORDS).collect()
}

impl SidecarError {
    pub(super) fn new(socket: &Path, call: &'static str, version: Option<Version>, failure: Failure) -> Self {
        Self { socket: socket.to_owned(), call, version, failure }
    }
}

impl fmt::Display for SidecarError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of the hook sidecar {} failed: {}", self.call, self.socket.display(), self.failure)
    }
}

impl std::error::Error for SidecarError {}

impl From<SidecarError> for PluginError {
    fn from(error: SidecarError) -> Self {
        let kind = match &error.failure {
            Failure::Unreachable(_) | Failure::NoGrpc(_) => ErrorKind::Io,
            Failure::NoAnswer(_) | Failure::TooLarge(_) => ErrorKind::Limit,
            Failure::NoCommonVersion(_) => ErrorKind::Unsupported,
            Failure::Status { .. } => ErrorKind::Other,
            Failure::Nonsense(_) => ErrorKind::Plugin,
        };
        Self {
            plugin: error.socket.display().to_string(),
            version: error.version.map(|version| version.to_string()).unwrap_or_default(),
            kind,
            message: format!("{}: {}", error.call, error.failure),
            context: Vec::new(),
        }
    }
}

//! The way to an object on a server, which may be lost for a while.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::blob::Blob;
use crate::error::{Error, ErrorKind, Result};

/// Opens the object: at first, after a restart, and again when what is open does no more.
pub type Connect = Arc<dyn Fn() -> Result<Arc<dyn Blob>> + Send + Sync>;

/// Longest text of a reason, in characters.
const MAX_REASON: usize = 300;

/// Which bytes an object has, for those who come back to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identification {
    /// For messages: a URL without credentials.
    pub(crate) label: String,
    /// Bytes.
    pub(crate) size: u64,
    /// What changes when the bytes do.
    pub(crate) version: String,
}

/// Why nothing arrives at the moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Waiting {
    /// What is waited for: a URL without credentials.
    pub server: String,
    /// For how long, in seconds.
    pub seconds: u64,
    /// What went wrong last.
    pub reason: String,
}

pub(crate) struct Remote {
    connect: Connect,
    identification: Identification,
    blob: Mutex<Option<Arc<dyn Blob>>>,
    lost: Mutex<Option<(Instant, String)>>,
}

impl Remote {
    /// `blob` is the object where it is open already.
    pub(crate) fn new(connect: Connect, identification: Identification, blob: Option<Arc<dyn Blob>>) -> Self {
        Self { connect, identification, blob: Mutex::new(blob), lost: Mutex::default() }
    }

    pub(super) fn label(&self) -> &str {
        &self.identification.label
    }

    /// Fills `buffer` from `offset`, in one attempt; what came of it is what [`Remote::waiting`] tells of.
    ///
    /// # Errors
    /// Whatever the server says; `Changed` when the object is no longer what was identified.
    pub(super) fn read(&self, buffer: &mut [u8], offset: u64) -> Result<()> {
        let outcome = self.blob().and_then(|blob| read_whole(&*blob, buffer, offset));
        match &outcome {
            Ok(()) => self.found(),
            Err(error) => {
                // Another connection, another address, another token: opened again it may work.
                *lock(&self.blob) = None;
                self.lose(error);
            }
        }
        outcome
    }

    /// Notes a failure that keeps bytes from arriving, wherever it happened.
    pub(super) fn lose(&self, error: &Error) {
        let reason: String = chain(error).chars().take(MAX_REASON).collect();
        let mut lost = lock(&self.lost);
        match &mut *lost {
            Some((_, last)) => *last = reason,
            None => {
                tracing::warn!(from = self.label(), reason, "a lazy image waits");
                *lost = Some((Instant::now(), reason));
            }
        }
    }

    fn found(&self) {
        if let Some((since, _)) = lock(&self.lost).take() {
            tracing::info!(from = self.label(), seconds = since.elapsed().as_secs(), "a lazy image goes on");
        }
    }

    /// Why nothing arrives, where that is so.
    pub(crate) fn waiting(&self) -> Option<Waiting> {
        let lost = lock(&self.lost);
        let (since, reason) = lost.as_ref()?;
        let (server, seconds) = (self.label().to_owned(), since.elapsed().as_secs());
        Some(Waiting { server, seconds, reason: reason.clone() })
    }

    fn blob(&self) -> Result<Arc<dyn Blob>> {
        if let Some(blob) = &*lock(&self.blob) {
            return Ok(Arc::clone(blob));
        }
        // Not under the lock: it takes time. Two who do this at once do no harm.
        let blob = (self.connect)()?;
        let Identification { label, size, version } = &self.identification;
        if blob.size() != Some(*size) || blob.version() != Some(version) || !blob.ranges() {
            let message =
                format!("{label} is another object now than the one that the machine was started from");
            return Err(Error::new(ErrorKind::Changed, message));
        }
        *lock(&self.blob) = Some(Arc::clone(&blob));
        Ok(blob)
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Remote").field(&self.identification).finish()
    }
}

/// An error with its causes, in one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

fn read_whole(blob: &dyn Blob, buffer: &mut [u8], offset: u64) -> Result<()> {
    let mut filled = 0;
    while filled < buffer.len() {
        let read = blob.read(offset + filled as u64, &mut buffer[filled..])?;
        if read == 0 {
            let message =
                format!("{} ends at byte {} by now: it has changed", blob.label(), offset + filled as u64);
            return Err(Error::new(ErrorKind::Changed, message));
        }
        filled += read.min(buffer.len() - filled);
    }
    Ok(())
}

/// Pauses between attempts: from half a second to five.
pub(super) fn pause(attempt: u32) -> Duration {
    (Duration::from_millis(500) * 2u32.saturating_pow(attempt.min(8))).min(Duration::from_secs(5))
}

/// Nothing that a panic could leave half done is guarded.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

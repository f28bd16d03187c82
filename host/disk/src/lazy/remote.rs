//! The way to an image on a server or in a registry, which may be lost for a while.

use std::fmt;
use std::io::Read;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;
use sha2::{Digest as _, Sha256};
use witvirt_core::Digest;

use crate::blob::Blob;
use crate::error::{Error, ErrorKind, Result};
use crate::import_source::{ArtifactDisk, ArtifactPiece};

/// Opens the places where an image file may be, of which the first that has it counts: at first, after a restart, and again
/// when what is open does no more. An object of a server is one place ([`ArtifactDisk::object`]); the layers of a
/// containerDisk are several.
pub type Connect = Arc<dyn Fn() -> Result<Vec<ArtifactDisk>> + Send + Sync>;

/// Longest text of a reason, in characters.
const MAX_REASON: usize = 300;

/// Which bytes a place has, for those who come back to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identification {
    /// For messages: a URL without credentials.
    pub(crate) label: String,
    /// Bytes of what arrives.
    pub(crate) size: u64,
    /// What changes when the bytes do.
    pub(crate) version: String,
}

impl Identification {
    /// `None` where bytes cannot be told from others, or how many there are.
    pub(crate) fn of(place: &ArtifactDisk) -> Option<Self> {
        let label = place.label.clone();
        match (place.size, &place.pieces[..]) {
            (None, [ArtifactPiece { blobs, .. }]) => {
                let [blob] = &blobs[..] else { return None };
                let digest = blob.digest().map(|digest| digest.to_string());
                let version = digest.or_else(|| blob.version().map(str::to_owned))?;
                Some(Self { label, size: blob.size()?, version })
            }
            (None, _) => None,
            (Some(size), pieces) => Some(Self { label, size, version: version_of(pieces)? }),
        }
    }
}

/// Of pieces: what they are made of.
fn version_of(pieces: &[ArtifactPiece]) -> Option<String> {
    let mut hasher = Sha256::new_with_prefix(b"witvirt-pieces-1\0");
    for piece in pieces {
        let blobs: Option<Vec<_>> = piece.blobs.iter().map(|blob| blob.digest()).collect();
        let piece = (piece.offset, piece.length, &piece.unpack, &piece.member, piece.digest, blobs?);
        hasher.update(format!("{piece:?}\0"));
    }
    Some(Digest::from_bytes(hasher.finalize().into()).hex())
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
    place: Mutex<Option<Arc<ArtifactDisk>>>,
    lost: Mutex<Option<(Instant, String)>>,
}

impl Remote {
    /// `place` is the one that was identified, where it is open already.
    pub(crate) fn new(connect: Connect, identification: Identification, place: Option<ArtifactDisk>) -> Self {
        let place = Mutex::new(place.map(Arc::new));
        Self { connect, identification, place, lost: Mutex::default() }
    }

    pub(super) fn label(&self) -> &str {
        &self.identification.label
    }

    /// Fills `buffer` from `offset` of the only object, in one attempt; what came of it is what [`Remote::waiting`] tells of.
    ///
    /// # Errors
    /// Whatever the server says; `Changed` when the object is no longer what was identified.
    pub(super) fn read(&self, buffer: &mut [u8], offset: u64) -> Result<()> {
        let outcome = self.place().and_then(|place| {
            let blob = place.pieces.first().and_then(|piece| piece.blobs.first());
            blob.map_or_else(|| Err(nothing()), |blob| read_whole(&**blob, buffer, offset))
        });
        self.told(outcome)
    }

    /// A blob of a piece, by their numbers, from byte `at` on.
    ///
    /// # Errors
    /// As [`Remote::read`].
    pub(super) fn stream(&self, piece: u64, blob: usize, at: u64) -> Result<Box<dyn Read + Send>> {
        let outcome = self.place().and_then(|place| {
            let blob = place.pieces.get(piece as usize).and_then(|piece| piece.blobs.get(blob));
            let blob = blob.ok_or_else(nothing)?;
            blob.stream(if blob.ranges() { at } else { 0 }).map(|stream| (stream, blob.ranges()))
        });
        let (mut stream, ranges) = self.told(outcome)?;
        if at > 0 && !ranges {
            let again = std::io::copy(&mut stream.by_ref().take(at), &mut std::io::sink());
            again.map_err(|error| Error::io(format!("read {} again", self.label()), error))?;
        }
        Ok(stream)
    }

    /// A piece as it was planned.
    pub(super) fn piece(&self, index: u64) -> Result<ArtifactPiece> {
        let place = self.place();
        self.told(place.and_then(|place| place.pieces.get(index as usize).cloned().ok_or_else(nothing)))
    }

    fn told<T>(&self, outcome: Result<T>) -> Result<T> {
        match &outcome {
            Ok(_) => self.found(),
            Err(error) => self.failed(error),
        }
        outcome
    }

    /// Notes a failure of the server: what is open is opened again.
    pub(super) fn failed(&self, error: &Error) {
        // Another connection, another address, another token: it may work then.
        *lock(&self.place) = None;
        self.lose(error);
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

    fn place(&self) -> Result<Arc<ArtifactDisk>> {
        if let Some(place) = &*lock(&self.place) {
            return Ok(Arc::clone(place));
        }
        // Not under the lock: it takes time. Two who do this at once do no harm.
        let places = (self.connect)()?;
        let wanted = Some(&self.identification);
        let place = places.into_iter().find(|place| Identification::of(place).as_ref() == wanted);
        let place = place.filter(|place| place.size.is_some() || ranges(place)).ok_or_else(|| {
            let label = self.label();
            let message =
                format!("{label} is another object now than the one that the machine was started from");
            Error::new(ErrorKind::Changed, message)
        })?;
        let place = Arc::new(place);
        *lock(&self.place) = Some(Arc::clone(&place));
        Ok(place)
    }
}

fn ranges(place: &ArtifactDisk) -> bool {
    place.pieces.iter().flat_map(|piece| &piece.blobs).all(|blob| blob.ranges())
}

fn nothing() -> Error {
    Error::new(ErrorKind::Changed, "the artifact has fewer blobs than it had")
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

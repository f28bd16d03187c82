//! An image that serves its guests while it arrives.

use std::fmt;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use serde::Serialize;
use witvirt_core::Digest;
use witvirt_core::format::Formats;

use super::arriving::{Arriving, Gone, LOOK};
use super::reader::DiskReader;
use super::record::LazyRecord;
use super::remote::{Waiting, chain, lock, pause};
use crate::error::{Doing, Error, ErrorKind, Result};
use crate::nbd::Export;
use crate::progress::{Progress, ProgressStatus};
use crate::store::Store;

/// How often what has arrived is made known to the next process.
const NOTE: Duration = Duration::from_millis(500);

/// How long an image that has arrived is left alone after an import of it failed for another reason than one that passes: it
/// may be a plugin that is missing or that was slow, and reading all of it again costs something.
const RELUCTANT: Duration = Duration::from_secs(600);

/// When the background fetches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// How long guests have to miss nothing before it does: booting is not disturbed.
    pub quiet: Duration,
    /// After this long it fetches whenever no guest waits.
    pub latest: Duration,
}

impl Default for Pace {
    /// 15 s, longer than a kernel takes between its last look at a disk and the first of its programs, emulated on a busy
    /// host; and two minutes.
    fn default() -> Self {
        Self { quiet: Duration::from_secs(15), latest: Duration::from_secs(120) }
    }
}

/// How far an image is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LazyPhase {
    /// It is being fetched.
    Arriving,
    /// All of it is here and is being imported.
    Importing,
    /// It is in the store.
    Arrived(Digest),
    /// It will never be: the reason.
    Failed(String),
}

/// A moment of an image that arrives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct LazyStatus {
    /// Where it comes from: a URL without credentials.
    pub from: String,
    /// How far it is.
    pub phase: LazyPhase,
    /// Bytes of the file that are here.
    pub present: u64,
    /// Bytes of the file.
    pub total: u64,
    /// Bytes that this process has fetched.
    pub fetched: u64,
    /// How far the import is.
    pub import: ProgressStatus,
    /// Why nothing arrives, where that is so.
    pub waiting: Option<Waiting>,
    /// Why the last attempt to import it failed; there will be others.
    pub trouble: Option<String>,
}

/// What an image is made of.
pub(crate) struct Parts {
    pub(crate) store: Arc<Store>,
    pub(crate) formats: Arc<dyn Formats>,
    pub(crate) id: String,
    /// Where `source` is.
    pub(crate) directory: PathBuf,
    pub(crate) record: LazyRecord,
    pub(crate) arriving: Arc<Arriving>,
    pub(crate) reader: DiskReader,
    /// Held for its lock.
    pub(crate) _lock: File,
    pub(crate) pace: Pace,
}

/// A disk whose image is arriving. Dropped, it stops; what has arrived stays.
pub struct LazyImage {
    inner: Arc<Inner>,
}

struct Inner {
    parts: Parts,
    phase: Mutex<LazyPhase>,
    /// The stored image, once it is one: read instead of the source.
    base: OnceLock<File>,
    progress: Progress,
    trouble: Mutex<Option<String>>,
}

impl LazyImage {
    /// Begins to fetch in the background.
    pub(crate) fn start(parts: Parts) -> Result<Self> {
        let phase = match (&parts.record.image, &parts.record.failed) {
            (Some(image), _) => LazyPhase::Arrived(*image),
            (None, Some(reason)) => LazyPhase::Failed(reason.clone()),
            (None, None) => LazyPhase::Arriving,
        };
        let ended = phase != LazyPhase::Arriving;
        if let LazyPhase::Failed(reason) = &phase {
            // What is missing is never fetched: there are no threads that would.
            parts.arriving.spoil(reason.clone());
        }
        let inner = Arc::new(Inner {
            parts,
            phase: Mutex::new(phase),
            base: OnceLock::new(),
            progress: Progress::new(),
            trouble: Mutex::new(None),
        });
        if !ended {
            let spawn = |name: &str, work: fn(&Inner)| {
                let inner = Arc::clone(&inner);
                std::thread::Builder::new().name(name.into()).spawn(move || work(&inner))
            };
            spawn("lazy-fill", Inner::fill).doing(|| "start a thread that fetches".into())?;
            spawn("lazy-note", Inner::take_notes).doing(|| "start a thread that takes notes".into())?;
        }
        Ok(Self { inner })
    }

    /// Names its directory in the store.
    pub fn id(&self) -> &str {
        &self.inner.parts.id
    }

    /// Bytes that a guest sees.
    pub fn virtual_size(&self) -> u64 {
        self.inner.parts.record.virtual_size
    }

    /// Whether there is a digest that is compared at the end.
    pub fn is_promised(&self) -> bool {
        self.inner.parts.record.sha256.is_some()
    }

    /// How far it is.
    pub fn status(&self) -> LazyStatus {
        let Inner { parts, phase, progress, trouble, .. } = &*self.inner;
        let phase = lock(phase).clone();
        let ended = matches!(phase, LazyPhase::Arrived(_) | LazyPhase::Failed(_));
        let total = parts.arriving.units().bytes();
        LazyStatus {
            from: parts.record.label.clone(),
            waiting: parts.arriving.waiting().filter(|_| !ended),
            present: if ended { total } else { parts.arriving.present() },
            total,
            fetched: parts.arriving.fetched(),
            import: progress.status(),
            trouble: lock(trouble).clone().filter(|_| !ended),
            phase,
        }
    }
}

impl Drop for LazyImage {
    fn drop(&mut self) {
        self.inner.progress.cancel();
        self.inner.parts.arriving.close();
        if let Err(error) = self.inner.parts.arriving.note() {
            tracing::warn!(%error, "what has arrived last is fetched again next time");
        }
    }
}

impl fmt::Debug for LazyImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LazyImage").field("record", &self.inner.parts.record).finish_non_exhaustive()
    }
}

impl Export for LazyImage {
    fn size(&self) -> u64 {
        self.virtual_size()
    }

    fn read(&self, buffer: &mut [u8], offset: u64, gone: Gone<'_>) -> Result<()> {
        if let Some(base) = self.inner.base.get() {
            return base.read_exact_at(buffer, offset).doing(|| format!("read an image at byte {offset}"));
        }
        self.inner.parts.reader.read(buffer, offset, gone)
    }

    fn runs(&self, offset: u64, length: u64, most: usize, gone: Gone<'_>) -> Result<Vec<(u64, bool)>> {
        self.inner.parts.reader.runs(offset, length, most, gone)
    }
}

impl Inner {
    /// Fetches what nobody has asked for, then has it imported.
    fn fill(&self) {
        let Parts { arriving, pace, .. } = &self.parts;
        let mut cursor = 0;
        while !arriving.is_whole() {
            if arriving.is_closing() {
                return;
            }
            if let Some(reason) = arriving.spoilt() {
                return self.fail(reason.to_owned());
            }
            if !arriving.is_calm(pace.quiet, pace.latest) {
                arriving.rest(LOOK);
                continue;
            }
            // Fetching waits for servers itself; what else happens ends with the image.
            match arriving.advance(cursor, &|| false) {
                Ok(Some(next)) => cursor = next,
                Ok(None) => arriving.rest(LOOK),
                Err(error) if error.kind() == ErrorKind::Cancelled => return,
                Err(error) => {
                    tracing::warn!(from = arriving.label(), %error, "fetching in the background failed");
                    arriving.rest(LOOK);
                }
            }
        }
        self.import();
    }

    fn take_notes(&self) {
        while !self.parts.arriving.is_closing() {
            if let Err(error) = self.parts.arriving.note() {
                tracing::warn!(%error, "what has arrived is not on record");
            }
            if *lock(&self.phase) != LazyPhase::Arriving {
                return;
            }
            self.parts.arriving.rest(NOTE);
        }
    }

    /// Imports what has arrived, until that is decided.
    fn import(&self) {
        let label = self.parts.arriving.label();
        *lock(&self.phase) = LazyPhase::Importing;
        let mut attempt = 0;
        let mut is_it = self.parts.record.sha256.is_none();
        loop {
            let outcome = self.parts.store.finish_lazy(&self.parts, &self.progress);
            let error = match outcome {
                Ok((digest, base)) => {
                    tracing::info!(from = label, image = %digest, "an image has arrived");
                    let _only_once = self.base.set(base);
                    *lock(&self.phase) = LazyPhase::Arrived(digest);
                    return;
                }
                Err(error) if self.parts.arriving.is_closing() => {
                    tracing::debug!(from = label, %error, "an import was cut off");
                    return;
                }
                Err(error) => error,
            };
            let passes = passes(&error);
            if !passes && !is_it {
                match self.parts.store.lazy_digest(&self.parts.id) {
                    Ok(digest) if Some(digest) == self.parts.record.sha256 => is_it = true,
                    // Nothing else is final: guests run from what is here, whoever could not read it to its end.
                    Ok(_) => return self.fail(chain(&error)),
                    Err(error) => tracing::warn!(from = label, %error, "what has arrived was not hashed"),
                }
            }
            tracing::warn!(from = label, %error, "an image that has arrived was not imported; tried again");
            *lock(&self.trouble) = Some(chain(&error));
            attempt += 1;
            let rest = if passes { pause(attempt) } else { RELUCTANT };
            let until = std::time::Instant::now() + rest;
            while std::time::Instant::now() < until && !self.parts.arriving.is_closing() {
                self.parts.arriving.rest(LOOK);
            }
        }
    }
}

impl Inner {
    /// The end of it: whoever runs from it is told.
    fn fail(&self, reason: String) {
        let from = self.parts.arriving.label();
        tracing::error!(from, reason, "an image that machines run from is not what it should be");
        if let Err(error) = self.parts.store.fail_lazy(&self.parts, &reason) {
            tracing::warn!(%error, "that is not on record");
        }
        *lock(&self.phase) = LazyPhase::Failed(reason);
    }
}

/// Whether another attempt may soon end better.
fn passes(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::NoSpace | ErrorKind::Io | ErrorKind::InUse | ErrorKind::Cancelled)
}

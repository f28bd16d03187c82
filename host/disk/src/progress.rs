//! How far a long operation is, and the way to stop it.

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;

use crate::error::{Error, ErrorKind, Result};

/// Shared between the thread that works and whoever watches. Share it in an `Arc`; poll [`Progress::status`]. Rates are the
/// watcher's to compute: it knows when it looked.
#[derive(Debug, Default)]
pub struct Progress {
    counters: Arc<Counters>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Counters {
    total: AtomicU64,
    done: AtomicU64,
}

#[derive(Debug, Default)]
struct Shared {
    cancelled: AtomicBool,
    phase: Mutex<Cow<'static, str>>,
    parts: Mutex<Vec<Arc<Part>>>,
}

/// A moment of a [`Progress`]: bytes of guest data, holes not counted, or bytes of the source where it arrives as a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct ProgressStatus {
    /// Bytes moved.
    pub done: u64,
    /// Bytes to move; 0 until that is known.
    pub total: u64,
}

/// A moment of one part of an operation (a layer, a download).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct PartStatus {
    /// Which one.
    pub name: String,
    /// Bytes moved.
    pub done: u64,
    /// Bytes to move; 0 where that is not known.
    pub total: u64,
}

/// A part of an operation, counted on its own and into the whole.
#[derive(Debug)]
pub(crate) struct Part {
    name: String,
    counters: Counters,
    whole: Arc<Counters>,
}

impl Progress {
    /// Nothing done, total unknown.
    pub fn new() -> Self {
        Self::default()
    }

    /// Where it stands.
    pub fn status(&self) -> ProgressStatus {
        let (done, total) = self.counters.read();
        ProgressStatus { done, total }
    }

    /// What it does at the moment, in words for people ("copying", "downloading; cannot be resumed: gzip is one stream");
    /// empty before it began.
    pub fn phase(&self) -> String {
        self.shared.phase.lock().unwrap_or_else(PoisonError::into_inner).clone().into_owned()
    }

    /// The parts that were begun so far, in that order; none where it is all one.
    pub fn parts(&self) -> Vec<PartStatus> {
        let parts = self.shared.parts.lock().unwrap_or_else(PoisonError::into_inner);
        let status = |part: &Arc<Part>| {
            let (done, total) = part.counters.read();
            PartStatus { name: part.name.clone(), done, total }
        };
        parts.iter().map(status).collect()
    }

    /// Asks the operation to stop; it ends with [`ErrorKind::Cancelled`] and leaves nothing behind but
    /// what the next import of the same remote source goes on with.
    pub fn cancel(&self) {
        self.shared.cancelled.store(true, Ordering::Relaxed);
    }

    /// Begins to count anew.
    pub(crate) fn begin(&self, total: u64) {
        self.counters.done.store(0, Ordering::Relaxed);
        self.counters.total.store(total, Ordering::Relaxed);
        self.shared.parts.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    pub(crate) fn set_phase(&self, phase: impl Into<Cow<'static, str>>) {
        *self.shared.phase.lock().unwrap_or_else(PoisonError::into_inner) = phase.into();
    }

    /// A further part of `total` bytes (0: unknown), which are added to the whole.
    pub(crate) fn part(&self, name: &str, total: u64) -> Arc<Part> {
        self.counters.total.fetch_add(total, Ordering::Relaxed);
        let counters = Counters::default();
        counters.total.store(total, Ordering::Relaxed);
        let part = Arc::new(Part { name: name.to_owned(), counters, whole: Arc::clone(&self.counters) });
        self.shared.parts.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&part));
        part
    }

    /// Cancelled with this one, but counted by nobody: for work whose input is counted already.
    pub(crate) fn aside(&self) -> Self {
        Self { counters: Arc::default(), shared: Arc::clone(&self.shared) }
    }

    pub(crate) fn advance(&self, bytes: u64) {
        self.counters.done.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn check(&self) -> Result<()> {
        if self.shared.cancelled.load(Ordering::Relaxed) {
            return Err(Error::new(ErrorKind::Cancelled, "cancelled"));
        }
        Ok(())
    }
}

impl Counters {
    fn read(&self) -> (u64, u64) {
        (self.done.load(Ordering::Relaxed), self.total.load(Ordering::Relaxed))
    }
}

impl Part {
    pub(crate) fn advance(&self, bytes: u64) {
        self.counters.done.fetch_add(bytes, Ordering::Relaxed);
        self.whole.done.fetch_add(bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::Progress;

    #[test]
    fn parts_add_up_and_share_the_stop() {
        let progress = Progress::new();
        progress.begin(0);
        let (first, second) = (progress.part("a", 10), progress.part("b", 0));
        first.advance(4);
        second.advance(7);
        let aside = progress.aside();
        aside.advance(1000);
        assert_eq!((progress.status().done, progress.status().total), (11, 10));
        let parts: Vec<_> =
            progress.parts().into_iter().map(|part| (part.name, part.done, part.total)).collect();
        assert_eq!(parts, [("a".to_owned(), 4, 10), ("b".to_owned(), 7, 0)]);
        progress.cancel();
        assert!(aside.check().is_err());
    }
}

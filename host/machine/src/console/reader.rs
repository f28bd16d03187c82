//! Reading a console log, and following it.

use std::sync::Arc;

use tokio::sync::watch;

use super::log::{ConsoleLog, Growth};
use crate::blocking::blocking;
use crate::error::Error;
use crate::time::Timestamp;

/// The most bytes of a [`LogChunk`].
const CHUNK: usize = 64 << 10;

/// Which part of a console log is wanted; everything that is kept, by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LogQuery {
    /// Only the last so many lines.
    pub tail: Option<usize>,
    /// Only what was printed at this time or later; exact to a second, rather more than less.
    pub since: Option<Timestamp>,
    /// Whether to wait for more, over restarts of the machine, until it is removed.
    pub follow: bool,
}

/// A piece of a console log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogChunk {
    /// So many bytes before it are gone: they were rotated away before they were read.
    pub skipped: u64,
    /// What the guest printed, unchanged: escape sequences and invalid UTF-8 included. At most 64 KiB.
    pub bytes: Vec<u8>,
}

/// A console log from a position on.
pub struct LogReader {
    log: Arc<ConsoleLog>,
    position: u64,
    follow: bool,
    growth: watch::Receiver<Growth>,
}

impl LogReader {
    pub(crate) async fn open(log: Arc<ConsoleLog>, query: LogQuery) -> Result<Self, Error> {
        let growth = log.growth();
        let source = Arc::clone(&log);
        let position = blocking("find a place in the console log", move || {
            let since = query.since.map_or(0, |time| source.since(time));
            let tail = query.tail.map_or(Ok(0), |lines| source.tail(lines))?;
            let start = source.read(0, 0)?.0;
            Ok(since.max(tail).max(start))
        })
        .await?;
        Ok(Self { log, position, follow: query.follow, growth })
    }

    /// From a position on, with all that follows.
    pub(crate) fn follow_from(log: Arc<ConsoleLog>, position: u64) -> Self {
        let growth = log.growth();
        Self { log, position, follow: true, growth }
    }

    /// The next piece; `None` at the end, which a followed log has only when its machine is removed or the daemon ends.
    /// Cancel safe.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub async fn next(&mut self) -> Result<Option<LogChunk>, Error> {
        loop {
            let closed = self.growth.borrow_and_update().closed;
            if let Some(chunk) = self.available().await? {
                return Ok(Some(chunk));
            }
            if closed || !self.follow || self.growth.changed().await.is_err() {
                return Ok(None);
            }
        }
    }

    /// What is there already.
    pub(crate) async fn available(&mut self) -> Result<Option<LogChunk>, Error> {
        let (log, position) = (Arc::clone(&self.log), self.position);
        let read = blocking("read the console log", move || match log.read(position, CHUNK) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok((position, Vec::new())),
            read => read,
        });
        let (from, bytes) = read.await?;
        let skipped = from.saturating_sub(position);
        if bytes.is_empty() {
            return Ok(None);
        }
        self.position = from + bytes.len() as u64;
        Ok(Some(LogChunk { skipped, bytes }))
    }
}

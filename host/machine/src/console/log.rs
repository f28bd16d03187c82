//! One machine's console log.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt};
use rustix::fs::OFlags;
use tokio::sync::watch;

use super::index::{Index, Noted, line};
use super::rotate;
use crate::error::Error;
use crate::storage::{CONSOLE_LOG, read_bounded, replace};
use crate::time::Timestamp;

pub(super) const OLDER: &str = "console.log.1";
const INDEX: &str = "console.index";
const MAX_INDEX_BYTES: u64 = 1 << 20;

/// A console log with its older part and its time index. All calls but [`ConsoleLog::growth`] and [`ConsoleLog::close`]
/// block.
pub(crate) struct ConsoleLog {
    dir: Arc<Dir>,
    /// Bytes of `console.log` at which it is rotated.
    limit: u64,
    layout: Mutex<Layout>,
    growth: watch::Sender<Growth>,
}

/// How far a log has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Growth {
    /// Position after the last byte.
    pub end: u64,
    /// Whether nothing will follow: the machine is gone, or the daemon ends.
    pub closed: bool,
}

/// Where which positions are.
struct Layout {
    /// Position of the first byte of `console.log`.
    base: u64,
    /// Length of `console.log.1`, whose last byte is just before `base`.
    older: u64,
    /// Position after the last byte that was noted.
    seen: u64,
    index: Index,
}

impl ConsoleLog {
    /// Opens or makes the log; ends a rotation that was interrupted.
    pub(crate) fn open(dir: Arc<Dir>, limit: u64) -> Result<Self, Error> {
        let failed = |error| Error::io("cannot open the console log", error);
        let log = append(&dir).map_err(failed)?;
        let base = rotate::recover(&dir).map_err(failed)?;
        let older = match dir.metadata(OLDER) {
            Ok(metadata) => metadata.len().min(base),
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(failed(error)),
        };
        let text = match read_bounded(&dir, INDEX, MAX_INDEX_BYTES) {
            Ok(text) => text,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidData) => {
                Vec::new()
            }
            Err(error) => return Err(failed(error)),
        };
        let mut index = Index::parse(&text);
        let metadata = log.metadata().map_err(failed)?;
        if metadata.len() + older > 0 {
            let modified = metadata.modified().map_err(failed)?;
            index.extend(base - older, modified.into());
            // What nobody saw being printed has to stay datable after one more restart, too.
            replace(&dir, INDEX, &index.to_bytes()).map_err(failed)?;
        }
        let seen = base + metadata.len();
        let growth = watch::Sender::new(Growth { end: seen, closed: false });
        Ok(Self { dir, limit, layout: Mutex::new(Layout { base, older, seen, index }), growth })
    }

    /// The file for the hypervisor: whatever is written goes to its end.
    pub(crate) fn appender(&self) -> io::Result<File> {
        // For writing only: QEMU takes a passed descriptor for its log only if it was opened in just this mode.
        let mut options = private();
        options.append(true).create(true);
        Ok(self.dir.open_with(CONSOLE_LOG, &options)?.into_std())
    }

    /// Looks how far the log has come; notes when, rotates, and wakes those who follow it.
    pub(crate) fn notice(&self, now: Timestamp) -> io::Result<()> {
        let mut layout = self.layout();
        let file = append(&self.dir)?;
        let end = layout.base + file.metadata()?.len();
        if end > layout.seen {
            let seen = layout.seen;
            match layout.index.note(seen, now) {
                Noted::Nothing => {}
                Noted::Append(entry) => self.append_index(&line(&entry))?,
                Noted::Rewrite => replace(&self.dir, INDEX, &layout.index.to_bytes())?,
            }
            layout.seen = end;
        }
        if end - layout.base > self.limit {
            let moved = rotate::rotate(&self.dir, &file, layout.base, self.limit)?;
            layout.base += moved.bytes;
            layout.older = moved.older;
            let start = layout.base - layout.older;
            layout.index.forget_before(start);
            replace(&self.dir, INDEX, &layout.index.to_bytes())?;
        }
        drop(layout);
        self.growth.send_if_modified(|growth| std::mem::replace(&mut growth.end, end) != end);
        Ok(())
    }

    fn append_index(&self, text: &str) -> io::Result<()> {
        use std::io::Write;
        let mut options = private();
        options.append(true).create(true);
        self.dir.open_with(INDEX, &options)?.write_all(text.as_bytes())
    }

    /// Tells how far the log has come, whenever that changes.
    pub(crate) fn growth(&self) -> watch::Receiver<Growth> {
        self.growth.subscribe()
    }

    /// Position after the last byte that was noticed.
    pub(crate) fn end(&self) -> u64 {
        self.growth.borrow().end
    }

    /// Nothing will follow.
    pub(crate) fn close(&self) {
        self.growth.send_modify(|growth| growth.closed = true);
    }

    /// Up to `most` bytes from `position` on, and where they really begin: later, when the wanted ones are gone.
    pub(crate) fn read(&self, position: u64, most: usize) -> io::Result<(u64, Vec<u8>)> {
        let layout = self.layout();
        let from = position.max(layout.base - layout.older);
        let mut buffer = vec![0; most];
        let in_older = usize::try_from(layout.base.saturating_sub(from)).unwrap_or(most).min(most);
        let (front, back) = buffer.split_at_mut(in_older);
        let mut length = 0;
        if !front.is_empty() {
            length = read_at(&self.open_file(OLDER)?, front, from + layout.older - layout.base)?;
        }
        if length == in_older && !back.is_empty() {
            let at = (from + in_older as u64).saturating_sub(layout.base);
            length += read_at(&self.open_file(CONSOLE_LOG)?, back, at)?;
        }
        buffer.truncate(length);
        Ok((from, buffer))
    }

    /// Where output of `time` or later begins.
    pub(crate) fn since(&self, time: Timestamp) -> u64 {
        let layout = self.layout();
        layout.index.since(time, layout.seen).max(layout.base - layout.older)
    }

    /// Where the last `lines` lines begin; an unfinished one counts.
    pub(crate) fn tail(&self, lines: usize) -> io::Result<u64> {
        const STEP: u64 = 64 << 10;
        let end = self.end();
        if lines == 0 {
            return Ok(end);
        }
        let mut left = lines;
        let mut high = end;
        while high > 0 {
            let low = high.saturating_sub(STEP);
            let (from, mut bytes) = self.read(low, usize::try_from(high - low).unwrap_or(0))?;
            bytes.truncate(usize::try_from(high.saturating_sub(from)).unwrap_or(0));
            for (at, _) in bytes.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n') {
                let position = from + at as u64 + 1;
                if position == end {
                    continue;
                }
                left -= 1;
                if left == 0 {
                    return Ok(position);
                }
            }
            // Nothing before: the oldest byte is reached, or the read came from a place that is gone by now.
            if from > low || bytes.is_empty() {
                return Ok(from);
            }
            high = low;
        }
        Ok(high)
    }

    fn open_file(&self, name: &str) -> io::Result<File> {
        let mut options = private();
        options.read(true);
        Ok(self.dir.open_with(name, &options)?.into_std())
    }

    fn layout(&self) -> MutexGuard<'_, Layout> {
        self.layout.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(0o600).custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
    options
}

fn append(dir: &Dir) -> io::Result<File> {
    let mut options = private();
    options.read(true).append(true).create(true);
    Ok(dir.open_with(CONSOLE_LOG, &options)?.into_std())
}

/// Fills `buffer` from `at`, as far as the file goes.
pub(super) fn read_at(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    let mut done = 0;
    while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, at + done as u64) {
            Ok(0) => break,
            Ok(length) => done += length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

//! Noticing that guests print, without polling.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;

use super::log::ConsoleLog;
use crate::error::Error;
use crate::time::Clock;

/// Watches the console logs of all machines that run, with one inotify descriptor and one thread.
pub(crate) struct Watcher {
    inner: Arc<Inner>,
}

struct Inner {
    inotify: OwnedFd,
    /// Written to when the thread is to end.
    end: OwnedFd,
    logs: Mutex<HashMap<i32, Weak<ConsoleLog>>>,
    clock: Clock,
}

/// A log is watched as long as this lives.
pub(crate) struct Watch {
    inner: Weak<Inner>,
    descriptor: i32,
}

impl Watcher {
    pub(crate) fn new(clock: Clock) -> Result<Self, Error> {
        const MESSAGE: &str = "cannot watch console logs: fs.inotify.max_user_instances may be too small";
        let inotify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)
            .map_err(|error| Error::io(MESSAGE, error))?;
        let end = eventfd(0, EventfdFlags::CLOEXEC).map_err(|error| Error::io(MESSAGE, error))?;
        let inner = Arc::new(Inner { inotify, end, logs: Mutex::default(), clock });
        let watching = Arc::clone(&inner);
        std::thread::Builder::new()
            .name("console-watch".to_owned())
            .spawn(move || watching.run())
            .map_err(|error| Error::io("cannot start a thread to watch console logs", error))?;
        Ok(Self { inner })
    }

    /// Notices from now on what is appended to `file`, the file of `log`.
    pub(crate) fn watch(&self, log: &Arc<ConsoleLog>, file: &File) -> io::Result<Watch> {
        // The link leads to the open file, whatever has happened to its name.
        let link = format!("/proc/self/fd/{}", file.as_raw_fd());
        let mut logs = self.inner.logs();
        let descriptor = inotify::add_watch(&self.inner.inotify, &link, WatchFlags::MODIFY)?;
        logs.insert(descriptor, Arc::downgrade(log));
        Ok(Watch { inner: Arc::downgrade(&self.inner), descriptor })
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        // An eventfd whose counter is 0 takes any number.
        let _ = rustix::io::write(&self.inner.end, &1u64.to_ne_bytes());
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let Some(inner) = self.inner.upgrade() else { return };
        let mut logs = inner.logs();
        logs.remove(&self.descriptor);
        // It is gone already when the file was deleted.
        let _ = inotify::remove_watch(&inner.inotify, self.descriptor);
    }
}

impl Inner {
    fn logs(&self) -> MutexGuard<'_, HashMap<i32, Weak<ConsoleLog>>> {
        self.logs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        loop {
            let mut sources =
                [PollFd::new(&self.inotify, PollFlags::IN), PollFd::new(&self.end, PollFlags::IN)];
            match poll(&mut sources, None) {
                Ok(_) if sources[1].revents().contains(PollFlags::IN) => return,
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return tracing::error!(%error, "console logs are no longer watched"),
            }
            match self.grown() {
                Ok(grown) => grown.iter().for_each(|log| self.notice(log)),
                Err(error) => return tracing::error!(%error, "console logs are no longer watched"),
            }
        }
    }

    fn notice(&self, log: &ConsoleLog) {
        if let Err(error) = log.notice(self.clock.now()) {
            tracing::warn!(%error, "console log not kept in order");
        }
    }

    /// The logs that have grown since the last call.
    fn grown(&self) -> io::Result<Vec<Arc<ConsoleLog>>> {
        let mut descriptors = HashSet::new();
        let mut overflow = false;
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = Reader::new(&self.inotify, &mut buffer);
        loop {
            match reader.next() {
                Ok(event) => {
                    overflow |= event.events().contains(ReadFlags::QUEUE_OVERFLOW);
                    descriptors.insert(event.wd());
                }
                Err(Errno::WOULDBLOCK) => break,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            // A guest that never stops printing must not keep the others waiting.
            if reader.is_buffer_empty() {
                break;
            }
        }
        let logs = self.logs();
        let wanted = logs.iter().filter(|(descriptor, _)| overflow || descriptors.contains(*descriptor));
        Ok(wanted.filter_map(|(_, log)| log.upgrade()).collect())
    }
}

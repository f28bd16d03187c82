//! Work in progress: `tmp/<name>/`, locked while its owner lives.

use std::fs::File;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use cap_std::fs::Dir;
use rustix::fs::{FlockOperation, OFlags};
use rustix::io::Errno;

use super::dirs;
use crate::error::{Doing, Result};

const LOCK: &str = "lock";

/// A directory that disappears with this value, or with the next [`clean`] after the process has died.
pub(super) struct Temp {
    parent: Dir,
    name: String,
    /// Where to work.
    pub(super) dir: Dir,
    // Held for its lock.
    _lock: File,
}

impl Temp {
    /// Makes one below `parent`. The caller keeps cleaners away meanwhile.
    pub(super) fn new(parent: &Dir) -> Result<Self> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let count = COUNTER.fetch_add(1, Ordering::Relaxed);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_nanos());
        let name = format!("{}-{count}-{now:x}", std::process::id());
        parent.create_dir(&name).doing(|| format!("make the directory {name}"))?;
        let dir = dirs::existing(parent, &name)?;
        let lock = dirs::open(&dir, LOCK, OFlags::RDWR | OFlags::CREATE)?;
        rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .doing(|| format!("lock {name}"))?;
        let parent = parent.try_clone().doing(|| "duplicate a directory handle".into())?;
        Ok(Self { parent, name, dir, _lock: lock })
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        if let Err(error) = self.parent.remove_dir_all(&self.name) {
            tracing::warn!(name = self.name, %error, "cannot remove unfinished work; the next start will");
        }
    }
}

/// Removes what dead processes left. The caller keeps everybody from beginning meanwhile.
pub(super) fn clean(parent: &Dir) -> Result<()> {
    for name in dirs::entries(parent)? {
        if is_locked(parent, &name) {
            continue;
        }
        tracing::info!(name, "removing unfinished work of a process that has died");
        let removed = parent.remove_dir_all(&name).or_else(|_| parent.remove_file(&name));
        removed.doing(|| format!("remove tmp/{name}"))?;
    }
    Ok(())
}

fn is_locked(parent: &Dir, name: &str) -> bool {
    let Ok(dir) = dirs::existing(parent, name) else { return false };
    let Ok(lock) = dirs::open(&dir, LOCK, OFlags::RDWR) else { return false };
    rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) == Err(Errno::WOULDBLOCK)
}

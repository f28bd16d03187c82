//! Work in progress: `tmp/<name>/`, locked while its owner lives.

use std::fs::File;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cap_std::fs::Dir;
use rustix::fs::{AtFlags, FlockOperation, OFlags};
use rustix::io::Errno;

use super::dirs;
use crate::error::{Doing, Error, Result};

const LOCK: &str = "lock";

/// What the names of directories begin with that the next attempt at the same work may take up.
const PARTIAL: &str = "partial-";

/// The file in such a directory without which there is nothing to take up.
pub(super) const JOURNAL: &str = "journal";

/// How long such a directory is kept after the last thing happened in it.
const KEPT: Duration = Duration::from_secs(7 * 24 * 3600);

/// A directory that disappears with this value, or with the next [`clean`] after the process has died.
pub(super) struct Temp {
    parent: Dir,
    name: String,
    keep: AtomicBool,
    /// Where to work.
    pub(super) dir: Dir,
    // Held for its lock.
    _lock: File,
}

impl Temp {
    /// Makes one below `parent`. The caller keeps cleaners away meanwhile.
    pub(super) fn new(parent: &Dir) -> Result<Self> {
        let name = fresh_name();
        parent.create_dir(&name).doing(|| format!("make the directory {name}"))?;
        let dir = dirs::existing(parent, &name)?;
        let lock = dirs::open(&dir, LOCK, OFlags::RDWR | OFlags::CREATE)?;
        rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .doing(|| format!("lock {name}"))?;
        let parent = parent.try_clone().doing(|| "duplicate a directory handle".into())?;
        Ok(Self { parent, name, keep: AtomicBool::new(false), dir, _lock: lock })
    }

    /// Takes up, or makes, the one with this key; `None` when somebody is at it. The caller keeps cleaners away meanwhile.
    pub(super) fn resumable(parent: &Dir, key: &str) -> Result<Option<Self>> {
        let name = format!("{PARTIAL}{key}");
        let dir = dirs::subdir(parent, &name)?;
        let lock = dirs::open(&dir, LOCK, OFlags::RDWR | OFlags::CREATE)?;
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Ok(None),
            Err(errno) => return Err(Error::io(format!("lock {name}"), errno.into())),
        }
        // Whoever had it may have removed it before letting go.
        let same = dirs::existing(parent, &name).and_then(|now| dirs::open(&now, LOCK, OFlags::RDWR));
        let inode = |file: &File| rustix::fs::fstat(file).map(|stat| stat.st_ino).ok();
        if !same.is_ok_and(|now| inode(&now) == inode(&lock)) {
            return Ok(None);
        }
        let parent = parent.try_clone().doing(|| "duplicate a directory handle".into())?;
        Ok(Some(Self { parent, name, keep: AtomicBool::new(false), dir, _lock: lock }))
    }

    /// Leaves the directory where it is when this value is dropped, for the next attempt.
    pub(super) fn keep(&self) {
        self.keep.store(true, Ordering::Relaxed);
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        if self.keep.load(Ordering::Relaxed) {
            return;
        }
        // Under its own name, another process could take it up as soon as the file that is locked is gone.
        let gone = fresh_name();
        let renamed = self.parent.rename(&self.name, &self.parent, &gone);
        if let Err(error) = renamed.and_then(|()| self.parent.remove_dir_all(&gone)) {
            tracing::warn!(name = self.name, %error, "cannot remove unfinished work; the next start will");
        }
    }
}

/// What no other has in its directory.
fn fresh_name() -> String {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let count = COUNTER.fetch_add(1, Ordering::Relaxed);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_nanos());
    format!("{}-{count}-{now:x}", std::process::id())
}

/// An unfinished import that the next attempt may take up.
pub(super) struct Partial {
    pub(super) name: String,
    /// When something happened in it last.
    modified: SystemTime,
    /// Bytes that it occupies.
    pub(super) allocated: u64,
}

/// Those that nobody is at, the oldest first. The caller keeps everybody from beginning meanwhile.
pub(super) fn partials(parent: &Dir) -> Result<Vec<Partial>> {
    let mut partials = Vec::new();
    for name in dirs::entries(parent)?.into_iter().filter(|name| name.starts_with(PARTIAL)) {
        if is_locked(parent, &name) {
            continue;
        }
        let dir = dirs::existing(parent, &name)?;
        let modified = modified(&dir).unwrap_or(UNIX_EPOCH);
        partials.push(Partial { name, modified, allocated: allocated(&dir) });
    }
    partials.sort_by_key(|partial| partial.modified);
    Ok(partials)
}

/// Removes what somebody left.
pub(super) fn remove(parent: &Dir, name: &str) -> Result<()> {
    match parent.remove_dir_all(name).or_else(|_| parent.remove_file(name)) {
        // Its owner lives after all, and is at it, too.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        removed => removed.doing(|| format!("remove tmp/{name}")),
    }
}

/// When something happened last in an unfinished import; `None` when there is nothing to take up.
fn modified(dir: &Dir) -> Option<SystemTime> {
    dirs::open(dir, JOURNAL, OFlags::RDONLY).ok()?.metadata().ok()?.modified().ok()
}

/// Bytes that the files in a directory and below it occupy, as far as they can be looked at.
fn allocated(dir: &Dir) -> u64 {
    let of = |name: &String| match dirs::existing(dir, name) {
        Ok(below) => allocated(&below),
        Err(_) => rustix::fs::statat(dir, name.as_str(), AtFlags::SYMLINK_NOFOLLOW)
            .map_or(0, |stat| stat.st_blocks.unsigned_abs().saturating_mul(512)),
    };
    dirs::entries(dir).map_or(0, |names| names.iter().map(of).sum())
}

/// Removes what dead processes left. The caller keeps everybody from beginning meanwhile.
pub(super) fn clean(parent: &Dir) -> Result<()> {
    for name in dirs::entries(parent)? {
        if is_locked(parent, &name) || is_kept(parent, &name) {
            continue;
        }
        tracing::info!(name, "removing unfinished work of a process that has died");
        remove(parent, &name)?;
    }
    Ok(())
}

/// Whether the next attempt may still take it up.
fn is_kept(parent: &Dir, name: &str) -> bool {
    if !name.starts_with(PARTIAL) {
        return false;
    }
    let Ok(dir) = dirs::existing(parent, name) else { return false };
    let Some(modified) = modified(&dir) else { return false };
    // A time in the future is as good as now.
    SystemTime::now().duration_since(modified).is_ok_and(|age| age < KEPT) || modified > SystemTime::now()
}

fn is_locked(parent: &Dir, name: &str) -> bool {
    let Ok(dir) = dirs::existing(parent, name) else { return false };
    let Ok(lock) = dirs::open(&dir, LOCK, OFlags::RDWR) else { return false };
    rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) == Err(Errno::WOULDBLOCK)
}

//! The unfinished image, and what an earlier attempt left of it.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use cap_std::fs::Dir;
use rustix::fs::{FallocateFlags, Mode, OFlags, SeekFrom};
use sha2::{Digest as _, Sha256};

use super::IMAGE;
use super::journal::{Finished, Journal};
use crate::content::{self, CHUNK};
use crate::copy::is_zero;
use crate::error::{Doing, ErrorKind, Result};
use crate::progress::Progress;
use crate::store::images::DISK;
use crate::store::temp::Temp;
use crate::store::{Store, dirs};
use crate::stream::hex;

/// Digests of the source's blocks.
const BLOCKS: &str = "blocks";

/// A place for an image in the making.
pub(super) struct Work {
    /// The directory of it all.
    pub(super) temp: Temp,
    /// What becomes the image's directory.
    pub(super) dir: Dir,
    /// The disk.
    pub(super) file: File,
    /// What an earlier attempt finished, unverified.
    pub(super) finished: Finished,
    journal: Option<Mutex<Journal>>,
}

impl Work {
    /// One that nobody can go on with.
    pub(super) fn new(store: &Store) -> Result<Self> {
        Self::at(store.temp()?)
    }

    /// One that can be gone on with: `work` describes it, with everything that decides what comes out. Somebody who is at the
    /// same work already keeps it.
    pub(super) fn resumable(store: &Store, work: &str) -> Result<Self> {
        let key = hex(&Sha256::digest(work)[..16]);
        let Some(temp) = store.resumable(&key)? else { return Self::new(store) };
        let (journal, finished) = Journal::open(&temp.dir, work)?;
        let mut this = Self::at(temp)?;
        this.journal = Some(Mutex::new(journal));
        this.finished = finished;
        Ok(this)
    }

    fn at(temp: Temp) -> Result<Self> {
        let dir = dirs::subdir(&temp.dir, IMAGE)?;
        unseal(&dir)?;
        let file = dirs::open(&dir, DISK, OFlags::RDWR | OFlags::CREATE)?;
        Ok(Self { temp, dir, file, finished: Finished::default(), journal: None })
    }

    /// A file that disappears with its last handle.
    pub(super) fn scratch(&self) -> Result<File> {
        let file = dirs::create(&self.temp.dir, "scratch")?;
        self.temp.dir.remove_file("scratch").doing(|| "unlink a scratch file".into())?;
        Ok(file)
    }

    /// Where the digests of the source's blocks are.
    pub(super) fn blocks(&self) -> Result<File> {
        dirs::open(&self.temp.dir, BLOCKS, OFlags::RDWR | OFlags::CREATE)
    }

    /// The journal, if what is done here can be resumed.
    pub(super) fn journal(&self) -> Option<MutexGuard<'_, Journal>> {
        self.journal.as_ref().map(|journal| journal.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Gives up on resuming: the source turned out not to allow it.
    pub(super) fn forget(&mut self) -> Result<()> {
        self.journal = None;
        self.finished = Finished::default();
        let _ = self.temp.dir.remove_file(crate::store::temp::JOURNAL);
        self.file.set_len(0).doing(|| "empty a file".into())
    }

    /// Starts over: what was left is not what it should be.
    pub(super) fn restart(&mut self) -> Result<()> {
        self.finished = Finished::default();
        if let Some(mut journal) = self.journal() {
            journal.restart()?;
        }
        self.blocks()?.set_len(0).doing(|| "empty a file".into())?;
        self.file.set_len(0).doing(|| "empty a file".into())
    }

    /// Keeps what is finished for the next attempt, if there is something and the same request may succeed later: the server
    /// was lost, or whoever wanted the image has gone, which is not to cost others, or the same one tomorrow, the download.
    pub(super) fn keep_for_next<T>(&self, outcome: Result<T>) -> Result<T> {
        let kept = [ErrorKind::Unavailable, ErrorKind::Cancelled];
        if outcome.as_ref().is_err_and(|error| kept.contains(&error.kind()))
            && self.journal().is_some_and(|journal| journal.is_begun())
        {
            self.temp.keep();
        }
        outcome
    }

    /// The finished chunks of `start .. end` that really are in the file; `None` when one of them is not, or when there is
    /// something where nothing was noted.
    pub(super) fn verify_range(
        &self,
        start: u64,
        end: u64,
        progress: &Progress,
    ) -> Result<Option<BTreeMap<u64, [u8; 32]>>> {
        let mut good = BTreeMap::new();
        let mut at = start;
        while at < end {
            progress.check()?;
            let noted = self.finished.chunks.get(&at);
            if !self.verify_chunk(at, noted)? {
                return Ok(None);
            }
            good.extend(noted.map(|leaf| (at, *leaf)));
            at += CHUNK;
        }
        Ok(Some(good))
    }

    /// Every finished chunk that really is in the file; the rest of the file is emptied.
    pub(super) fn verify_chunks(&self, size: u64, progress: &Progress) -> Result<BTreeMap<u64, [u8; 32]>> {
        let mut good = BTreeMap::new();
        for (start, leaf) in &self.finished.chunks {
            progress.check()?;
            if *start < size && self.verify_chunk(*start, Some(leaf))? {
                good.insert(*start, *leaf);
            }
        }
        let mut at = 0;
        for start in good.keys().copied().chain([size]) {
            if at < start && !self.clear(at, start) {
                // Old bytes could show where zeros belong.
                self.file.set_len(0).doing(|| "empty a file".into())?;
                return Ok(BTreeMap::new());
            }
            at = start + CHUNK;
        }
        Ok(good)
    }

    /// Makes `start .. end` a hole; false where the filesystem cannot.
    pub(super) fn clear(&self, start: u64, end: u64) -> bool {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        rustix::fs::fallocate(&self.file, flags, start, end.saturating_sub(start).max(1)).is_ok()
    }

    fn verify_chunk(&self, start: u64, leaf: Option<&[u8; 32]>) -> Result<bool> {
        let size = self.file.metadata().doing(|| "stat an unfinished image".into())?.len();
        let length = CHUNK.min(size.saturating_sub(start));
        let hole = match rustix::fs::seek(&self.file, SeekFrom::Data(start)) {
            Ok(data) => data >= start + length,
            Err(errno) => errno == rustix::io::Errno::NXIO,
        };
        if hole {
            return Ok(leaf.is_none());
        }
        let mut bytes = vec![0; length as usize];
        self.file.read_exact_at(&mut bytes, start).doing(|| "read an unfinished image".into())?;
        Ok(match leaf {
            Some(leaf) => content::leaf(&bytes) == *leaf,
            None => is_zero(&bytes),
        })
    }
}

/// Makes a disk writable that an attempt has sealed which was killed before it could publish it.
fn unseal(dir: &Dir) -> Result<()> {
    match dirs::open(dir, DISK, OFlags::RDONLY) {
        Ok(file) => rustix::fs::fchmod(&file, Mode::from_raw_mode(0o600))
            .doing(|| "make an unfinished image writable".into()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::{DISK, unseal};

    #[test]
    fn a_sealed_disk_is_gone_on_with() {
        let tmp = tempfile::tempdir().unwrap();
        let dir = cap_std::fs::Dir::open_ambient_dir(tmp.path(), cap_std::ambient_authority()).unwrap();
        unseal(&dir).unwrap();
        let path = tmp.path().join(DISK);
        std::fs::write(&path, b"complete").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o400)).unwrap();
        unseal(&dir).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read(&path).unwrap(), b"complete");
    }
}

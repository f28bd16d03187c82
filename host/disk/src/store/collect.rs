//! Removing images that nobody needs any more, and unfinished work that nobody took up again.
//!
//! `images/<digest>/used` is empty; its modification time says when the image was last opened. Opening one sets it under the
//! store's shared lock, and an image is removed under the exclusive one, after another look: so a machine that is being
//! made over an image while others are removed either finds it gone before it has begun, or keeps it.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{FlockOperation, OFlags, Timespec, Timestamps};
use serde::Serialize;
use witvirt_core::{Digest, Name};

use super::images::names_of;
use super::{Store, dirs, temp};
use crate::error::{Doing, Result};
use crate::record::{ImageRecord, ImageState, ImageSummary};

const USED: &str = "used";

/// How often the filesystem is asked whether it has the space that removed files occupied, and how long apart: XFS frees in
/// the background, and what is late must not cost another image.
const LOOKS: u32 = 10;
const LOOK: Duration = Duration::from_millis(100);

/// What to remove.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CollectRules {
    /// Only images that were not opened for so long.
    pub unused_for: Duration,
    /// Only as much as it takes to have so many bytes free on the store's filesystem, least recently used first, after what
    /// is left of imports that were cut off; `None`: everything that may go.
    pub keep_free: Option<u64>,
    /// Images that have a name, too.
    pub named: bool,
    /// Only say what would be removed.
    pub dry_run: bool,
}

/// An image that was removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Collected {
    /// Its digest.
    pub digest: Digest,
    /// The names that it had.
    pub names: Vec<Name>,
    /// Bytes that it occupied.
    pub allocated: u64,
    /// When it was last opened, or imported: seconds since 1970.
    pub last_used: u64,
}

/// What was free when a collection began, and what it has freed since by the records, in bytes.
struct Goal {
    before: u64,
    freed: u64,
}

impl Store {
    /// Removes unfinished work of the dead that is too old to be taken up, and arriving images that nobody waits for.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn tidy(&self) -> Result<()> {
        {
            let _lock = self.lock(FlockOperation::LockExclusive)?;
            temp::clean(&self.tmp)?;
        }
        dirs::entries(&self.lazy_root()?)?.iter().try_for_each(|id| self.remove_lazy(id, None))
    }

    /// Removes images by age and free space, never one that a disk lies over, and none that `in_use` names: those that
    /// machines will be made of.
    ///
    /// # Errors
    /// When it cannot be found out what is in use, or the store cannot be read; what was removed before stays removed.
    pub fn collect(
        &self,
        rules: &CollectRules,
        in_use: impl FnOnce() -> Result<BTreeSet<Digest>>,
    ) -> Result<Vec<Collected>> {
        // Taken before the users are listed: who begins to use an image after this sets a later time.
        let began = SystemTime::now();
        let in_use = in_use()?;
        if !rules.dry_run {
            self.tidy()?;
        }
        let mut candidates = self.candidates(rules, &in_use, began)?;
        candidates.sort_by_key(|(used, _)| *used);
        let mut goal = Goal { before: self.free_space()?, freed: 0 };
        self.free_partials(rules, &mut goal)?;
        let mut collected = Vec::new();
        for (used, mut image) in candidates {
            if self.is_enough(rules, &goal)? {
                break;
            }
            if !rules.dry_run {
                let Some(names) = self.remove_unused(&image, rules, began)? else { continue };
                image.names = names;
            }
            let allocated = image.record.as_ref().map_or(0, occupied);
            goal.freed = goal.freed.saturating_add(allocated);
            collected.push(Collected {
                digest: image.digest,
                names: image.names,
                allocated,
                last_used: seconds(used),
            });
        }
        Ok(collected)
    }

    /// Whether there is as much free as the rules want. The filesystem knows, since blocks may be shared with others; a
    /// dry run has to believe the records.
    fn is_enough(&self, rules: &CollectRules, goal: &Goal) -> Result<bool> {
        let Some(wanted) = rules.keep_free else { return Ok(false) };
        let expected = goal.before.saturating_add(goal.freed) >= wanted;
        if rules.dry_run {
            return Ok(expected);
        }
        let mut looks = if expected { LOOKS } else { 1 };
        loop {
            looks -= 1;
            let enough = self.free_space()? >= wanted;
            if enough || looks == 0 {
                return Ok(enough);
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Removes what is left of imports that were cut off, oldest first, where space is wanted: it can be fetched again, and
    /// nobody runs from it.
    fn free_partials(&self, rules: &CollectRules, goal: &mut Goal) -> Result<()> {
        if rules.keep_free.is_none() {
            return Ok(());
        }
        let _lock = self.lock(FlockOperation::LockExclusive)?;
        for partial in temp::partials(&self.tmp)? {
            if self.is_enough(rules, goal)? {
                break;
            }
            if !rules.dry_run {
                tracing::info!(
                    partial.name,
                    partial.allocated,
                    "removing an unfinished import: space is wanted"
                );
                temp::remove(&self.tmp, &partial.name)?;
            }
            goal.freed = goal.freed.saturating_add(partial.allocated);
        }
        Ok(())
    }

    fn candidates(
        &self,
        rules: &CollectRules,
        in_use: &BTreeSet<Digest>,
        now: SystemTime,
    ) -> Result<Vec<(SystemTime, ImageSummary)>> {
        let mut candidates = Vec::new();
        for image in self.list()? {
            let quarantined = matches!(image.state, ImageState::Quarantined(_));
            if quarantined || in_use.contains(&image.digest) || (!rules.named && !image.names.is_empty()) {
                continue;
            }
            let used = self.last_used(&image)?;
            let old = now.duration_since(used).unwrap_or_default() >= rules.unused_for;
            if old && self.users(&image.digest)?.is_empty() {
                candidates.push((used, image));
            }
        }
        Ok(candidates)
    }

    /// Removes an image unless it was opened after `began`, or somebody has made a disk over it or given it a name since;
    /// returns the names that it had.
    fn remove_unused(
        &self,
        image: &ImageSummary,
        rules: &CollectRules,
        began: SystemTime,
    ) -> Result<Option<Vec<Name>>> {
        let temp = self.temp()?;
        let _lock = self.lock(FlockOperation::LockExclusive)?;
        if !self.images.exists(image.digest.hex()) || self.last_used(image)? >= began {
            return Ok(None);
        }
        let names = names_of(&image.digest, &self.all_names()?);
        if (!rules.named && !names.is_empty()) || !self.users_now(&image.digest)?.is_empty() {
            return Ok(None);
        }
        for name in &names {
            self.remove_name(name)?;
        }
        self.set_aside(&image.digest, &temp)?;
        self.forget_users(&image.digest)?;
        Ok(Some(names))
    }

    /// Remembers that an image is used now. The caller holds the store's lock, shared or not.
    pub(super) fn touch(&self, digest: &Digest) -> Result<()> {
        let dir = dirs::existing(&self.images, &digest.hex())?;
        let file = dirs::open(&dir, USED, OFlags::RDWR | OFlags::CREATE)?;
        // Not UTIME_NOW: the kernel's clock for files lags behind the one that `collect` compares with.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = Timespec { tv_sec: now.as_secs().cast_signed(), tv_nsec: i64::from(now.subsec_nanos()) };
        rustix::fs::futimens(&file, &Timestamps { last_access: now, last_modification: now })
            .doing(|| format!("note the use of image {digest}"))
    }

    fn last_used(&self, image: &ImageSummary) -> Result<SystemTime> {
        let imported = image.record.as_ref().map_or(0, |record| record.created);
        let imported = UNIX_EPOCH + Duration::from_secs(imported);
        let dir = dirs::existing(&self.images, &image.digest.hex())?;
        let Ok(file) = dirs::open(&dir, USED, OFlags::RDONLY) else { return Ok(imported) };
        let used = file.metadata().and_then(|metadata| metadata.modified());
        Ok(used.doing(|| format!("look when image {} was used", image.digest))?.max(imported))
    }

    /// Bytes that are free where the images are.
    fn free_space(&self) -> Result<u64> {
        let dir = dirs::subdir(&self.dir, "images")?;
        let stat = rustix::fs::fstatvfs(&dir).doing(|| "look for free space".into())?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

/// Bytes that an image's disk and files occupy.
fn occupied(record: &ImageRecord) -> u64 {
    let files: std::collections::BTreeMap<Digest, u64> =
        record.origins().flat_map(|origin| &origin.files).map(|file| (file.digest, file.size)).collect();
    record.allocated + files.values().sum::<u64>()
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

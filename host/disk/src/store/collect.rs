//! Removing images that nobody needs any more.
//!
//! `images/<digest>/used` is empty; its modification time says when the image was last opened. Opening one sets it under the
//! store's shared lock, and an image is removed under the exclusive one, after another look: so a machine that is being
//! made over an image while others are removed either finds it gone before it has begun, or keeps it.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{FlockOperation, OFlags, Timespec, Timestamps};
use serde::Serialize;
use witvirt_core::{Digest, Name};

use super::{Store, dirs};
use crate::error::{Doing, Result};
use crate::record::{ImageRecord, ImageState, ImageSummary};

const USED: &str = "used";

/// What to remove.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CollectRules {
    /// Only images that were not opened for so long.
    pub unused_for: Duration,
    /// Only as much as it takes to have so many bytes free on the store's filesystem, least recently used first; `None`:
    /// everything that may go.
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

impl Store {
    /// Removes images by age and free space, never one that `in_use` names: the images below the disks of machines, and
    /// those that machines will be made of.
    ///
    /// # Errors
    /// When the store cannot be read; what was removed before stays removed.
    pub fn collect(
        &self,
        rules: &CollectRules,
        in_use: impl FnOnce() -> Result<BTreeSet<Digest>>,
    ) -> Result<Vec<Collected>> {
        // Taken before the users are listed: who begins to use an image after this sets a later time.
        let began = SystemTime::now();
        let in_use = in_use()?;
        let mut candidates = self.candidates(rules, &in_use, began)?;
        candidates.sort_by_key(|(used, _)| *used);
        let mut missing = match rules.keep_free {
            Some(wanted) => wanted.saturating_sub(self.free_space()?),
            None => u64::MAX,
        };
        let mut collected = Vec::new();
        for (used, image) in candidates {
            if missing == 0 {
                break;
            }
            if !rules.dry_run && !self.remove_unused(&image, began)? {
                continue;
            }
            let allocated = image.record.as_ref().map_or(0, occupied);
            missing = missing.saturating_sub(allocated);
            collected.push(Collected {
                digest: image.digest,
                names: image.names,
                allocated,
                last_used: seconds(used),
            });
        }
        Ok(collected)
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
            if now.duration_since(used).unwrap_or_default() >= rules.unused_for {
                candidates.push((used, image));
            }
        }
        Ok(candidates)
    }

    /// Removes an image unless it was opened after `began`; says whether it did.
    fn remove_unused(&self, image: &ImageSummary, began: SystemTime) -> Result<bool> {
        let temp = self.temp()?;
        let _lock = self.lock(FlockOperation::LockExclusive)?;
        if !self.images.exists(image.digest.hex()) || self.last_used(image)? >= began {
            return Ok(false);
        }
        for name in &image.names {
            if self.named(name)? == Some(image.digest) {
                self.remove_name(name)?;
            }
        }
        self.set_aside(&image.digest, &temp)?;
        Ok(true)
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

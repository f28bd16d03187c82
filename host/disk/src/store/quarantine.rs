//! Images whose stored file is no longer what was imported: out of the way of every machine, but not thrown away.
//!
//! `quarantine/<digest>/` is the image's directory as it was, `reason` in it says when and why. The names stay: they find the
//! image again once it has been imported anew.

use std::fs::File;

use rustix::fs::FlockOperation;
use witvirt_core::Digest;

use super::images::RECORD;
use super::{Store, dirs, now};
use crate::error::{Doing, Error, ErrorKind, Result};
use crate::import_source::ImportSource;
use crate::progress::Progress;
use crate::record::ImageRecord;
use crate::request::{Access, ImportRequest, Imported};
use crate::source::unshow;
use crate::stream::Unpack;

const REASON: &str = "reason";

impl Store {
    /// Takes an altered image, the open file `altered`, out of the store; machines that run over it keep their open files.
    /// False when somebody else has done so, and maybe imported it again: a good image is not touched.
    pub(super) fn quarantine(&self, digest: &Digest, altered: &File, reason: &str) -> Result<bool> {
        let temp = self.temp()?;
        let _lock = self.lock(FlockOperation::LockExclusive)?;
        if !self.is_current(digest, altered)? {
            return Ok(false);
        }
        let hex = digest.hex();
        let dir = dirs::existing(&self.images, &hex)?;
        dirs::write(&dir, REASON, format!("{}\n{reason}\n", now()).as_bytes())?;
        // The older of two is of no use to anybody.
        if self.quarantined.exists(&hex) {
            self.quarantined.rename(&hex, &temp.dir, "replaced").doing(|| format!("clear image {digest}"))?;
        }
        self.images.rename(&hex, &self.quarantined, &hex).doing(|| format!("set image {digest} aside"))?;
        dirs::sync(&self.quarantined)?;
        dirs::sync(&self.images)?;
        Ok(true)
    }

    /// What is known of an image in quarantine: its record, and why it is there. `None` when it is not.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn quarantined(&self, digest: &Digest) -> Result<Option<(ImageRecord, String)>> {
        let dir = match dirs::existing(&self.quarantined, &digest.hex()) {
            Ok(dir) => dir,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let bad =
            |why: String| Error::new(ErrorKind::Corrupt, format!("quarantine/{digest}/{RECORD}: {why}"));
        let record = serde_json::from_slice(&dirs::read(&dir, RECORD)?).map_err(|e| bad(e.to_string()))?;
        let text = String::from_utf8_lossy(&dirs::read(&dir, REASON)?).into_owned();
        let reason = text.lines().nth(1).unwrap_or("unknown").to_owned();
        Ok(Some((record, reason)))
    }

    /// Imports an image in quarantine again from a local file that it came from, the last one first.
    ///
    /// # Errors
    /// `Unsupported` when it came from elsewhere only; `Changed` when the last file that could be read holds another disk by
    /// now, which is not kept; whatever importing it reports.
    pub fn restore(&self, access: Access<'_>, digest: &Digest, progress: &Progress) -> Result<Imported> {
        let Some((record, _)) = self.quarantined(digest)? else {
            return Err(Error::new(ErrorKind::NotFound, format!("image {digest} is not in quarantine")));
        };
        let message = format!("image {digest} did not come from a file of this host");
        let mut failed = Error::new(ErrorKind::Unsupported, message);
        for origin in record.origins().rev().filter(|origin| origin.source.path.starts_with('/')) {
            let mut request = ImportRequest::of(ImportSource::File(unshow(&origin.source.path)));
            request.reading.format = Some(origin.source.format.clone());
            // As it was found out then, or stated: not all of it can be found out again.
            request.reading.member.clone_from(&origin.member);
            request.reading.unpack = Unpack::Stated(origin.transport.clone());
            let imported = self.import(access, &request, progress);
            match imported.and_then(|imported| self.accept_restored(digest, imported)) {
                Ok(imported) => return Ok(imported),
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }

    /// Checks that what was imported again is what was lost, and forgets the altered one.
    ///
    /// # Errors
    /// `Changed` when it is another disk; it is removed again unless the store had it before.
    pub fn accept_restored(&self, digest: &Digest, imported: Imported) -> Result<Imported> {
        let actual = imported.record.digest;
        if actual != *digest {
            if !imported.existed {
                self.remove(&actual.hex(), &[], false)?;
            }
            let message = format!(
                "image {digest} was altered on disk, and its source {} holds another disk by now ({actual})",
                imported.record.origin.source.path
            );
            return Err(Error::new(ErrorKind::Changed, message));
        }
        let temp = self.temp()?;
        let _lock = self.lock(FlockOperation::LockExclusive)?;
        let hex = digest.hex();
        if self.quarantined.exists(&hex) {
            self.quarantined.rename(&hex, &temp.dir, "restored").doing(|| format!("clear image {digest}"))?;
            dirs::sync(&self.quarantined)?;
        }
        Ok(imported)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{OpenOptions, Permissions, set_permissions};
    use std::os::unix::fs::{FileExt, PermissionsExt};
    use std::sync::Arc;

    use witvirt_core::format::{Format, Formats};

    use crate::store::{Store, StoreOptions};
    use crate::{
        Access, AllowedDirs, ErrorKind, ImageState, ImportRequest, ImportSource, Imported, Progress, Upload,
    };

    struct Nothing;

    impl Formats for Nothing {
        fn all(&self) -> Vec<Arc<dyn Format>> {
            Vec::new()
        }
    }

    fn import(store: &Store) -> Imported {
        let allowed = AllowedDirs::default();
        let access = Access { formats: &Nothing, allowed: &allowed, references: &allowed };
        let bytes = std::io::Cursor::new(vec![7; 1 << 20]);
        let mut request = ImportRequest::of(ImportSource::Upload(Upload::new("-", None, bytes)));
        request.reading.format = Some("raw".into());
        store.import(access, &request, &Progress::new()).unwrap()
    }

    /// Two starts that have both seen the altered file: whoever comes late does no harm.
    #[test]
    fn only_the_file_that_was_hashed_is_set_aside_or_sealed() {
        let tmp = tempfile::tempdir().unwrap();
        let store = Store::open(&tmp.path().join("store"), StoreOptions::default()).unwrap();
        let digest = import(&store).record.digest;
        let (file, record) = store.open_image(&digest).unwrap();
        let path = tmp.path().join("store/images").join(digest.hex()).join("disk.raw");
        set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        let altered = OpenOptions::new().write(true).open(&path).unwrap();
        altered.write_all_at(b"altered", 5000).unwrap();
        store.base(&digest, &Progress::new()).unwrap_err();
        // The late one finds it gone, looks again, and is told why.
        assert!(store.rehash(&file, record.clone(), &Progress::new()).unwrap().is_none());
        assert_eq!(store.base(&digest, &Progress::new()).unwrap_err().kind(), ErrorKind::Changed);
        // Or finds a good one in its place.
        assert!(!import(&store).existed);
        assert!(store.rehash(&file, record.clone(), &Progress::new()).unwrap().is_none());
        assert_eq!(store.inspect(&digest.hex()).unwrap().state, ImageState::Ready);
        // The seal of a file that was only touched is not written into the record of another.
        altered.write_all_at(&[7; 7], 5000).unwrap();
        store.rehash(&file, record, &Progress::new()).unwrap().unwrap();
        assert_eq!(store.inspect(&digest.hex()).unwrap().state, ImageState::Ready);
    }
}

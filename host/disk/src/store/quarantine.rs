//! Images whose stored file is no longer what was imported: out of the way of every machine, but not thrown away.
//!
//! `quarantine/<digest>/` is the image's directory as it was, `reason` in it says when and why. The names stay: they find the
//! image again once it has been imported anew.

use rustix::fs::FlockOperation;
use witvirt_core::Digest;

use super::images::RECORD;
use super::{Store, dirs, now};
use crate::error::{Doing, Error, ErrorKind, Result};
use crate::progress::Progress;
use crate::record::ImageRecord;
use crate::request::{Access, ImportRequest, Imported, SourceFile};

const REASON: &str = "reason";

impl Store {
    /// Takes an altered image out of the store; machines that run over it keep their open files.
    pub(super) fn quarantine(&self, digest: &Digest, reason: &str) -> Result<()> {
        let temp = self.temp()?;
        let _lock = self.lock(FlockOperation::LockExclusive)?;
        let hex = digest.hex();
        let dir = dirs::existing(&self.images, &hex)?;
        dirs::write(&dir, REASON, format!("{}\n{reason}\n", now()).as_bytes())?;
        // The older of two is of no use to anybody.
        if self.quarantined.exists(&hex) {
            self.quarantined.rename(&hex, &temp.dir, "replaced").doing(|| format!("clear image {digest}"))?;
        }
        self.images.rename(&hex, &self.quarantined, &hex).doing(|| format!("set image {digest} aside"))?;
        dirs::sync(&self.quarantined)?;
        dirs::sync(&self.images)
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
            let file = SourceFile::new(&origin.source.path).with_format(&origin.source.format);
            let mut request = ImportRequest::new(file);
            request.reading.member.clone_from(&origin.member);
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

//! Files that came with images, for those who give them back.

use std::collections::BTreeMap;
use std::fs::File;

use rustix::fs::{FlockOperation, OFlags};
use witvirt_core::Digest;

use super::images::FILES;
use super::{Store, dirs, import};
use crate::error::{Error, ErrorKind, Result};
use crate::progress::Progress;
use crate::record::{ImageRecord, KeptFile, Seal};

impl Store {
    /// Opens the file of a role that came with an image last, after a look at its seal; one that was touched is hashed again
    /// first.
    ///
    /// # Errors
    /// `NotFound`, with the roles that there are; `Changed` when the content is no longer what it was imported as: the image
    /// is in quarantine then, as with an altered disk.
    pub fn kept_file(&self, reference: &str, role: &str) -> Result<(File, KeptFile)> {
        let digest = self.resolve(reference)?;
        let (_, record) = self.open_image(&digest)?;
        let kept = record.file(role).cloned().ok_or_else(|| no_file(&digest, role, &record))?;
        Ok((self.open_kept(&digest, &kept, false)?, kept))
    }

    /// Hashes all files of an image again.
    pub(super) fn verify_files(&self, record: &ImageRecord, progress: &Progress) -> Result<()> {
        let files = record.origins().flat_map(|origin| &origin.files);
        let unique: BTreeMap<Digest, &KeptFile> = files.map(|file| (file.digest, file)).collect();
        for kept in unique.into_values() {
            progress.check()?;
            self.open_kept(&record.digest, kept, true)?;
        }
        Ok(())
    }

    /// `hash`: also where the seal is as it was.
    fn open_kept(&self, digest: &Digest, kept: &KeptFile, hash: bool) -> Result<File> {
        let role = &kept.role;
        let open = || {
            let dir = dirs::existing(&dirs::existing(&self.images, &digest.hex())?, FILES)?;
            dirs::open(&dir, &kept.digest.hex(), OFlags::RDONLY)
        };
        let file = match open() {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound && self.images.exists(digest.hex()) => {
                return Err(self.altered(digest, &format!("its {role} was removed from the disk"))?);
            }
            Err(error) => return Err(error.during(format!("image {digest}: its {role}"))),
        };
        let seal = Seal::of(&file)?;
        if seal == kept.seal && !hash {
            return Ok(file);
        }
        let actual = import::hash_file(&file)?;
        if actual != kept.digest {
            let reason = format!("its {role} was altered on disk and hashes to {actual}");
            return Err(self.altered(digest, &reason)?);
        }
        if seal != kept.seal {
            let _lock = self.lock(FlockOperation::LockExclusive)?;
            let mut record = self.read_record(digest)?;
            record.seal_file(kept.digest, seal);
            self.write_record(&dirs::existing(&self.images, &digest.hex())?, &record)?;
        }
        Ok(file)
    }

    /// Sets an image aside, and tells why.
    fn altered(&self, digest: &Digest, reason: &str) -> Result<Error> {
        let (disk, record) = self.open_image(digest)?;
        let from = record.origin.source.path;
        self.quarantine(digest, &disk, reason)?;
        let message = format!("image {digest}: {reason}: it is in quarantine, import it again from {from}");
        Ok(Error::new(ErrorKind::Changed, message))
    }
}

fn no_file(digest: &Digest, role: &str, record: &ImageRecord) -> Error {
    let roles = record.roles().join(", ");
    let there = if roles.is_empty() { "none at all".to_owned() } else { roles };
    let message = format!(
        "image {} has no file of the role \"{}\"; there are: {there}",
        digest.short(),
        role.escape_debug()
    );
    Error::new(ErrorKind::NotFound, message)
}

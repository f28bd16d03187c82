//! Names, listing, removal and the integrity of stored images.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{FlockOperation, OFlags};
use witvirt_core::{Digest, Name};

use super::temp::Temp;
use super::{Store, dirs};
use crate::content;
use crate::error::{Doing, Error, ErrorKind, Result};
use crate::map::{Stored, StoredImages};
use crate::progress::Progress;
use crate::record::{ImageRecord, ImageState, ImageSummary, Origin, Seal};
use crate::request::Removed;
use crate::source::{FileSource, Source};

pub(super) const DISK: &str = "disk.raw";
pub(super) const RECORD: &str = "image.json";
pub(super) const FILES: &str = "files";

/// What an image that is taken out of the store is called in the work that takes it along.
pub(super) const REMOVED: &str = "removed";

/// Fewest digits of a digest that stand for it.
const SHORTEST: usize = 12;

/// How often an image is hashed again because another process exchanged it meanwhile.
const TRIES: usize = 3;

impl Store {
    /// Every image, named ones first, in the order of their names.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn list(&self) -> Result<Vec<ImageSummary>> {
        let names = self.all_names()?;
        let mut images: Vec<ImageSummary> =
            self.digests()?.into_iter().map(|digest| self.summary(digest, &names)).collect();
        images.sort_by_key(|image| (image.names.is_empty(), image.names.clone(), image.digest));
        Ok(images)
    }

    /// One image by name, digest or the first 12 or more digits of one.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn inspect(&self, reference: &str) -> Result<ImageSummary> {
        let digest = self.resolve(reference)?;
        Ok(self.summary(digest, &self.all_names()?))
    }

    /// The digest of an image by name, digest or the first 12 or more digits of one.
    ///
    /// # Errors
    /// `NotFound`; `InvalidInput` when the digits fit several.
    pub fn resolve(&self, reference: &str) -> Result<Digest> {
        if let Ok(name) = Name::new(reference)
            && let Some(digest) = self.named(&name)?
        {
            return Ok(digest);
        }
        let digits = reference.strip_prefix("sha256:").unwrap_or(reference).to_ascii_lowercase();
        let hexadecimal = digits.len() >= SHORTEST && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        let mut found = self.digests()?;
        found.retain(|digest| hexadecimal && digest.hex().starts_with(&digits));
        match (found.pop(), found.is_empty()) {
            (Some(digest), true) => Ok(digest),
            (Some(_), false) => {
                let message =
                    format!("\"{}\" fits several images: give more digits", reference.escape_debug());
                Err(Error::new(ErrorKind::InvalidInput, message))
            }
            (None, _) => {
                let message = format!("there is no image \"{}\" in the store", reference.escape_debug());
                Err(Error::new(ErrorKind::NotFound, message))
            }
        }
    }

    /// Gives an image a (further) name.
    ///
    /// # Errors
    /// `AlreadyExists` when another image has it and `replace` is false; `NotFound`.
    pub fn tag(&self, reference: &str, name: &Name, replace: bool) -> Result<()> {
        let _lock = self.lock(FlockOperation::LockExclusive)?;
        let digest = self.resolve(reference)?;
        self.check_name(name, Some(&digest), replace)?;
        if self.images.exists(digest.hex()) {
            self.touch(&digest)?;
        }
        self.set_name(name, &digest)
    }

    /// Removes a name, and the image with its last name; by digest, the image and all its names. The disks over it are
    /// known here; `users` are who will need it besides. They are only heeded when its content would go.
    ///
    /// # Errors
    /// `InUse` when there are users and `force` is false; `NotFound`.
    pub fn remove(&self, reference: &str, users: &[String], force: bool) -> Result<Removed> {
        let temp = self.temp()?;
        let _lock = self.lock(FlockOperation::LockExclusive)?;
        let digest = self.resolve(reference)?;
        let names = names_of(&digest, &self.all_names()?);
        if let Some(only) = names.iter().find(|name| name.as_str() == reference).cloned()
            && names.len() > 1
        {
            self.remove_name(&only)?;
            return Ok(Removed { names: vec![only], image: None });
        }
        if !force {
            let disks = self.users_now(&digest)?;
            let users: Vec<String> =
                users.iter().cloned().chain(disks.iter().map(ToString::to_string)).collect();
            if users.is_empty() {
                return self.remove_all(digest, names, &temp);
            }
            let message = format!("image {reference} is used by {}: remove them first", users.join(", "));
            return Err(Error::new(ErrorKind::InUse, message));
        }
        self.remove_all(digest, names, &temp)
    }

    fn remove_all(&self, digest: Digest, mut names: Vec<Name>, temp: &Temp) -> Result<Removed> {
        for name in &names {
            self.remove_name(name)?;
        }
        self.set_aside(&digest, temp)?;
        self.forget_users(&digest)?;
        names.sort();
        Ok(Removed { names, image: Some(digest) })
    }

    /// Hashes an image again; seals it anew when it is as it was.
    ///
    /// # Errors
    /// `Changed` when the content is another one.
    pub fn verify(&self, reference: &str, progress: &Progress) -> Result<Digest> {
        let digest = self.resolve(reference)?;
        for _ in 0..TRIES {
            let (file, record) = self.open_image(&digest)?;
            if let Some(record) = self.rehash(&file, record, progress)? {
                self.verify_files(&record, progress)?;
                return Ok(digest);
            }
        }
        Err(restless(&digest))
    }

    /// Opens an image's disk for reading, after a look at its seal; one that was touched is hashed again first.
    ///
    /// # Errors
    /// `NotFound`; `Changed` when the content is no longer what it was imported as.
    pub fn base(&self, digest: &Digest, progress: &Progress) -> Result<(File, ImageRecord)> {
        for _ in 0..TRIES {
            let (file, record) = {
                let _lock = self.lock(FlockOperation::LockShared)?;
                let opened = self.open_image(digest)?;
                self.touch(digest)?;
                opened
            };
            if Seal::of(&file)? == record.seal {
                return Ok((file, record));
            }
            tracing::warn!(image = %digest, "the stored file was touched since it was sealed; hashing it again");
            if let Some(record) = self.rehash(&file, record, progress)? {
                return Ok((file, record));
            }
        }
        Err(restless(digest))
    }

    /// Hashes an open image and seals it anew; `None` when it was altered, and another one has its place by now.
    pub(super) fn rehash(
        &self,
        file: &File,
        mut record: ImageRecord,
        progress: &Progress,
    ) -> Result<Option<ImageRecord>> {
        let digest = record.digest;
        let seal = Seal::of(file)?;
        let source = FileSource::unlocked(duplicate(file)?, &format!("image {}", digest.short()))?;
        let actual = content::digest(&source, self.threads, progress)?;
        source.verify_unchanged()?;
        if actual != digest {
            let reason = format!("it was altered on disk and hashes to {actual}");
            if !self.quarantine(&digest, file, &reason)? {
                return Ok(None);
            }
            let message = format!(
                "image {digest} was altered on disk, it hashes to {actual} now: it is in quarantine, import it again from {}",
                record.origin.source.path
            );
            return Err(Error::new(ErrorKind::Changed, message));
        }
        if seal != record.seal {
            let _lock = self.lock(FlockOperation::LockExclusive)?;
            if self.is_current(&digest, file)? {
                // Meanwhile it may have got further origins.
                record = self.read_record(&digest)?;
                record.seal = seal;
                self.write_record(&dirs::existing(&self.images, &digest.hex())?, &record)?;
            }
        }
        Ok(Some(record))
    }

    /// Whether an open file still is the one that the store has of an image. The caller holds the store's lock.
    pub(super) fn is_current(&self, digest: &Digest, file: &File) -> Result<bool> {
        let now = dirs::existing(&self.images, &digest.hex())
            .and_then(|dir| dirs::open(&dir, DISK, OFlags::RDONLY));
        match now {
            Ok(now) => Ok(Seal::of(&now)?.inode == Seal::of(file)?.inode),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    pub(super) fn open_image(&self, digest: &Digest) -> Result<(File, ImageRecord)> {
        let missing = |error: Error| match error.kind() {
            ErrorKind::NotFound => match self.quarantined(digest) {
                Ok(Some((record, reason))) => {
                    let from = record.origin.source.path;
                    let message =
                        format!("image {digest} is in quarantine ({reason}): import it again from {from}");
                    Error::new(ErrorKind::Changed, message)
                }
                _ => Error::new(ErrorKind::NotFound, format!("there is no image {digest} in the store")),
            },
            _ => error.during(format!("image {digest}")),
        };
        let dir = dirs::existing(&self.images, &digest.hex()).map_err(missing)?;
        let broken = |error: Error| error.during(format!("image {digest} is broken"));
        let record = self.read_record(digest).map_err(broken)?;
        let file = dirs::open(&dir, DISK, OFlags::RDONLY).map_err(broken)?;
        Ok((file, record))
    }

    fn summary(&self, digest: Digest, names: &BTreeMap<Name, Digest>) -> ImageSummary {
        let names = names_of(&digest, names);
        match self.open_image(&digest) {
            Err(error) => match self.quarantined(&digest) {
                Ok(Some((record, reason))) if !self.images.exists(digest.hex()) => ImageSummary {
                    digest,
                    names,
                    state: ImageState::Quarantined(reason),
                    record: Some(record),
                },
                _ => {
                    ImageSummary { digest, names, state: ImageState::Broken(error.to_string()), record: None }
                }
            },
            Ok((file, record)) => {
                let state = match Seal::of(&file) {
                    Ok(seal) if seal == record.seal => ImageState::Ready,
                    Ok(_) => ImageState::Altered("its file was touched since it was sealed".into()),
                    Err(error) => ImageState::Broken(error.to_string()),
                };
                ImageSummary { digest, names, state, record: Some(record) }
            }
        }
    }

    pub(super) fn read_record(&self, digest: &Digest) -> Result<ImageRecord> {
        let dir = dirs::existing(&self.images, &digest.hex())?;
        let bad =
            |why: String| Error::new(ErrorKind::Corrupt, format!("images/{}/{RECORD}: {why}", digest.hex()));
        let record: ImageRecord =
            serde_json::from_slice(&dirs::read(&dir, RECORD)?).map_err(|error| bad(error.to_string()))?;
        if record.schema != 1 {
            return Err(bad(format!("revision {} is newer than this program", record.schema)));
        }
        if record.digest != *digest {
            return Err(bad(format!("it is of image {}", record.digest)));
        }
        Ok(record)
    }

    /// Of its origins, as many of the last ones are written as a file that is read again can hold.
    pub(super) fn write_record(&self, dir: &cap_std::fs::Dir, record: &ImageRecord) -> Result<()> {
        let mut record = record.clone();
        loop {
            let json = serde_json::to_vec_pretty(&record).map_err(|error| {
                Error::new(ErrorKind::InvalidInput, format!("cannot write {RECORD}: {error}"))
            })?;
            if json.len() as u64 <= dirs::MAX_JSON || record.others.is_empty() {
                return dirs::write(dir, RECORD, &json);
            }
            record.others.remove(0);
        }
    }

    /// Takes an image out of the store in one step; the caller's directory takes it along when it is dropped.
    pub(super) fn set_aside(&self, digest: &Digest, temp: &Temp) -> Result<()> {
        let hex = digest.hex();
        let home = if self.images.exists(&hex) { &self.images } else { &self.quarantined };
        home.rename(&hex, &temp.dir, REMOVED).doing(|| format!("remove image {digest}"))?;
        dirs::sync(home)
    }

    /// Of the images and of those in quarantine.
    pub(super) fn digests(&self) -> Result<Vec<Digest>> {
        let mut names = dirs::entries(&self.images)?;
        names.extend(dirs::entries(&self.quarantined)?);
        names.sort();
        names.dedup();
        Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
    }

    /// Refuses a name that belongs to another image than `digest`.
    pub(super) fn check_name(&self, name: &Name, digest: Option<&Digest>, replace: bool) -> Result<()> {
        match self.named(name)? {
            Some(owner) if Some(&owner) != digest && !replace => {
                let message = format!("the name {name} belongs to image {} already", owner.short());
                Err(Error::new(ErrorKind::AlreadyExists, message))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn set_name(&self, name: &Name, digest: &Digest) -> Result<()> {
        dirs::write(&self.names, name.as_str(), format!("{digest}\n").as_bytes())
    }

    pub(super) fn remove_name(&self, name: &Name) -> Result<()> {
        self.names.remove_file(name.as_str()).doing(|| format!("remove the name {name}"))?;
        dirs::sync(&self.names)
    }

    /// Whether no image has the name.
    ///
    /// # Errors
    /// When that cannot be read.
    pub fn is_free(&self, name: &Name) -> Result<bool> {
        Ok(self.named(name)?.is_none())
    }

    pub(super) fn named(&self, name: &Name) -> Result<Option<Digest>> {
        match dirs::read(&self.names, name.as_str()) {
            Ok(bytes) => {
                let text = String::from_utf8_lossy(&bytes);
                let bad = |_| {
                    Error::new(ErrorKind::Corrupt, format!("names/{name} does not hold a digest: remove it"))
                };
                text.trim_end().parse().map(Some).map_err(bad)
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A name whose file is damaged is left out: it must not keep the others from being seen.
    pub(super) fn all_names(&self) -> Result<BTreeMap<Name, Digest>> {
        let names: BTreeSet<Name> =
            dirs::entries(&self.names)?.into_iter().filter_map(|name| Name::new(name).ok()).collect();
        let mut known = BTreeMap::new();
        for name in names {
            match self.named(&name) {
                Ok(Some(digest)) => drop(known.insert(name, digest)),
                Ok(None) => {}
                Err(error) => tracing::warn!(%name, %error, "ignoring a name"),
            }
        }
        Ok(known)
    }

    /// Removes the halves of names that were being written.
    pub(super) fn clean_names(&self) -> Result<()> {
        for name in dirs::entries(&self.names)?.iter().filter(|name| name.starts_with('.')) {
            self.names.remove_file(name).doing(|| format!("remove names/{name}"))?;
        }
        Ok(())
    }
}

impl StoredImages for Store {
    fn at(&self, path: &Path) -> Option<Result<Arc<dyn Source>>> {
        let below = path.strip_prefix(&self.path).ok()?.strip_prefix("images").ok()?;
        let mut parts = below.components().map(|part| part.as_os_str().to_str());
        let (Some(Some(hex)), Some(Some(DISK)), None) = (parts.next(), parts.next(), parts.next()) else {
            return None;
        };
        let digest = hex.parse().ok()?;
        let open = || -> Result<Arc<dyn Source>> {
            let (file, _) = self.base(&digest, &Progress::new())?;
            Ok(Arc::new(FileSource::unlocked(file, &path.to_string_lossy())?))
        };
        Some(open())
    }

    fn with_identity(&self, format: &str, identity: &str) -> Result<Option<Stored>> {
        let is =
            |facts: &[(String, String)]| facts.iter().any(|(key, value)| key == "id" && value == identity);
        let images = self.list()?.into_iter().filter(|image| image.state == ImageState::Ready);
        let mut found = images.filter_map(|image| {
            let record = image.record?;
            let is_it = |origin: &&Origin| origin.source.format == format && is(&origin.facts);
            let origin = record.origins().find(is_it)?;
            Some((image.digest, origin.facts.clone()))
        });
        let Some((digest, facts)) = found.next() else { return Ok(None) };
        if found.next().is_some() {
            let message = format!(
                "several images of the store were made from {format} images \"{}\"",
                identity.escape_debug()
            );
            return Err(Error::new(ErrorKind::Denied, message));
        }
        let (file, _) = self.base(&digest, &Progress::new())?;
        let source = FileSource::unlocked(file, &format!("image {digest}"))?;
        Ok(Some((Arc::new(source), facts)))
    }
}

fn restless(digest: &Digest) -> Error {
    let message = format!("image {digest} was altered and exchanged again and again while it was hashed");
    Error::new(ErrorKind::Changed, message)
}

pub(super) fn names_of(digest: &Digest, names: &BTreeMap<Name, Digest>) -> Vec<Name> {
    names.iter().filter(|(_, owner)| *owner == digest).map(|(name, _)| name.clone()).collect()
}

/// The same open file once more.
pub(super) fn duplicate(file: &File) -> Result<File> {
    file.try_clone().doing(|| "duplicate a file handle".into())
}

impl Seal {
    /// Of a file as it is now.
    pub(super) fn of(file: &File) -> Result<Self> {
        let stat = rustix::fs::fstat(file).doing(|| "stat a stored image".into())?;
        let nanoseconds =
            |seconds: i64, rest: u64| seconds.saturating_mul(1_000_000_000).saturating_add_unsigned(rest);
        Ok(Self {
            size: stat.st_size.unsigned_abs(),
            mtime: nanoseconds(stat.st_mtime, stat.st_mtime_nsec),
            ctime: nanoseconds(stat.st_ctime, stat.st_ctime_nsec),
            inode: stat.st_ino,
        })
    }
}

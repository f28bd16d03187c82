//! Images that machines run from while they arrive.
//!
//! ```text
//! lazy/<id>/source      the file as it is on its server, as far as it has arrived
//! lazy/<id>/journal     which parts have
//! lazy/<id>/lazy.json   what it is, and in the end the image that it has become
//! lazy/<id>/users/      a mark for each disk over it: see `users`
//! lazy/<id>/lock        held by the process that fetches
//! ```

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use cap_std::fs::Dir;
use rustix::fs::{FlockOperation, OFlags};
use witvirt_core::format::Formats;
use witvirt_core::{Digest, Name};

use super::import::hash_file;
use super::overlay::{overlay_name, read_disk_record, write_disk_record};
use super::temp::Temp;
use super::{Store, dirs};
use crate::error::{Doing, Error, ErrorKind, Result};
use crate::import_source::{ArtifactDisk, ArtifactPiece};
use crate::lazy::{
    Arriving, Connect, DiskReader, Identification, ImageFile, Journal, LazyImage, LazyRecord, LazyRequest,
    Pace, Parts, Place, Remote, id_of, locate, reason_against, units_of,
};
use crate::nbd::Export;
use crate::progress::Progress;
use crate::request::{Access, DiskKind, DiskRecord, ImportRequest, SourceFile};
use crate::source::AllowedDirs;

const SOURCE: &str = "source";
const JOURNAL: &str = "journal";
const RECORD: &str = "lazy.json";
const USERS: &str = "users";
const LOCK: &str = "lock";

/// The image's directory inside the unfinished work.
const DRAFT: &str = "lazy";

/// Whether an image can be started from before it is here.
#[derive(Debug)]
pub enum Lazily {
    /// Yes.
    Served(Arc<LazyImage>),
    /// It has arrived before.
    Arrived(Digest),
    /// No, and why: it has to be imported first. Reads well after "URL cannot be started from before all of it is here: ".
    Whole(String),
}

/// Who opens images that arrive, and how.
#[derive(Clone)]
pub struct LazyAccess {
    /// The format plugins, for as long as the image lives.
    pub formats: Arc<dyn Formats>,
    /// Opens the image's places again.
    pub connect: Connect,
    /// When the background fetches.
    pub pace: Pace,
}

/// An image of the store, served as one that arrives is: to a guest that was started before it was here.
#[derive(Debug)]
pub struct StoredDisk {
    file: File,
    size: u64,
}

impl StoredDisk {
    /// Opens an image by its digest.
    ///
    /// # Errors
    /// As [`Store::base`].
    pub fn open(store: &Store, digest: &Digest, progress: &Progress) -> Result<Self> {
        let (file, record) = store.base(digest, progress)?;
        Ok(Self { file, size: record.virtual_size })
    }
}

impl Export for StoredDisk {
    fn size(&self) -> u64 {
        self.size
    }

    fn read(&self, buffer: &mut [u8], offset: u64, _: &dyn Fn() -> bool) -> Result<()> {
        self.file.read_exact_at(buffer, offset).doing(|| format!("read an image at byte {offset}"))
    }

    fn runs(&self, _: u64, length: u64, _: usize, _: &dyn Fn() -> bool) -> Result<Vec<(u64, bool)>> {
        Ok(vec![(length, false)])
    }
}

/// An image's directory before anybody knows of it.
struct Draft {
    temp: Temp,
    dir: Dir,
    /// Its name later.
    id: String,
}

impl Store {
    /// Begins to fetch an image that a machine is about to run from, unless it has to be here as a whole. `places` are what
    /// `connect` gave; the first that has the image counts. What is there of the same place is taken up; a caller keeps the
    /// image that it has got and asks for each one once.
    ///
    /// # Errors
    /// `Unavailable` when the server cannot be reached; whatever is wrong with the image; `InUse` when another process
    /// fetches it.
    pub fn begin_lazy(
        self: &Arc<Self>,
        access: &LazyAccess,
        request: &LazyRequest,
        places: Vec<ArtifactDisk>,
    ) -> Result<Lazily> {
        let mut missing = None;
        for place in places {
            match self.begin_at(access, request, place) {
                Err(error) if error.kind() == ErrorKind::NotFound => missing = Some(error),
                begun => return begun,
            }
        }
        Err(missing.unwrap_or_else(|| {
            Error::new(ErrorKind::NotFound, format!("there is nothing at {}", request.url.escape_debug()))
        }))
    }

    fn begin_at(
        self: &Arc<Self>,
        access: &LazyAccess,
        request: &LazyRequest,
        place: ArtifactDisk,
    ) -> Result<Lazily> {
        if let Some(reason) = reason_against(&place) {
            return Ok(Lazily::Whole(reason));
        }
        let identified = Identification::of(&place).zip(id_of(request, &place));
        let Some((identification, id)) = identified else {
            return Ok(Lazily::Whole("its versions cannot be told apart".into()));
        };
        if self.is_usable(&id)? {
            return self.resume_lazy(access, &id);
        }
        let (size, units) = (identification.size, units_of(&place, identification.size)?);
        let promised = match (&place.pieces[..], place.size) {
            ([piece], None) => piece.blobs.first().and_then(|blob| blob.digest()),
            _ => None,
        };
        if let (Some(wanted), Some(promised)) = (request.sha256, promised)
            && wanted != promised
        {
            let message = format!("{} is {promised}, not {wanted}", place.label);
            return Err(Error::new(ErrorKind::Corrupt, message));
        }
        let temp = self.temp()?;
        let dir = dirs::subdir(&temp.dir, DRAFT)?;
        dirs::subdir(&dir, USERS)?;
        let source = dirs::create(&dir, SOURCE)?;
        dirs::check_space(&source, units.bytes())?;
        source.set_len(size).doing(|| format!("make a file of {size} bytes"))?;
        source.sync_all().doing(|| "flush a new file".into())?;
        let journal = Journal::create(dirs::create(&dir, JOURNAL)?, &units)?;
        let ranges = |piece: &ArtifactPiece| (piece.offset, piece.length.unwrap_or(0));
        let record = LazyRecord {
            schema: 1,
            url: request.url.clone(),
            label: identification.label.clone(),
            size,
            version: identification.version.clone(),
            pieces: place.size.map(|_| place.pieces.iter().map(ranges).collect()).unwrap_or_default(),
            start: 0,
            length: None,
            member: None,
            format: String::new(),
            virtual_size: 0,
            sha256: request.sha256.or(promised),
            name: request.name.clone(),
            image: None,
            failed: None,
        };
        let piece = place.pieces.first().filter(|_| place.size.is_none()).cloned();
        let remote = Remote::new(Arc::clone(&access.connect), identification, Some(place));
        let arriving = Arc::new(Arriving::new(remote, source, journal, units, &[]));
        let draft = Draft { temp, dir, id };
        let begun = self.open_draft(access, request, piece.as_ref(), draft, record, &arriving);
        if !matches!(begun, Ok(Lazily::Served(_))) {
            arriving.close();
        }
        begun.map_err(|error| explain(&arriving, error))
    }

    /// Finds and opens the image file, and makes what is there of it known.
    fn open_draft(
        self: &Arc<Self>,
        access: &LazyAccess,
        request: &LazyRequest,
        piece: Option<&ArtifactPiece>,
        draft: Draft,
        mut record: LazyRecord,
        arriving: &Arc<Arriving>,
    ) -> Result<Lazily> {
        arriving.serve()?;
        // Somebody waits for an answer, and may ask again.
        let gone = || arriving.waiting().is_some();
        let found = match piece {
            Some(piece) => locate(arriving, &*access.formats, request, piece, &gone)?,
            None => Place::Here(ImageFile::whole(Arc::clone(arriving)), None),
        };
        let (file, member) = match found {
            Place::Packed(reason) => return Ok(Lazily::Whole(reason)),
            Place::Here(file, member) => (file, member),
        };
        (record.member, record.start) = (member, file.start());
        record.length = Some(file.size()).filter(|length| *length != record.size);
        let (formats, format) = (Arc::clone(&access.formats), request.format.as_deref());
        let (reader, described) = DiskReader::open(file, formats, format, &self.limits, &gone)?;
        (record.format, record.virtual_size) = (described.format, described.size);
        arriving.note()?;
        let Draft { temp, dir, id } = draft;
        write_record(&dir, &record)?;
        let lock = lock(&dir)?;
        {
            let _lock = self.lock(FlockOperation::LockExclusive)?;
            let lazy = self.lazy_root()?;
            let renamed = temp.dir.rename(DRAFT, &lazy, &id);
            renamed.doing(|| "keep an image that is to arrive".into())?;
            dirs::sync(&lazy)?;
        }
        self.start(access, id, record, Arc::clone(arriving), reader, lock).map(Lazily::Served)
    }

    /// Whether what is kept of an object is worth going on with. What is not is removed, unless machines wait for it.
    fn is_usable(&self, id: &str) -> Result<bool> {
        let record = match self.lazy_dir(id).and_then(|dir| read_record(&dir)) {
            Ok(record) => record,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        let gone = record.image.is_some_and(|image| self.open_image(&image).is_err());
        if !gone && record.failed.is_none() {
            return Ok(true);
        }
        self.remove_lazy(id, None)?;
        if self.lazy_dir(id).is_err() {
            return Ok(false);
        }
        let reason = record.failed.unwrap_or_else(|| "the image that it has become is gone".to_owned());
        Err(Error::new(ErrorKind::Corrupt, format!("{reason}: remove the machines that run from it first")))
    }

    /// The id that a place has in the store, or would have; `None` where it cannot be started from early.
    pub fn lazy_id(request: &LazyRequest, place: &ArtifactDisk) -> Option<String> {
        id_of(request, place)
    }

    /// Whether a disk of this name was made in a machine's directory.
    ///
    /// # Errors
    /// When its record cannot be read.
    pub fn has_disk(&self, dir: &Dir, disk: &Name) -> Result<bool> {
        Ok(read_disk_record(dir, disk)?.is_some())
    }

    /// Goes on with an image that an earlier process began to fetch. The server need not be there.
    ///
    /// # Errors
    /// `NotFound`; `InUse` when another process fetches it; `Corrupt` with the reason when it turned out to be another
    /// file than its digest said.
    pub fn resume_lazy(self: &Arc<Self>, access: &LazyAccess, id: &str) -> Result<Lazily> {
        let dir = self.lazy_dir(id)?;
        let record = read_record(&dir)?;
        if let Some(image) = record.image {
            return Ok(Lazily::Arrived(image));
        }
        let lock = lock(&dir)?;
        let source = dirs::open(&dir, SOURCE, OFlags::RDWR)?;
        let journal = dirs::open(&dir, JOURNAL, OFlags::RDWR)?;
        let units = record.units()?;
        let (journal, noted) = match Journal::open(journal, &units) {
            Ok(opened) => opened,
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                tracing::warn!(from = record.label, %error, "everything is fetched again");
                (Journal::create(dirs::create(&dir, JOURNAL)?, &units)?, Vec::new())
            }
            Err(error) => return Err(error),
        };
        source.set_len(record.size).doing(|| "make room for an image".into())?;
        let remote = Remote::new(Arc::clone(&access.connect), record.identification(), None);
        let arriving = Arc::new(Arriving::new(remote, source, journal, units, &noted));
        let formats = Arc::clone(&access.formats);
        let length = record.length.unwrap_or(record.size);
        let file = ImageFile::window(Arc::clone(&arriving), record.start, length);
        let reader = DiskReader::known(file, formats, &record.format, record.virtual_size, &self.limits);
        arriving.serve()?;
        let started = self.start(access, id.to_owned(), record, Arc::clone(&arriving), reader, lock);
        if started.is_err() {
            arriving.close();
        }
        started.map(Lazily::Served)
    }

    fn start(
        self: &Arc<Self>,
        access: &LazyAccess,
        id: String,
        record: LazyRecord,
        arriving: Arc<Arriving>,
        reader: DiskReader,
        lock: File,
    ) -> Result<Arc<LazyImage>> {
        let directory = self.path.join("lazy").join(&id);
        let (formats, pace) = (Arc::clone(&access.formats), access.pace);
        let store = Arc::clone(self);
        let parts = Parts { store, formats, id, directory, record, arriving, reader, _lock: lock, pace };
        LazyImage::start(parts).map(Arc::new)
    }

    /// Imports what has arrived; returns the image and its open file.
    pub(crate) fn finish_lazy(&self, parts: &Parts, progress: &Progress) -> Result<(Digest, File)> {
        parts.arriving.note()?;
        let (allowed, nowhere) = (AllowedDirs::new([&parts.directory])?, AllowedDirs::default());
        let access = Access { formats: &*parts.formats, allowed: &allowed, references: &nowhere };
        let file = SourceFile::new(parts.directory.join(SOURCE)).with_format(&parts.record.format);
        let mut request = ImportRequest::new(file);
        // Nobody asked for the name: whoever has it keeps it.
        let free = |name: &&Name| self.is_free(name).unwrap_or(false);
        request.name = parts.record.name.as_ref().filter(free).cloned();
        request.recorded_as = Some(parts.record.label.clone());
        // What it is made of is on the other side; here it is known as an image file, or as an archive of one.
        request.reading.unpack = parts.record.unpack();
        request.reading.member.clone_from(&parts.record.member);
        request.source_digest = parts.record.pieces.is_empty();
        request.checksums = parts.record.sha256.into_iter().map(Into::into).collect();
        let imported = self.import(access, &request, progress).map_err(|error| {
            // The file's own name says nothing to anybody.
            error.during(&parts.record.label)
        })?;
        let digest = imported.record.digest;
        let (base, _) = self.base(&digest, progress)?;
        let dir = self.lazy_dir(&parts.id)?;
        {
            // From here on the disks that wait are users of the image; until here it may have been removed.
            let _lock = self.lock(FlockOperation::LockShared)?;
            self.open_image(&digest).map_err(|error| {
                let message = format!("image {digest} was removed before it could be used ({error})");
                Error::new(ErrorKind::InUse, message)
            })?;
            write_record(&dir, &LazyRecord { image: Some(digest), ..parts.record.clone() })?;
        }
        // The image has it all; whoever reads the source now has it open.
        for name in [SOURCE, JOURNAL] {
            dir.remove_file(name).doing(|| format!("remove {name}"))?;
        }
        Ok((digest, base))
    }

    /// The SHA-256 of the file that has arrived.
    pub(crate) fn lazy_digest(&self, id: &str) -> Result<Digest> {
        hash_file(&dirs::open(&self.lazy_dir(id)?, SOURCE, OFlags::RDONLY)?)
    }

    /// Notes that an image will never be one.
    pub(crate) fn fail_lazy(&self, parts: &Parts, reason: &str) -> Result<()> {
        let record = LazyRecord { failed: Some(reason.to_owned()), ..parts.record.clone() };
        write_record(&self.lazy_dir(&parts.id)?, &record)
    }

    /// What an arriving image is called by its users: the URL that opens it.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn lazy_url(&self, id: &str) -> Result<String> {
        Ok(read_record(&self.lazy_dir(id)?)?.url)
    }

    /// Makes a disk over an image that arrives: a qcow2 overlay in the machine's directory. The record comes last, as with
    /// every disk.
    ///
    /// # Errors
    /// When it cannot be written; `NotFound` when another process has removed the image meanwhile.
    pub fn create_lazy_disk(
        &self,
        access: Access<'_>,
        dir: &Dir,
        disk: &Name,
        image: &LazyImage,
    ) -> Result<()> {
        let _marked = self.enter_lazy(image.id(), dir, disk)?;
        let base = self.path.join("lazy").join(image.id()).join("base").to_string_lossy().into_owned();
        self.lay_out_overlay(access, dir, disk, base, image.virtual_size())?;
        dirs::write(dir, &lazy_name(disk), image.id().as_bytes())?;
        let virtual_size = image.virtual_size();
        write_disk_record(
            dir,
            disk,
            &DiskRecord { schema: 1, kind: DiskKind::Overlay, virtual_size, image: None },
        )
    }

    /// The image that a disk is waiting for; `None` for every other disk.
    ///
    /// # Errors
    /// When that cannot be read.
    pub fn lazy_of(&self, dir: &Dir, disk: &Name) -> Result<Option<String>> {
        let Some(DiskRecord { kind: DiskKind::Overlay, image: None, .. }) = read_disk_record(dir, disk)?
        else {
            return Ok(None);
        };
        match dirs::read(dir, &lazy_name(disk)) {
            Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).trim().to_owned())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Opens the overlay of a disk over an image that arrives.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open_lazy_disk(&self, dir: &Dir, disk: &Name) -> Result<File> {
        dirs::open(dir, &overlay_name(disk), OFlags::RDWR)
    }

    /// Makes a disk one over an image of the store, which the image that it waited for has become.
    ///
    /// # Errors
    /// When that cannot be written down.
    pub fn settle_lazy_disk(&self, dir: &Dir, disk: &Name, image: &Digest) -> Result<()> {
        let Some(id) = self.lazy_of(dir, disk)? else { return Ok(()) };
        let _marked = self.enter_image(image, dir, disk)?;
        let record = self.read_record(image)?;
        let virtual_size = record.virtual_size;
        let settled = DiskRecord { schema: 1, kind: DiskKind::Overlay, virtual_size, image: Some(*image) };
        write_disk_record(dir, disk, &settled)?;
        dirs::remove(dir, &lazy_name(disk))?;
        self.leave_lazy(&id, dir, disk)
    }

    /// Removes what has arrived of an image, unless a disk waits for it or another process fetches it, for a disk that it
    /// has not made yet. `own` is the image where this process fetches it; the caller makes no disk over it meanwhile.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn remove_lazy(&self, id: &str, own: Option<&LazyImage>) -> Result<()> {
        let temp = self.temp()?;
        let _lock = self.lock(FlockOperation::LockExclusive)?;
        let dir = match self.lazy_dir(id) {
            Ok(dir) => dir,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        let _fetching = match own.map_or_else(|| lock(&dir).map(Some), |_| Ok(None)) {
            // Whoever fetches it removes it, or who comes later.
            Err(error) if error.kind() == ErrorKind::InUse => return Ok(()),
            locked => locked?,
        };
        if !self.lazy_users_now(id)?.is_empty() {
            return Ok(());
        }
        let lazy = self.lazy_root()?;
        lazy.rename(id, &temp.dir, "removed").doing(|| "remove an image that arrives".into())?;
        dirs::sync(&lazy)
    }

    /// The image that an arriving one has become.
    pub(super) fn arrived(&self, id: &str) -> Result<Option<Digest>> {
        Ok(read_record(&self.lazy_dir(id)?)?.image)
    }

    pub(super) fn lazy_root(&self) -> Result<Dir> {
        dirs::subdir(&self.dir, "lazy")
    }

    /// The marks of the disks over an arriving image.
    pub(super) fn lazy_users(&self, id: &str) -> Result<Dir> {
        dirs::existing(&self.lazy_dir(id)?, USERS)
    }

    fn lazy_dir(&self, id: &str) -> Result<Dir> {
        // It comes from a file of ours, and is a name all the same.
        if id.len() != 32 || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(Error::new(ErrorKind::Corrupt, "the name of an arriving image is damaged"));
        }
        dirs::existing(&self.lazy_root()?, id)
    }
}

fn lazy_name(disk: &Name) -> String {
    format!("{disk}.lazy")
}

fn lock(dir: &Dir) -> Result<File> {
    let file = dirs::open(dir, LOCK, OFlags::RDWR | OFlags::CREATE)?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => {
            Err(Error::new(ErrorKind::InUse, "another process fetches this image: let it finish, or end it"))
        }
        Err(errno) => Err(Error::io("lock an image that arrives", errno.into())),
    }
}

/// Says what a start waited for in vain.
fn explain(arriving: &Arriving, error: Error) -> Error {
    match arriving.waiting() {
        Some(waiting) if error.kind() == ErrorKind::Cancelled => {
            Error::new(ErrorKind::Unavailable, waiting.reason).during(waiting.server)
        }
        _ => error,
    }
}

fn write_record(dir: &Dir, record: &LazyRecord) -> Result<()> {
    let json = serde_json::to_vec_pretty(record)
        .map_err(|error| Error::new(ErrorKind::InvalidInput, format!("cannot write {RECORD}: {error}")))?;
    dirs::write(dir, RECORD, &json)
}

fn read_record(dir: &Dir) -> Result<LazyRecord> {
    let bad = |why: String| Error::new(ErrorKind::Corrupt, format!("{RECORD} of an arriving image: {why}"));
    let record: LazyRecord =
        serde_json::from_slice(&dirs::read(dir, RECORD)?).map_err(|error| bad(error.to_string()))?;
    if record.schema != 1 {
        return Err(bad(format!("revision {} is newer than this program", record.schema)));
    }
    Ok(record)
}

//! Importing an image: from wherever it comes, in one pass, into a directory that appears in the store when it is complete.

mod artifact;
mod dedupe;
mod directory;
mod files;
mod journal;
mod mapped;
mod spooled;
mod streamed;
mod work;

pub(super) use self::files::hash as hash_file;
use rustix::fs::{FlockOperation, Mode};

use self::work::Work;
use super::temp::Temp;
use super::{Store, dirs, now};
use crate::content::Leaves;
use crate::error::{Doing, Error, ErrorKind, Result};
use crate::import_source::ImportSource;
use crate::progress::Progress;
use crate::record::{ImageRecord, ImageState, ImageSummary, Origin, Seal, SourceRecord};
use crate::request::{Access, ImportRequest, Imported};
use crate::stream::Wrappings;

/// The image's directory inside the unfinished work.
const IMAGE: &str = "image";

/// Size of a sector, which disks have whole numbers of, in bytes.
const SECTOR: u64 = 512;

/// What a source was found to hold, once the disk is written.
struct Filled {
    leaves: Leaves,
    size: u64,
    source: SourceRecord,
    chain: Vec<SourceRecord>,
    facts: Vec<(String, String)>,
    wrappings: Wrappings,
}

impl Store {
    /// Copies a disk image into the store: reads it once, unpacks, decodes, hashes and writes it as a sparse raw file, all
    /// at the same time.
    ///
    /// Remote objects whose server honours ranges and tells their version, and artifacts in pieces, are resumed: after a
    /// kill, an [`ErrorKind::Unavailable`] or an [`ErrorKind::Cancelled`], the next import of the same source with the same
    /// settings fetches what is not there yet. What is left is kept for a week, or until [`Store::collect`] needs the
    /// space. Objects that are compressed or archived as a whole, and uploads, begin again.
    ///
    /// # Errors
    /// Whatever is wrong with the source, its plugin or the disk; nothing but what can be resumed is left behind then.
    /// `AlreadyExists` when another image has the name: at once where that is plain, else with the image in the store,
    /// nameless.
    pub fn import(
        &self,
        access: Access<'_>,
        request: &ImportRequest,
        progress: &Progress,
    ) -> Result<Imported> {
        progress.begin(0);
        match &request.source {
            ImportSource::File(path) => {
                self.import_file(access, access.allowed.open(path)?, request, progress)
            }
            ImportSource::Directory(path) => self.import_directory(access, path, request, progress),
            ImportSource::Blob(blob) => self.import_blob(access, blob, request, progress),
            ImportSource::Upload(upload) => self.import_upload(access, upload, request, progress),
            ImportSource::Artifact(disk) => self.import_artifact(access, disk, request, progress),
        }
    }

    /// Seals a written disk and publishes it.
    fn finish(
        &self,
        work: &Work,
        filled: Filled,
        request: &ImportRequest,
        progress: &Progress,
    ) -> Result<Imported> {
        work.keep_for_next(self.seal(work, filled, request, progress))
    }

    fn seal(
        &self,
        work: &Work,
        filled: Filled,
        request: &ImportRequest,
        progress: &Progress,
    ) -> Result<Imported> {
        let Filled { leaves, size, mut source, chain, facts, wrappings } = filled;
        if let Some(recorded) = &request.recorded_as {
            source.path.clone_from(recorded);
        }
        let file = &work.file;
        let digest = leaves.digest();
        let known = self.inspect(&digest.hex()).is_ok_and(|image| image.state == ImageState::Ready);
        let shared = match known {
            true => None,
            false => {
                progress.set_phase("looking for what other images have too");
                dedupe::write_leaves(&work.dir, &leaves)?;
                self.dedupe(&work.scratch()?, file, &leaves, progress)?
            }
        };
        let mut origin = Origin {
            source,
            chain,
            facts,
            transport: wrappings.transports,
            member: wrappings.member,
            machine: Vec::new(),
            files: Vec::new(),
        };
        if let ImportSource::Artifact(disk) = &request.source {
            origin.machine = files::shown(&disk.machine);
            origin.files = self.fetch_files(&work.dir, disk, progress)?;
        }
        progress.set_phase("flushing");
        // The last time: what is sealed cannot be gone on with.
        progress.check()?;
        file.sync_all().doing(|| "flush the imported image".into())?;
        rustix::fs::fchmod(file, Mode::from_raw_mode(0o400))
            .doing(|| "make the imported image read only".into())?;
        let record = ImageRecord {
            schema: 1,
            digest,
            virtual_size: size,
            allocated: allocated(file)?,
            created: now(),
            origin,
            others: Vec::new(),
            shared,
            seal: Seal::of(file)?,
        };
        self.write_record(&work.dir, &record)?;
        self.publish(&work.temp, record, request)
    }

    /// Makes a finished image visible, unless the store has its content already.
    fn publish(&self, temp: &Temp, mut record: ImageRecord, request: &ImportRequest) -> Result<Imported> {
        let digest = record.digest;
        let _lock = self.lock(FlockOperation::LockExclusive)?;
        let imported = match self.inspect(&digest.hex()).ok() {
            Some(ImageSummary { state: ImageState::Ready, record: Some(known), .. }) => {
                self.touch(&digest)?;
                let record = self.add_origin(temp, known, record.origin)?;
                Imported { record, existed: true }
            }
            existing => {
                if let Some(existing) = existing {
                    self.set_aside(&digest, temp)?;
                    self.carry_over(temp, existing.record, &mut record)?;
                }
                dirs::sync(&temp.dir)?;
                let renamed = temp.dir.rename(IMAGE, &self.images, digest.hex());
                renamed.doing(|| format!("publish image {digest}"))?;
                dirs::sync(&self.images)?;
                Imported { record, existed: false }
            }
        };
        if let Some(name) = &request.name {
            // Last, so that what was fetched is not lost over it.
            self.check_name(name, Some(&digest), request.replace).map_err(|error| {
                error.during(format!("the image is in the store as {}, but not by that name", digest.short()))
            })?;
            self.set_name(name, &digest)?;
        }
        Ok(imported)
    }

    /// The record of a raw disk that no plugin had to read.
    fn raw_record(label: &str, size: u64) -> SourceRecord {
        SourceRecord {
            path: label.to_owned(),
            format: "raw".into(),
            plugin: "(store)".into(),
            plugin_version: env!("CARGO_PKG_VERSION").into(),
            size,
            digest: None,
        }
    }
}

/// Bytes that a file occupies.
pub(super) fn allocated(file: &std::fs::File) -> Result<u64> {
    let stat = rustix::fs::fstat(file).doing(|| "stat a new file".into())?;
    Ok(stat.st_blocks.unsigned_abs().saturating_mul(512))
}

fn panicked<T>(what: &str) -> Result<T> {
    Err(Error::new(ErrorKind::Io, format!("the thread that {what} panicked")))
}

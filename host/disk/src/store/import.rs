//! Importing an image.

use std::fs::File;

use rustix::fs::{FlockOperation, Mode};
use witvirt_core::Digest;

use super::images::DISK;
use super::temp::Temp;
use super::{Store, dirs, now};
use crate::content;
use crate::copy::{Planner, RawTarget, write_raw};
use crate::digests::Checksum;
use crate::error::{Doing, Error, ErrorKind, Result};
use crate::import_source::ImportSource;
use crate::map::{Chain, Survey};
use crate::progress::Progress;
use crate::record::{ImageRecord, ImageState, ImageSummary, Seal};
use crate::request::{Access, ImportRequest, Imported, Reading, SourceFile};

/// The image's directory inside the unfinished work.
const IMAGE: &str = "image";

impl Store {
    /// Copies a disk image into the store: reads it once, decodes, hashes and writes it as a sparse raw file.
    ///
    /// # Errors
    /// Whatever is wrong with the source, its plugin or the disk; nothing is left behind then.
    pub fn import(
        &self,
        access: Access<'_>,
        request: &ImportRequest,
        progress: &Progress,
    ) -> Result<Imported> {
        let ImportSource::File(path) = &request.source else {
            return Err(Error::new(ErrorKind::Unsupported, "only files are imported so far"));
        };
        let Reading { format, backing_format, .. } = request.reading.clone();
        let file = SourceFile { path: path.clone(), format, backing_format };
        let mut chain = Chain::open(access, &self.limits, &file)?;
        let survey = chain.survey(progress, self.limits.max_data)?;
        let temp = self.temp()?;
        let dir = dirs::subdir(&temp.dir, IMAGE)?;
        let file = dirs::create(&dir, DISK)?;
        let (digest, source_digest) = self.fill(&mut chain, survey, &file, request, progress)?;
        chain.verify_unchanged()?;

        let (mut source, below) = chain.records();
        source.digest = source_digest;
        file.sync_all().doing(|| "flush the imported image".into())?;
        rustix::fs::fchmod(&file, Mode::from_raw_mode(0o400))
            .doing(|| "make the imported image read only".into())?;
        let record = ImageRecord {
            schema: 1,
            digest,
            virtual_size: chain.disk_size(),
            allocated: allocated(&file)?,
            created: now(),
            source,
            chain: below,
            facts: chain.facts()?,
            seal: Seal::of(&file)?,
        };
        self.write_record(&dir, &record)?;
        progress.check()?;
        self.publish(&temp, record, request)
    }

    /// Writes the disk; returns its content digest and that of the source file, where it was asked for.
    fn fill(
        &self,
        chain: &mut Chain,
        survey: Survey,
        file: &File,
        request: &ImportRequest,
        progress: &Progress,
    ) -> Result<(Digest, Option<Digest>)> {
        let size = chain.disk_size();
        dirs::check_space(file, survey.data)?;
        file.set_len(size).doing(|| format!("make a file of {size} bytes"))?;
        progress.begin(survey.data);
        let primary = chain.primary()?;
        let wanted = request.source_digest || !request.checksums.is_empty();
        std::thread::scope(|scope| {
            // A pass of its own over the file, in order, which the copy does not have. It shares the page cache with it.
            let hasher = wanted.then(|| scope.spawn(|| content::sha256_of(primary.as_ref(), progress)));
            let target = RawTarget { file, hash: true, bounded: true };
            let written =
                write_raw(Planner::new(chain, survey, progress), target, size, self.threads, progress);
            if written.is_err() {
                progress.cancel();
            }
            let panicked = |_| Err(Error::new(ErrorKind::Io, "the thread that hashes the source panicked"));
            let source_digest = hasher.map(|hasher| hasher.join().unwrap_or_else(panicked));
            let digest = written?.digest();
            let source_digest = source_digest.transpose()?;
            match (request.checksums.first(), source_digest) {
                (Some(expected), Some(actual)) if *expected != Checksum::from(actual) => {
                    let message = format!("{} has the digest {actual}, not {expected}", primary.label());
                    Err(Error::new(ErrorKind::Corrupt, message))
                }
                _ => Ok((digest, source_digest)),
            }
        })
    }

    /// Makes a finished image visible, unless the store has its content already.
    fn publish(&self, temp: &Temp, record: ImageRecord, request: &ImportRequest) -> Result<Imported> {
        let digest = record.digest;
        let _lock = self.lock(FlockOperation::LockExclusive)?;
        if let Some(name) = &request.name {
            self.check_name(name, Some(&digest), request.replace)?;
        }
        let imported = match self.inspect(&digest.hex()).ok() {
            Some(ImageSummary { state: ImageState::Ready, record: Some(record), .. }) => {
                Imported { record, existed: true }
            }
            existing => {
                if existing.is_some() {
                    self.set_aside(&digest, temp)?;
                }
                dirs::sync(&temp.dir)?;
                let renamed = temp.dir.rename(IMAGE, &self.images, digest.hex());
                renamed.doing(|| format!("publish image {digest}"))?;
                dirs::sync(&self.images)?;
                Imported { record, existed: false }
            }
        };
        if let Some(name) = &request.name {
            self.set_name(name, &digest)?;
        }
        Ok(imported)
    }
}

/// Bytes that a file occupies.
pub(super) fn allocated(file: &File) -> Result<u64> {
    let stat = rustix::fs::fstat(file).doing(|| "stat a new file".into())?;
    Ok(stat.st_blocks.unsigned_abs().saturating_mul(512))
}

//! Sources that can be read at random: their map is read first, then everything is copied.

use std::sync::Arc;

use super::work::Work;
use super::{Filled, panicked};
use crate::copy::{Planner, RawTarget, write_raw};
use crate::error::{Doing, Result};
use crate::map::{Chain, Ends};
use crate::progress::Progress;
use crate::request::{Access, ImportRequest, Imported, SourceFile};
use crate::source::{Cursor, Located, Source};
use crate::store::{Store, dirs};
use crate::stream::{Hashers, Plan, Unwrapped, Wrappings, unwrap_source};

/// Bytes hashed at once.
const BUFFER: usize = 1 << 20;

impl Store {
    /// A file that was opened: as it is, as an archive's member, or as a stream where it is compressed.
    pub(super) fn import_file(
        &self,
        access: Access<'_>,
        located: Located,
        request: &ImportRequest,
        progress: &Progress,
    ) -> Result<Imported> {
        let reading = &request.reading;
        let source = Arc::clone(&located.source);
        let plan = Plan::new(reading, source.label());
        let is_image =
            |source: &dyn Source| Ends::read(source)?.is_image(access.formats, reading.format.as_deref());
        let member = reading.member.as_deref();
        let (image, wrappings) = match unwrap_source(Arc::clone(&source), &plan, member.into(), &is_image)? {
            Unwrapped::Whole(image, wrappings) => (image, wrappings),
            Unwrapped::Packed(_) => return self.import_packed_file(access, source, request, progress),
        };
        let chain = if wrappings.transports.is_empty() {
            let file = SourceFile {
                path: std::path::PathBuf::new(),
                format: reading.format.clone(),
                backing_format: reading.backing_format.clone(),
            };
            Chain::of(access, self, &self.limits, located, &file)?
        } else {
            Chain::alone(access.formats, &self.limits, image, reading.format.as_deref())?
        };
        self.import_mapped(chain, source, wrappings, request, progress)
    }

    /// A chain of files; `whole` is what its digests are of.
    pub(super) fn import_mapped(
        &self,
        mut chain: Chain,
        whole: Arc<dyn Source>,
        wrappings: Wrappings,
        request: &ImportRequest,
        progress: &Progress,
    ) -> Result<Imported> {
        progress.set_phase("reading the map");
        let survey = chain.survey(progress, self.limits.max_data)?;
        let work = Work::new(self)?;
        let size = chain.disk_size();
        dirs::check_space(&work.file, survey.data).map_err(|error| error.during(whole.label()))?;
        work.file.set_len(size).doing(|| format!("make a file of {size} bytes"))?;
        progress.begin(survey.data);
        progress.set_phase("copying");
        let wanted = request.source_digest || !request.checksums.is_empty();
        let (leaves, hashed) = std::thread::scope(|scope| {
            // A pass of its own over the file, in order, which the copy does not have. It shares the page cache with it.
            let hasher = wanted.then(|| scope.spawn(|| hash(whole.as_ref(), request, progress)));
            let target = RawTarget { file: &work.file, hash: true, bounded: true, observer: None };
            let planner = Planner::new(&mut chain, survey, progress);
            let written = write_raw(planner, target, size, self.threads, progress);
            if written.is_err() {
                progress.cancel();
            }
            let hashed = hasher.map(|hasher| hasher.join().unwrap_or_else(|_| panicked("hashes the source")));
            Ok::<_, crate::error::Error>((written?, hashed.transpose()?))
        })?;
        chain.verify_unchanged()?;
        whole.verify_unchanged()?;
        let (mut source, below) = chain.records();
        if !wrappings.transports.is_empty() {
            // What can be imported again is the archive.
            (source.path, source.size) = (whole.label().to_owned(), whole.size());
        }
        source.digest = hashed.flatten();
        let facts = chain.facts()?;
        let filled = Filled { leaves, size, source, chain: below, facts, wrappings };
        self.finish(&work, filled, request, progress)
    }
}

/// Reads all of a source in order, and compares it with the request's checksums. The SHA-256.
fn hash(
    source: &dyn Source,
    request: &ImportRequest,
    progress: &Progress,
) -> Result<Option<witvirt_core::Digest>> {
    let mut hashers = Hashers::new(&request.checksums);
    let mut buffer = vec![0; BUFFER];
    while hashers.bytes() < source.size() {
        progress.check()?;
        let left = source.size() - hashers.bytes();
        let piece = &mut buffer[..left.min(BUFFER as u64) as usize];
        source.read_exact_at(piece, hashers.bytes())?;
        hashers.update(piece);
    }
    let hashed = hashers.finish();
    hashed.verify(source.label(), &request.checksums)?;
    Ok(hashed.sha256())
}

/// A file from its first byte on.
pub(super) fn from_the_beginning(source: &Arc<dyn Source>) -> Box<Cursor> {
    Box::new(Cursor::new(Arc::clone(source)))
}

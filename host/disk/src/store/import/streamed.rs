//! Sources that arrive as a stream.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::sync::Arc;

use super::artifact::Unpacked;
use super::mapped::from_the_beginning;
use super::work::Work;
use super::{Filled, SECTOR};
use crate::blob::Blob;
use crate::content::{CHUNK, Leaves};
use crate::copy::{Observer, Planner, RawTarget, Unit, write_raw};
use crate::digests::Checksum;
use crate::error::{Doing, Error, ErrorKind, Result};
use crate::import_source::Upload;
use crate::map::{Chain, Ends, PieceKind};
use crate::progress::Progress;
use crate::request::{Access, ImportRequest, Imported};
use crate::source::Source;
use crate::store::Store;
use crate::stream::{
    Arrival, Arriving, Beginning, Hashers, Incoming, Leaf, Meant, Plan, RawStream, Remote, Spool, Spooling,
    Wrappings, unwrap_stream,
};

/// How much of an image's beginning plugins probe, in bytes.
const HEAD: u64 = 64 << 10;

/// How much of its end.
const TAIL: u64 = 4 << 10;

/// A source to be read in order.
pub(super) struct Streamed<'a> {
    /// Names it in messages and records, without control characters.
    pub(super) label: &'a str,
    /// Opens it at a byte, which is not 0 only with `remote`.
    pub(super) open: &'a dyn Fn(u64) -> Result<Box<dyn Read + Send>>,
    /// Its length, where that is known.
    pub(super) size: Option<u64>,
    /// The same bytes at random.
    pub(super) remote: Option<Arc<dyn Blob>>,
    /// What its bytes must hash to.
    pub(super) expected: Vec<Checksum>,
    /// What comes off it.
    pub(super) plan: Plan<'a>,
    /// Which member of an archive is meant.
    pub(super) member: Meant<'a>,
    /// What the image file must be.
    pub(super) unpacked: Unpacked,
    /// What decides what comes out, for whoever resumes; `None`: it cannot be resumed.
    pub(super) work: Option<String>,
    /// Whether it can be opened at its beginning again.
    pub(super) again: bool,
}

impl Store {
    /// A compressed file.
    pub(super) fn import_packed_file(
        &self,
        access: Access<'_>,
        source: Arc<dyn Source>,
        request: &ImportRequest,
        progress: &Progress,
    ) -> Result<Imported> {
        let open = |_| Ok::<Box<dyn Read + Send>, Error>(from_the_beginning(&source));
        let streamed = Streamed {
            label: source.label(),
            open: &open,
            size: Some(source.size()),
            remote: None,
            expected: request.checksums.clone(),
            plan: Plan::new(&request.reading, source.label()),
            member: request.reading.member.as_deref().into(),
            unpacked: Unpacked::default(),
            work: None,
            again: true,
        };
        self.import_streamed(access, streamed, request, &|| source.verify_unchanged(), progress)
    }

    /// A remote object.
    pub(super) fn import_blob(
        &self,
        access: Access<'_>,
        blob: &Arc<dyn Blob>,
        request: &ImportRequest,
        progress: &Progress,
    ) -> Result<Imported> {
        let mut expected = request.checksums.clone();
        expected.extend(blob.digest().map(Checksum::from));
        let open = |at| blob.stream(at);
        let known = blob.version().map(str::to_owned).or(blob.digest().map(|digest| digest.to_string()));
        let work = known.filter(|_| blob.ranges()).map(|version| {
            let reading = &request.reading;
            format!("{:?}", ("blob", blob.label(), version, blob.size(), reading, &expected))
        });
        let streamed = Streamed {
            label: blob.label(),
            open: &open,
            size: blob.size(),
            remote: blob.ranges().then(|| Arc::clone(blob)),
            expected,
            plan: Plan::new(&request.reading, blob.label()),
            member: request.reading.member.as_deref().into(),
            unpacked: Unpacked::default(),
            work,
            again: !blob.ranges(),
        };
        self.import_streamed(access, streamed, request, &|| Ok(()), progress)
    }

    /// What somebody sends.
    pub(super) fn import_upload(
        &self,
        access: Access<'_>,
        upload: &Upload,
        request: &ImportRequest,
        progress: &Progress,
    ) -> Result<Imported> {
        let open = |_| {
            let gone = || Error::new(ErrorKind::InvalidInput, format!("{} was read already", upload.label));
            upload.take().ok_or_else(gone)
        };
        let streamed = Streamed {
            label: &upload.label,
            open: &open,
            size: upload.length,
            remote: None,
            expected: request.checksums.clone(),
            plan: Plan::new(&request.reading, &upload.label),
            member: request.reading.member.as_deref().into(),
            unpacked: Unpacked::default(),
            work: None,
            again: false,
        };
        self.import_streamed(access, streamed, request, &|| Ok(()), progress)
    }

    /// Anything that is read in order.
    pub(super) fn import_streamed(
        &self,
        access: Access<'_>,
        streamed: Streamed<'_>,
        request: &ImportRequest,
        unchanged: &dyn Fn() -> Result<()>,
        progress: &Progress,
    ) -> Result<Imported> {
        let mut work = match &streamed.work {
            Some(key) => Work::resumable(self, key)?,
            None => Work::new(self)?,
        };
        let twice = Cell::new(false);
        let mut filled = self.fill_streamed(access, &streamed, true, &twice, &mut work, request, progress);
        if filled.is_err() && twice.get() && streamed.again {
            // Rare, and it costs the space of the whole image file: nothing is let go of this time.
            progress.begin(0);
            work.restart()?;
            filled = self.fill_streamed(access, &streamed, false, &twice, &mut work, request, progress);
        }
        let filled = work.keep_for_next(filled)?;
        unchanged()?;
        self.finish(&work, filled, request, progress)
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one import")]
    fn fill_streamed(
        &self,
        access: Access<'_>,
        streamed: &Streamed<'_>,
        frees: bool,
        twice: &Cell<bool>,
        work: &mut Work,
        request: &ImportRequest,
        progress: &Progress,
    ) -> Result<Filled> {
        progress.set_phase("opening");
        let mut leaves = BTreeMap::new();
        let raw = request.reading.format.as_deref() == Some("raw");
        let hashers = self.resume(streamed, work, raw, &mut leaves, progress)?;
        let begun = hashers.bytes();
        let part = progress.part(streamed.label, streamed.size.unwrap_or(0));
        part.advance(begun);
        let beginning = Beginning {
            label: streamed.label,
            reader: (streamed.open)(begun)?,
            length: streamed.size,
            hashers,
            part,
        };
        let (incoming, arrival) = Incoming::start(beginning, progress)?;
        let mut arriving = match (begun, &streamed.remote) {
            (1.., Some(blob)) => go_on(streamed, blob, raw, Box::new(incoming))?,
            _ => unwrap_stream(
                Box::new(incoming),
                streamed.label,
                streamed.size,
                &streamed.plan,
                streamed.member,
                &|head| is_image(access, streamed, head, request.reading.format.as_deref()),
            )?,
        };
        arriving.reader = streamed.unpacked.verifying(arriving.reader, streamed.label);
        let plain = arriving.wrappings.transports.is_empty();
        if !plain {
            work.forget()?;
        }
        progress.set_phase(phase(streamed, &arriving.wrappings));
        let wrappings = arriving.wrappings.clone();
        let stream = Stream { arriving, begun, arrival: &arrival, frees, twice };
        let mut filled = if raw {
            self.fill_raw(stream, work, leaves, progress)?
        } else {
            self.fill_spooled(access, stream, streamed.remote.clone(), work, request, progress)?
        };
        let hashed = arrival.verify(streamed.label, &streamed.expected)?;
        filled.source.path = streamed.label.to_owned();
        filled.source.size = hashed.bytes;
        filled.source.digest = hashed.sha256();
        filled.wrappings = wrappings;
        Ok(filled)
    }

    /// Verifies what an earlier attempt left. Returns what has seen the source's bytes so far, from where it goes on.
    fn resume(
        &self,
        streamed: &Streamed<'_>,
        work: &mut Work,
        raw: bool,
        leaves: &mut BTreeMap<u64, [u8; 32]>,
        progress: &Progress,
    ) -> Result<Hashers> {
        let restored = work.finished.hashers.as_ref();
        let restored = restored.and_then(|saved| Hashers::restore(saved, &streamed.expected));
        let Some(hashers) = restored.filter(|hashers| Some(hashers.bytes()) <= streamed.size) else {
            // Without them, all of the source has to be read again.
            work.restart()?;
            return Ok(Hashers::new(&streamed.expected));
        };
        progress.set_phase("verifying what an earlier attempt left");
        if !raw {
            // Its chunks are verified once the size of the disk is known.
            return Ok(hashers);
        }
        match work.verify_range(0, hashers.bytes(), progress)? {
            Some(good) if hashers.bytes().is_multiple_of(CHUNK) => {
                *leaves = good;
                work.file.set_len(hashers.bytes()).doing(|| "cut a file".into())?;
                Ok(hashers)
            }
            _ => {
                work.restart()?;
                Ok(Hashers::new(&streamed.expected))
            }
        }
    }

    /// Straight into the target.
    fn fill_raw(
        &self,
        stream: Stream<'_>,
        work: &Work,
        mut leaves: BTreeMap<u64, [u8; 32]>,
        progress: &Progress,
    ) -> Result<Filled> {
        let Stream { arriving: Arriving { label, mut reader, size, .. }, begun, arrival, .. } = stream;
        let target = RawStream {
            label: &label,
            reader: &mut *reader,
            file: &work.file,
            start: begun,
            max: self.limits.max_virtual_size.min(size.unwrap_or(u64::MAX)),
            whole: true,
            threads: self.threads,
        };
        let mut data = 0;
        let end = target.write(progress, &mut |(start, leaf): Leaf| {
            data += if leaf.is_some() { CHUNK } else { 0 };
            if data > self.limits.max_data.saturating_add(CHUNK) {
                return Err(too_much(&label, self.limits.max_data));
            }
            leaves.extend(leaf.map(|leaf| (start, leaf)));
            let Some(mut journal) = work.journal() else { return Ok(()) };
            journal.chunks(&leaf.map(|leaf| (start, leaf)).into_iter().collect::<Vec<_>>())?;
            arrival.checkpoint(start + CHUNK).map_or(Ok(()), |saved| journal.hashers(saved))
        })?;
        if let Some(size) = size.filter(|size| *size != end) {
            let message = format!("{label} ends at byte {end}, {size} bytes were promised");
            return Err(Error::new(ErrorKind::Corrupt, message));
        }
        let size = end.next_multiple_of(SECTOR);
        work.file.set_len(size).doing(|| format!("make a file of {size} bytes"))?;
        let mut all = Leaves::new(size);
        leaves.into_iter().for_each(|(start, leaf)| all.set(start, leaf));
        let source = Self::raw_record(&label, end);
        Ok(Filled {
            leaves: all,
            size,
            source,
            chain: Vec::new(),
            facts: Vec::new(),
            wrappings: Wrappings::default(),
        })
    }

    /// Through a plugin's map, over what has arrived.
    fn fill_spooled(
        &self,
        access: Access<'_>,
        stream: Stream<'_>,
        remote: Option<Arc<dyn Blob>>,
        work: &Work,
        request: &ImportRequest,
        progress: &Progress,
    ) -> Result<Filled> {
        let Stream { arriving, begun, arrival, frees, twice } = stream;
        let Arriving { label, reader, size, head, base, .. } = arriving;
        let remote = remote.zip(base).map(|(blob, base)| Remote { blob, base });
        let remote = remote.filter(|_| size.is_some());
        let spooling = Spooling {
            label,
            reader,
            start: begun,
            size,
            remote,
            file: work.scratch()?,
            max: self.limits.max_data.saturating_add(1 << 30),
            frees,
        };
        let (spool, _feeding) = Spool::start(spooling, progress)?;
        let outcome = self.fill_from(access, &spool, &head, arrival, work, request, progress);
        twice.set(spool.was_read_twice());
        // A plugin tells a lost server in its own words, and the thread that failed knows better.
        outcome.map_err(|error| match error.kind() {
            ErrorKind::Cancelled => error,
            _ => spool.failure().unwrap_or(error),
        })
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one import")]
    fn fill_from(
        &self,
        access: Access<'_>,
        spool: &Arc<Spool>,
        head: &[u8],
        arrival: &Arrival,
        work: &Work,
        request: &ImportRequest,
        progress: &Progress,
    ) -> Result<Filled> {
        let (mut chain, format) = self.open_spool(access, spool, head, request, progress)?;
        let size = chain.disk_size();
        let done = work.verify_chunks(size, progress)?;
        work.file.set_len(size).doing(|| format!("make a file of {size} bytes"))?;
        let aside = progress.aside();
        let starts: BTreeSet<u64> = done.keys().copied().collect();
        let leaves = {
            let observe = |unit: &Unit, hashes: &[(u64, [u8; 32])]| {
                consume(unit);
                let Some(mut journal) = work.journal() else { return Ok(()) };
                journal.chunks(hashes)?;
                arrival.checkpoint(spool.consumed_to()).map_or(Ok(()), |saved| journal.hashers(saved))
            };
            let observer: Observer<'_> = &observe;
            let target = RawTarget { file: &work.file, hash: true, bounded: true, observer: Some(observer) };
            let planner = Planner::unsurveyed(&mut chain, self.limits.max_data, &aside).without(&starts);
            let mut leaves = write_raw(planner, target, size, self.threads, &aside)?;
            done.into_iter().for_each(|(start, leaf)| leaves.set(start, leaf));
            leaves
        };
        progress.set_phase("reading the rest of the source");
        let (tail, length) = spool.drain()?;
        chain.verify_unchanged()?;
        if request.reading.format.is_none() {
            // Until now the end was not known, which may speak for another format than the beginning.
            let ends = Ends { head: head.to_vec(), tail, size: length };
            let again = ends.format(access.formats, spool.label())?;
            if again != format {
                let message =
                    format!("{} looks like {format} and like {again}: state which it is", spool.label());
                return Err(Error::new(ErrorKind::Denied, message));
            }
        }
        let (source, below) = chain.records();
        let facts = chain.facts()?;
        Ok(Filled { leaves, size, source, chain: below, facts, wrappings: Wrappings::default() })
    }

    /// Opens the image as early as possible: most formats say all at the beginning. For the others, everything has to
    /// arrive first, unless the end can be fetched on its own.
    fn open_spool(
        &self,
        access: Access<'_>,
        spool: &Arc<Spool>,
        head: &[u8],
        request: &ImportRequest,
        progress: &Progress,
    ) -> Result<(Chain, String)> {
        let open = |tail: Vec<u8>| -> Result<(Chain, String)> {
            let size = witvirt_core::source::ByteSource::size(spool.as_ref());
            let format = match &request.reading.format {
                Some(format) => format.clone(),
                None => Ends { head: head.to_vec(), tail, size }.format(access.formats, spool.label())?,
            };
            let source: Arc<dyn Source> = Arc::clone(spool) as Arc<dyn Source>;
            let mut chain = Chain::alone(access.formats, &self.limits, source, Some(&format))?;
            // What cannot be mapped without the end shows here, not after half of the copy.
            let size = chain.geometry().virtual_size;
            if size > 0 {
                chain.piece(0, size)?;
            }
            Ok((chain, format))
        };
        let known = spool.size_known();
        let tail = if known && spool.is_remote() { tail_of(spool)? } else { Vec::new() };
        let failed: Error = match open(tail) {
            Ok(opened) => return Ok(opened),
            Err(error) => error,
        };
        let hopeless = matches!(failed.kind(), ErrorKind::Cancelled | ErrorKind::Limit | ErrorKind::NoSpace);
        if hopeless || spool.failure().is_some() || (known && spool.is_remote()) {
            return Err(failed);
        }
        progress.set_phase("waiting for the whole image: it cannot be read before its end is there");
        spool.wait_for_all()?;
        open(tail_of(spool)?)
    }
}

/// A stream in which the image was found.
struct Stream<'a> {
    arriving: Arriving,
    /// Which of its bytes comes first.
    begun: u64,
    arrival: &'a Arrival,
    /// Whether what was consumed is let go.
    frees: bool,
    /// Set when that turns out to be wrong.
    twice: &'a Cell<bool>,
}

/// Whether plugins are certain of an image, by its first bytes and, where they can be had, its last: those of a .dmg are a
/// compressed stream's and its own.
fn is_image(access: Access<'_>, streamed: &Streamed<'_>, head: &[u8], format: Option<&str>) -> Result<bool> {
    let size = streamed.size.unwrap_or(u64::MAX >> 1);
    let mut tail = Vec::new();
    if let Some(blob) = &streamed.remote {
        tail.resize(size.min(TAIL) as usize, 0);
        let read = blob.read(size - tail.len() as u64, &mut tail)?;
        tail.truncate(read);
    }
    Ends { head: head.to_vec(), tail, size }.is_image(access.formats, format)
}

/// An object of which an earlier attempt has read the beginning: nothing comes off it, or that would not have been possible.
fn go_on(
    streamed: &Streamed<'_>,
    blob: &Arc<dyn Blob>,
    raw: bool,
    reader: Box<dyn Read + Send>,
) -> Result<Arriving> {
    let mut head = Vec::new();
    if !raw {
        head.resize(streamed.size.unwrap_or(0).min(HEAD) as usize, 0);
        let read = blob.read(0, &mut head)?;
        head.truncate(read);
    }
    Ok(Arriving {
        label: streamed.label.to_owned(),
        reader,
        size: streamed.size,
        head,
        base: Some(0),
        wrappings: Wrappings::default(),
    })
}

fn tail_of(spool: &Spool) -> Result<Vec<u8>> {
    let size = witvirt_core::source::ByteSource::size(spool);
    let mut tail = vec![0; size.min(TAIL) as usize];
    let start = size - tail.len() as u64;
    let read = witvirt_core::source::ByteSource::read_at(spool, &mut tail, start)
        .doing(|| format!("read {} at byte {start}", spool.label()))?;
    tail.truncate(read);
    Ok(tail)
}

/// Lets the sources of a written unit go.
fn consume(unit: &Unit) {
    for planned in &unit.pieces {
        let length = planned.piece.length;
        match &planned.piece.kind {
            PieceKind::Data { source, offset } => source.consumed(*offset, length),
            // The last bytes may be another run's: lengths are rounded up to sectors.
            PieceKind::Encoded(run) if run.skip as u64 + length == run.decoded as u64 => {
                run.source.consumed(run.offset, (run.length as u64).saturating_sub(SECTOR - 1));
            }
            _ => {}
        }
    }
}

fn phase(streamed: &Streamed<'_>, wrappings: &Wrappings) -> String {
    let packed: Vec<&str> = wrappings.transports.iter().map(|transport| transport.name()).collect();
    match (streamed.work.is_some(), packed.is_empty()) {
        (true, true) => "downloading".to_owned(),
        (false, true) => "reading (if it breaks off, it begins again)".to_owned(),
        (_, false) => {
            format!("unpacking {} (if it breaks off, it begins again)", packed.join(", "))
        }
    }
}

fn too_much(label: &str, most: u64) -> Error {
    let message = format!("{label} holds more than the {most} bytes of data that are allowed");
    Error::new(ErrorKind::Limit, message)
}

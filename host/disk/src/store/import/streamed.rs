//! Sources that arrive as a stream; raw disks go straight into the target.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;

use super::artifact::Unpacked;
use super::mapped::from_the_beginning;
use super::work::Work;
use super::{Filled, SECTOR};
use crate::blob::Blob;
use crate::content::{CHUNK, Leaves};
use crate::digests::Checksum;
use crate::error::{Doing, Error, ErrorKind, Result};
use crate::import_source::Upload;
use crate::map::Ends;
use crate::progress::Progress;
use crate::request::{Access, ImportRequest, Imported};
use crate::source::Source;
use crate::space::Room;
use crate::store::Store;
use crate::stream::{
    Arrival, Arriving, Beginning, Blocks, Budget, Hashers, Incoming, Leaf, Meant, Plain, Plan, RawStream,
    Wrappings, unwrap_stream,
};

/// How much of an image's beginning plugins probe, in bytes.
const HEAD: usize = 64 << 10;

/// How much of its end.
pub(super) const TAIL: u64 = 4 << 10;

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
        let blocks = match &streamed.remote {
            Some(_) if !raw => Some(Arc::new(Blocks::new(work.blocks()?))),
            _ => None,
        };
        let hashers = self.resume(streamed, work, blocks.as_deref(), &mut leaves, progress)?;
        let begun = hashers.bytes();
        let part = progress.part(streamed.label, streamed.size.unwrap_or(0));
        part.advance(begun);
        let beginning = Beginning {
            label: streamed.label,
            reader: (streamed.open)(begun).map_err(|error| lost(streamed.label, error))?,
            length: streamed.size,
            hashers,
            blocks: blocks.clone(),
            part,
        };
        let (incoming, arrival) = Incoming::start(beginning, progress)?;
        let mut arriving = match (begun, &streamed.remote) {
            (1.., Some(blob)) => go_on(streamed, blob, blocks.as_deref(), incoming)?,
            _ => unwrap_stream(
                Box::new(incoming),
                streamed.label,
                streamed.size,
                &streamed.plan,
                streamed.member,
                &|head| is_image(access, streamed, head, request.reading.format.as_deref()),
                Budget::whole(),
            )
            .map_err(|error| missing(streamed, &arrival, error))?,
        };
        arriving.reader = streamed.unpacked.verifying(arriving.reader, streamed.label, begun);
        let plain = arriving.wrappings.transports.is_empty();
        if !plain {
            work.forget()?;
        }
        progress.set_phase(phase(streamed, &arriving.wrappings));
        let wrappings = arriving.wrappings.clone();
        if let Some(blocks) = blocks.as_ref().filter(|_| arriving.base.is_none()) {
            blocks.stop();
        }
        let stream = Found { arriving, begun, arrival: &arrival, blocks, frees, twice };
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
        blocks: Option<&Blocks>,
        leaves: &mut BTreeMap<u64, [u8; 32]>,
        progress: &Progress,
    ) -> Result<Hashers> {
        let restored = work.finished.hashers.as_ref();
        let restored = restored.and_then(|saved| Hashers::restore(saved, &streamed.expected));
        let restored = restored.filter(|hashers| {
            Some(hashers.bytes()) <= streamed.size && hashers.bytes().is_multiple_of(CHUNK)
        });
        // Without them, all of the source has to be read again, and what an earlier one gave counts no more.
        let Some(hashers) = restored else { return from_zero(streamed, work) };
        progress.set_phase("verifying what an earlier attempt left");
        if let Some(blocks) = blocks {
            // Its chunks are verified once the size of the disk is known.
            let known = blocks.know(hashers.bytes().max(work.finished.seen))?;
            return if known { Ok(hashers) } else { from_zero(streamed, work) };
        }
        // It grew by what was written only, and zeros are not.
        work.file.set_len(hashers.bytes()).doing(|| "cut a file".into())?;
        match work.verify_range(0, hashers.bytes(), progress)? {
            Some(good) => {
                *leaves = good;
                Ok(hashers)
            }
            None => from_zero(streamed, work),
        }
    }

    /// Straight into the target.
    fn fill_raw(
        &self,
        stream: Found<'_>,
        work: &Work,
        mut leaves: BTreeMap<u64, [u8; 32]>,
        progress: &Progress,
    ) -> Result<Filled> {
        let Found { arriving: Arriving { label, mut reader, size, .. }, begun, arrival, .. } = stream;
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
        let mut room = Room::default();
        let end = target.write(progress, &mut |(start, leaf): Leaf| {
            if leaf.is_some() {
                data += CHUNK;
                room.take(&work.file, CHUNK)?;
            }
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
}

/// A stream in which the image was found.
pub(super) struct Found<'a> {
    pub(super) arriving: Arriving,
    /// Which of its bytes comes first.
    pub(super) begun: u64,
    pub(super) arrival: &'a Arrival,
    /// What the source's blocks are, where they can be fetched again.
    pub(super) blocks: Option<Arc<Blocks>>,
    /// Whether what was consumed is let go.
    pub(super) frees: bool,
    /// Set when that turns out to be wrong.
    pub(super) twice: &'a Cell<bool>,
}

/// Whether plugins are certain of an image, by its first bytes and, where they can be had, its last: those of a .dmg are a
/// compressed stream's and its own.
/// A member that is missing counts only in the right archive, read to its end: it makes others look elsewhere.
fn missing(streamed: &Streamed<'_>, arrival: &Arrival, error: Error) -> Error {
    if error.kind() != ErrorKind::NotFound {
        return error;
    }
    if arrival.hashed().is_none() {
        return lost(streamed.label, error);
    }
    arrival.verify(streamed.label, &streamed.expected).err().unwrap_or(error)
}

/// That the source itself is gone says nothing of what is in it.
fn lost(label: &str, error: Error) -> Error {
    match error.kind() {
        ErrorKind::NotFound => {
            Error::new(ErrorKind::Unavailable, format!("{label} was there, and is gone: {error}"))
        }
        _ => error,
    }
}

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
    blocks: Option<&Blocks>,
    reader: Incoming,
) -> Result<Arriving> {
    let mut head = blocks.map_or(Ok(Vec::new()), |blocks| blocks.fetch(blob.as_ref(), 0))?;
    head.truncate(HEAD);
    Ok(Arriving {
        label: streamed.label.to_owned(),
        reader: Box::new(Plain(reader)),
        size: streamed.size,
        head,
        base: Some(0),
        wrappings: Wrappings::default(),
    })
}

/// Starts over: what was left is not what it should be, or not all.
fn from_zero(streamed: &Streamed<'_>, work: &mut Work) -> Result<Hashers> {
    work.restart()?;
    Ok(Hashers::new(&streamed.expected))
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

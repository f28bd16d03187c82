//! Streams that a plugin has to map: read at random out of a spool.

use std::cell::RefCell;
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use super::Filled;
use super::SECTOR;
use super::streamed::{Found, TAIL};
use super::work::Work;
use crate::blob::Blob;
use crate::copy::{Observer, Planner, RawTarget, Unit, write_raw};
use crate::error::{Doing, Error, ErrorKind, Result};
use crate::map::{Chain, Ends, PieceKind};
use crate::progress::Progress;
use crate::request::{Access, ImportRequest};
use crate::source::Source;
use crate::space::Room;
use crate::store::{Store, dirs};
use crate::stream::{Arrival, Arriving, Blocks, Remote, Spool, Spooling, Wrappings};

impl Store {
    /// Through a plugin's map, over what has arrived.
    pub(super) fn fill_spooled(
        &self,
        access: Access<'_>,
        stream: Found<'_>,
        remote: Option<Arc<dyn Blob>>,
        work: &Work,
        request: &ImportRequest,
        progress: &Progress,
    ) -> Result<Filled> {
        let Found { arriving, begun, arrival, blocks, frees, twice } = stream;
        let Arriving { label, reader, size, head, base, .. } = arriving;
        let remote = remote.zip(base).zip(blocks.clone());
        let remote = remote.map(|((blob, base), blocks)| Remote { blob, base, blocks });
        let remote = remote.filter(|_| size.is_some());
        let spooling = Spooling {
            label,
            reader,
            start: begun,
            size,
            remote,
            ahead: work.finished.ahead.clone(),
            file: work.scratch()?,
            max: self.limits.max_data.saturating_add(1 << 30),
            frees,
        };
        let (spool, _feeding) = Spool::start(spooling, progress)?;
        let outcome = {
            let written = Written {
                work,
                spool: &spool,
                arrival,
                blocks: blocks.as_deref(),
                waiting: VecDeque::new(),
                room: Room::default(),
            };
            self.fill_from(access, &spool, &head, RefCell::new(written), frees, request, progress)
        };
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
        written: RefCell<Written<'_>>,
        frees: bool,
        request: &ImportRequest,
        progress: &Progress,
    ) -> Result<Filled> {
        let work = written.borrow().work;
        let (mut chain, format) = self.open_spool(access, spool, head, request, progress)?;
        let size = chain.disk_size();
        let done = work.verify_chunks(size, progress)?;
        work.file.set_len(size).doing(|| format!("make a file of {size} bytes"))?;
        let aside = progress.aside();
        let starts: BTreeSet<u64> = done.keys().copied().collect();
        let leaves = {
            let observe = |unit: &Unit, hashes: &[(u64, [u8; 32])]| written.borrow_mut().take(unit, hashes);
            let observer: Observer<'_> = &observe;
            let target = RawTarget { file: &work.file, hash: true, bounded: true, observer: Some(observer) };
            let planner = if frees {
                Planner::unsurveyed(&mut chain, self.limits.max_data, &aside).without(&starts)
            } else {
                // All of it is kept this time, so that it can be told beforehand how much there is.
                spool.wait_for_all()?;
                let survey = chain.survey(&aside, self.limits.max_data)?;
                dirs::check_space(&work.file, survey.data)?;
                Planner::new(&mut chain, survey, &aside)
            };
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

fn tail_of(spool: &Spool) -> Result<Vec<u8>> {
    let size = witvirt_core::source::ByteSource::size(spool);
    let mut tail = vec![0; size.min(TAIL) as usize];
    let start = size - tail.len() as u64;
    let read = witvirt_core::source::ByteSource::read_at(spool, &mut tail, start)
        .doing(|| format!("read {} at byte {start}", spool.label()))?;
    tail.truncate(read);
    Ok(tail)
}

/// First bytes and digests.
type Chunks = Vec<(u64, [u8; 32])>;

/// What is done with a written unit.
struct Written<'a> {
    work: &'a Work,
    spool: &'a Spool,
    arrival: &'a Arrival,
    blocks: Option<&'a Blocks>,
    /// Chunks that are not in the journal yet: what they were made of is not noted so far. The first number is how much of the
    /// source had arrived.
    waiting: VecDeque<(u64, Chunks)>,
    room: Room,
}

impl Written<'_> {
    /// Lets its sources go and notes that it is there. Of two attempts each chunk is made of, the second sees only the end of
    /// the source: whatever it does not see was hashed by the first, or is compared with what that one saw.
    fn take(&mut self, unit: &Unit, hashes: &[(u64, [u8; 32])]) -> Result<()> {
        consume(unit);
        self.room.take(&self.work.file, unit.data)?;
        let (Some(mut journal), Some(blocks)) = (self.work.journal(), self.blocks) else { return Ok(()) };
        self.waiting.push_back((self.spool.arrived(), hashes.to_vec()));
        let passed = blocks.passed();
        let ready = self.waiting.iter().take_while(|(needed, _)| *needed <= passed).count();
        journal.sources(passed, &self.spool.fetched_ahead())?;
        for (_, hashes) in self.waiting.drain(..ready) {
            journal.chunks(&hashes)?;
        }
        self.arrival.checkpoint(self.spool.consumed_to()).map_or(Ok(()), |saved| journal.hashers(saved))
    }
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

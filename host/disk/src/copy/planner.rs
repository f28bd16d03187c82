//! Cutting a merged map into units of work.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::content::CHUNK;
use crate::error::{Error, ErrorKind, Result};
use crate::map::{Chain, Piece, PieceKind, Survey};
use crate::progress::Progress;
use crate::source::Source;

use super::large::Large;
use super::raw::Cloner;

/// Usual guest bytes in a unit: large enough for long reads and writes and few handovers between threads, small enough to
/// stay in a processor's cache between reading, hashing and writing, and to keep memory below that of others.
pub(super) const UNIT: u64 = CHUNK;

/// Most guest bytes in a unit; reached when encoded runs straddle its usual end.
const MAX_UNIT: u64 = 4 << 20;

/// Runs that decode to more are decoded by the planner ([`Large`]), one at a time, and handed on in pieces.
const MAX_SHARED: usize = 2 << 20;

/// Guest bytes `start .. start + length` to be moved by one thread.
#[derive(Debug)]
pub(crate) struct Unit {
    /// A multiple of the planner's alignment.
    pub(crate) start: u64,
    /// A multiple of the alignment too, except at the end of the disk.
    pub(crate) length: usize,
    /// What is not zero, ascending.
    pub(crate) pieces: Vec<Planned>,
    /// Bytes in the pieces.
    pub(crate) data: u64,
}

impl Unit {
    /// Bytes of it that are in memory already.
    pub(super) fn held(&self) -> u64 {
        let bytes = |planned: &Planned| match &planned.piece.kind {
            PieceKind::Bytes(bytes) => bytes.len() as u64,
            _ => 0,
        };
        self.pieces.iter().map(bytes).sum()
    }
}

/// A piece of a unit.
#[derive(Debug)]
pub(crate) struct Planned {
    /// Where it comes from.
    pub(crate) piece: Piece,
    /// Whether the target has it already, as a clone.
    pub(crate) cloned: bool,
}

/// A run without holes in a file, as it was last asked for.
struct Stored {
    file: (u64, u64),
    start: u64,
    end: u64,
}

impl Stored {
    fn covers(&self, source: &dyn Source, offset: u64) -> bool {
        self.file == source.identity() && self.start <= offset && offset < self.end
    }
}

/// Walks the map of a chain from its beginning to its end.
pub(crate) struct Planner<'a> {
    chain: &'a mut Chain,
    size: u64,
    at: u64,
    align: u64,
    left: u64,
    cloner: Option<Cloner<'a>>,
    large: Large,
    stored: Option<Stored>,
    surveyed: bool,
    done: Option<&'a BTreeSet<u64>>,
    progress: &'a Progress,
}

impl<'a> Planner<'a> {
    /// `survey` was made of the same chain; a map that turns out larger is refused.
    pub(crate) fn new(chain: &'a mut Chain, survey: Survey, progress: &'a Progress) -> Self {
        chain.restart();
        let size = chain.disk_size();
        let large = Large::new(size, &chain.records().0.path);
        Self {
            chain,
            size,
            at: 0,
            align: CHUNK,
            left: survey.mapped,
            cloner: None,
            large,
            stored: None,
            surveyed: true,
            done: None,
            progress,
        }
    }

    /// For a chain whose map arrives while it is read: nobody knows how much there is, but it may not be more than
    /// `max_data` bytes.
    pub(crate) fn unsurveyed(chain: &'a mut Chain, max_data: u64, progress: &'a Progress) -> Self {
        Self { surveyed: false, ..Self::new(chain, Survey { data: max_data, mapped: max_data }, progress) }
    }

    /// Leaves out the chunks of the disk that start at these bytes: the target has them already.
    #[must_use]
    pub(crate) fn without(mut self, done: &'a BTreeSet<u64>) -> Self {
        self.done = Some(done).filter(|done| !done.is_empty());
        self
    }

    /// Where it is told how far this is.
    pub(super) fn progress(&self) -> &'a Progress {
        self.progress
    }

    /// Bytes of the disk.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Units start at multiples of `align` (bytes, a power of two).
    #[must_use]
    pub(crate) fn aligned(mut self, align: u64) -> Self {
        self.align = align.max(CHUNK);
        self
    }

    /// Tries to clone data into the target before anything is copied.
    #[must_use]
    pub(super) fn cloning(mut self, cloner: Cloner<'a>) -> Self {
        self.cloner = Some(cloner);
        self
    }

    /// The next unit with data in it.
    pub(crate) fn next_unit(&mut self) -> Result<Option<Unit>> {
        self.progress.check()?;
        let Some(first) = self.skip_zeros()? else {
            self.large.finish()?;
            return Ok(None);
        };
        let start = first / self.align * self.align;
        let mut end = start.saturating_add(UNIT.max(self.align)).min(self.size);
        if let Some(next) = self.done.and_then(|done| done.range(start..end).next()) {
            end = *next;
        }
        self.collect(start, end, MAX_UNIT).map(Some)
    }

    /// The first byte that has to be moved and was not planned yet.
    pub(super) fn next_data(&mut self) -> Result<Option<u64>> {
        let first = self.skip_zeros()?;
        if first.is_none() {
            self.large.finish()?;
        }
        Ok(first)
    }

    /// What lies from `start` to `end`, multiples of the alignment, or the end of the disk; not before what was planned.
    pub(super) fn unit_of(&mut self, start: u64, end: u64) -> Result<Unit> {
        self.collect(start, end, 0)
    }

    /// The unit from `start` to `end`, or later where an encoded run straddles that and the unit is shorter than `most`.
    fn collect(&mut self, start: u64, mut end: u64, most: u64) -> Result<Unit> {
        let mut pieces: Vec<Planned> = Vec::new();
        let mut data = 0;
        // A clone may reach past the end of the unit.
        while self.at < end.min(self.size) {
            let whole = self.fetch()?;
            let whole_end = whole.start + whole.length;
            let straddles = whole_end > end && matches!(&whole.kind, PieceKind::Encoded(_));
            if straddles && end - start < most {
                end = (end + self.align).min(self.size);
                continue;
            }
            if self.clone_only(&whole) {
                self.pass(whole.length)?;
                continue;
            }
            let piece = self.cut(whole, end - self.at)?;
            self.at += piece.length;
            if !matches!(piece.kind, PieceKind::Zero) {
                data += piece.length;
                let cloned = self.cloner.as_ref().is_some_and(|cloner| piece.start < cloner.cloned_to());
                pieces.push(Planned { piece, cloned });
            }
        }
        self.left = self.left.checked_sub(data).ok_or_else(|| self.grew())?;
        Ok(Unit { start, length: (end - start) as usize, pieces, data })
    }

    fn grew(&self) -> Error {
        let (record, _) = self.chain.records();
        if !self.surveyed {
            let message = format!("{} holds more data than is allowed (guest byte {})", record.path, self.at);
            return Error::new(ErrorKind::Limit, message);
        }
        let message = format!(
            "plugin {} {}: the map of {} holds more data than when it was read before (guest byte {})",
            record.plugin, record.plugin_version, record.path, self.at
        );
        Error::new(ErrorKind::Plugin, message)
    }

    /// Moves to the next byte that has to be moved.
    fn skip_zeros(&mut self) -> Result<Option<u64>> {
        while self.at < self.size {
            if self.done.is_some_and(|done| done.contains(&(self.at / CHUNK * CHUNK))) {
                self.at = ((self.at / CHUNK + 1) * CHUNK).min(self.size);
                continue;
            }
            let mut piece = self.fetch()?;
            if self.done.is_some() {
                // No further than to the next chunk, which may be done.
                piece.length = piece.length.min(CHUNK - self.at % CHUNK);
            }
            match piece.kind {
                PieceKind::Zero => self.at += piece.length,
                _ if self.clone_only(&piece) => self.pass(piece.length)?,
                _ => return Ok(Some(self.at)),
            }
        }
        Ok(None)
    }

    /// Counts data that needs nobody's work any more.
    fn pass(&mut self, length: u64) -> Result<()> {
        self.at += length;
        self.left = self.left.checked_sub(length).ok_or_else(|| self.grew())?;
        self.progress.advance(length);
        Ok(())
    }

    /// Whether a clone is all that had to be done for this piece: nobody wants to see its bytes.
    fn clone_only(&self, piece: &Piece) -> bool {
        let done =
            |cloner: &Cloner<'_>| !cloner.bytes_wanted() && piece.start + piece.length <= cloner.cloned_to();
        self.cloner.as_ref().is_some_and(done)
    }

    /// What lies at the current position, up to where it changes: a hole of a raw file is a zero piece.
    fn fetch(&mut self) -> Result<Piece> {
        let mut piece = self.chain.piece(self.at, self.size)?;
        let PieceKind::Data { source, offset } = &piece.kind else { return Ok(piece) };
        match self.stored.take().filter(|stored| stored.covers(source.as_ref(), *offset)) {
            Some(stored) => self.stored = Some(stored),
            None => {
                let data = source.next_data(*offset);
                if data > *offset {
                    piece.length = piece.length.min(data - offset);
                    piece.kind = PieceKind::Zero;
                    return Ok(piece);
                }
                let end = source.next_hole(*offset).max(offset + 1);
                self.stored = Some(Stored { file: source.identity(), start: *offset, end });
            }
        }
        let end = self.stored.as_ref().map_or(u64::MAX, |stored| stored.end);
        piece.length = piece.length.min(end - offset);
        if let Some(cloner) = &mut self.cloner {
            piece.length = cloner.try_clone(source.as_ref(), *offset, piece.start, piece.length);
        }
        Ok(piece)
    }

    /// The first `most` bytes of a piece; decoded, where only the planner can do that.
    fn cut(&mut self, mut piece: Piece, most: u64) -> Result<Piece> {
        piece.length = piece.length.min(most);
        match &piece.kind {
            PieceKind::Encoded(run) if run.codec.is_native() && run.decoded <= MAX_SHARED => Ok(piece),
            PieceKind::Encoded(run) => {
                let bytes = self.large.read(self.chain, run, piece.start, piece.length as usize)?;
                Ok(Piece { kind: PieceKind::Bytes(Arc::new(bytes)), ..piece })
            }
            PieceKind::Bytes(bytes) if bytes.len() as u64 > piece.length => {
                let cut = bytes[..piece.length as usize].to_vec();
                Ok(Piece { kind: PieceKind::Bytes(Arc::new(cut)), ..piece })
            }
            _ => Ok(piece),
        }
    }
}

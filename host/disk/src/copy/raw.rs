//! Writing a disk as a raw file, its zeros as holes.

use std::convert::Infallible;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, PoisonError};

use rustix::fs::Advice;

use crate::content::{self, CHUNK, Leaves};
use crate::error::{Doing, Result};
use crate::map::{Piece, PieceKind};
use crate::progress::Progress;
use crate::source::Source;
use crate::sys;

use super::buffer::Buffer;
use super::pipeline::{self, Course, Work};
use super::planner::{Planner, Unit};
use super::read::Reader;

/// Blocks in which zeros are looked for, in bytes: what filesystems allocate.
const BLOCK: u64 = 4096;

static ZEROS: [u8; BLOCK as usize] = [0; BLOCK as usize];

/// Bytes that are read before they are written: half of what a processor's second cache usually holds.
const STRIP: usize = 512 << 10;

/// How much is written between two calls that push dirty pages out, in bytes. About three times as much may be dirty.
const WINDOW: u64 = 32 << 20;

/// A new file, empty and as long as the disk.
#[derive(Clone, Copy)]
pub(crate) struct RawTarget<'a> {
    /// Opened for writing.
    pub(crate) file: &'a File,
    /// Whether the content digest is wanted.
    pub(crate) hash: bool,
    /// Whether dirty pages are pushed out on the way: a caller that will fsync has less to wait for then, and an importer
    /// with little memory keeps within it.
    pub(crate) bounded: bool,
    /// Told of every unit when it is written, in order, with the digests of its chunks.
    pub(crate) observer: Option<Observer<'a>>,
}

/// See [`RawTarget::observer`].
pub(crate) type Observer<'a> = &'a dyn Fn(&Unit, &[(u64, [u8; 32])]) -> Result<()>;

/// Writes everything that the planner finds. The leaves are empty unless `target.hash`.
pub(crate) fn write_raw<'a>(
    planner: Planner<'a>,
    target: RawTarget<'a>,
    size: u64,
    threads: usize,
    progress: &'a Progress,
) -> Result<Leaves> {
    let cloner = Cloner { target: target.file, bytes_wanted: target.hash, cloned_to: 0, works: true };
    let mut copying = Copying {
        planner: planner.cloning(cloner),
        target,
        leaves: Leaves::new(size),
        window: target.bounded.then(|| Window::new(target.file, 0)),
        progress,
    };
    pipeline::run(
        &mut copying,
        &Writing { file: target.file, hash: target.hash, turn: Mutex::new(()) },
        threads,
    )?;
    Ok(copying.leaves)
}

/// Reads, writes and hashes.
struct Writing<'a> {
    file: &'a File,
    hash: bool,
    /// The kernel lets one thread write a file at a time; those that wait there spin, and keep others from decoding.
    turn: Mutex<()>,
}

impl Work for Writing<'_> {
    type State = (Reader, Buffer);
    type Unit = Unit;
    /// The digests of its chunks.
    type Made = Vec<(u64, [u8; 32])>;
    type Placed = Infallible;

    /// Nothing is kept of what was made.
    const UNITS_PER_THREAD: u64 = 16;

    fn state(&self) -> Self::State {
        (Reader::new(), Buffer::default())
    }

    fn make(&self, (reader, buffer): &mut Self::State, unit: &Unit) -> Result<Self::Made> {
        let Self { file, hash, .. } = *self;
        if !hash && is_stored(unit) {
            copy_stored(file, unit, buffer.bytes(STRIP), &self.turn)?;
            return Ok(Vec::new());
        }
        let buffer = buffer.bytes(unit.length);
        reader.fill(unit, buffer)?;
        // Nothing is guarded that a panic could have left half done.
        let turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        write_unit(file, unit, buffer)?;
        drop(turn);
        Ok(if hash { hash_unit(unit, buffer) } else { Vec::new() })
    }

    fn write(&self, placed: Infallible) -> Result<()> {
        match placed {}
    }

    fn held(unit: &Unit) -> u64 {
        unit.held()
    }
}

struct Copying<'a> {
    planner: Planner<'a>,
    target: RawTarget<'a>,
    leaves: Leaves,
    window: Option<Window<'a>>,
    progress: &'a Progress,
}

impl<'w> Course<Writing<'w>> for Copying<'_> {
    fn next(&mut self) -> Result<Option<Unit>> {
        self.planner.next_unit()
    }

    fn place(&mut self, unit: &Unit, hashes: Vec<(u64, [u8; 32])>) -> Result<Option<Infallible>> {
        if let Some(observer) = self.target.observer {
            observer(unit, &hashes)?;
        }
        for (start, hash) in hashes {
            self.leaves.set(start, hash);
        }
        if let Some(window) = &mut self.window {
            window.push(unit.start);
        }
        Ok(None)
    }

    fn finished(&mut self, unit: &Unit) -> Result<()> {
        self.progress.advance(unit.data);
        Ok(())
    }
}

/// Whether nothing of the unit has to be decoded.
fn is_stored(unit: &Unit) -> bool {
    unit.pieces.iter().all(|planned| !matches!(planned.piece.kind, PieceKind::Encoded(_)))
}

/// Copies a unit strip by strip, while each strip is still in the processor's cache.
fn copy_stored(file: &File, unit: &Unit, strip: &mut [u8], writing: &Mutex<()>) -> Result<()> {
    for planned in unit.pieces.iter().filter(|planned| !planned.cloned) {
        let Piece { start, length, kind } = &planned.piece;
        let write = |at: u64, bytes: &[u8]| {
            let _turn = writing.lock().unwrap_or_else(PoisonError::into_inner);
            write_nonzero(file, at, bytes)
        };
        match kind {
            PieceKind::Zero | PieceKind::Encoded(_) => {}
            PieceKind::Bytes(bytes) => write(*start, &bytes[..*length as usize])?,
            PieceKind::Data { source, offset } => {
                let end = offset + length;
                // Blocks of an image may be holes of its file, which are zeros that nobody has to read.
                let mut at = source.next_data(*offset).min(end);
                while at < end {
                    let hole = source.next_hole(at).clamp(at + 1, end);
                    let strip = &mut strip[..(hole - at).min(STRIP as u64) as usize];
                    source.read_exact_at(strip, at)?;
                    write(start + (at - offset), strip)?;
                    at = source.next_data(at + strip.len() as u64).min(end);
                }
            }
        }
    }
    Ok(())
}

fn hash_unit(unit: &Unit, buffer: &[u8]) -> Vec<(u64, [u8; 32])> {
    let chunks = buffer.chunks(CHUNK as usize).enumerate();
    chunks.map(|(index, chunk)| (unit.start + index as u64 * CHUNK, content::leaf(chunk))).collect()
}

/// Writes what the target does not have as a clone already.
fn write_unit(file: &File, unit: &Unit, buffer: &[u8]) -> Result<()> {
    let mut run: Option<(usize, usize)> = None;
    for planned in unit.pieces.iter().filter(|planned| !planned.cloned) {
        let from = (planned.piece.start - unit.start) as usize;
        let to = from + planned.piece.length as usize;
        match &mut run {
            Some((_, end)) if *end == from => *end = to,
            _ => {
                if let Some((from, to)) = run.replace((from, to)) {
                    write_nonzero(file, unit.start + from as u64, &buffer[from..to])?;
                }
            }
        }
    }
    let Some((from, to)) = run else { return Ok(()) };
    write_nonzero(file, unit.start + from as u64, &buffer[from..to])
}

/// Writes `bytes` at `offset`, without the blocks that are all zeros.
pub(crate) fn write_nonzero(file: &File, offset: u64, bytes: &[u8]) -> Result<()> {
    let mut pending = 0;
    let mut at = 0;
    while at < bytes.len() {
        let block = (BLOCK - (offset + at as u64) % BLOCK) as usize;
        let end = (at + block).min(bytes.len());
        if is_zero(&bytes[at..end]) {
            write_all(file, offset + pending as u64, &bytes[pending..at])?;
            pending = end;
        }
        at = end;
    }
    write_all(file, offset + pending as u64, &bytes[pending..])
}

/// Whether there are only zeros.
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    bytes.chunks(ZEROS.len()).all(|block| *block == ZEROS[..block.len()])
}

pub(super) fn write_all(file: &File, offset: u64, bytes: &[u8]) -> Result<()> {
    if bytes.is_empty() {
        return Ok(());
    }
    file.write_all_at(bytes, offset)
        .doing(|| format!("write {} bytes at byte {offset} of the new file", bytes.len()))
}

/// Pushes dirty pages out behind the writers.
pub(crate) struct Window<'a> {
    file: &'a File,
    pushed: u64,
}

impl<'a> Window<'a> {
    /// For a file that is written from `start` (bytes) on.
    pub(crate) fn new(file: &'a File, start: u64) -> Self {
        Self { file, pushed: start / WINDOW * WINDOW }
    }

    /// Everything before `written` has been written.
    pub(crate) fn push(&mut self, written: u64) {
        while written - self.pushed >= WINDOW {
            let start = written / WINDOW * WINDOW - WINDOW;
            sys::start_writeback(self.file, start, WINDOW);
            if let Some(before) = start.checked_sub(2 * WINDOW) {
                sys::wait_writeback(self.file, before, WINDOW);
                // Nobody reads an image right after its import; a failed hint costs nothing.
                let _ = rustix::fs::fadvise(
                    self.file,
                    before,
                    std::num::NonZeroU64::new(WINDOW),
                    Advice::DontNeed,
                );
            }
            self.pushed = start + WINDOW;
        }
    }
}

/// Clones data where the filesystem can; finds out by trying.
pub(super) struct Cloner<'a> {
    target: &'a File,
    bytes_wanted: bool,
    cloned_to: u64,
    works: bool,
}

impl Cloner<'_> {
    /// Whether the bytes have to be read although they were cloned, to hash them.
    pub(super) fn bytes_wanted(&self) -> bool {
        self.bytes_wanted
    }

    /// The guest byte up to which the last clone reaches.
    pub(super) fn cloned_to(&self) -> u64 {
        self.cloned_to
    }

    /// Clones `length` bytes, as far as they are aligned, unless that was done before. Returns the length of what is
    /// either wholly cloned or not at all, from its beginning.
    pub(super) fn try_clone(&mut self, source: &dyn Source, offset: u64, guest: u64, length: u64) -> u64 {
        if guest < self.cloned_to {
            return length.min(self.cloned_to - guest);
        }
        let Some((file, base)) = source.file() else { return length };
        let file_offset = base + offset;
        let aligned = length / BLOCK * BLOCK;
        if !self.works || aligned == 0 || !file_offset.is_multiple_of(BLOCK) || !guest.is_multiple_of(BLOCK) {
            return length;
        }
        // Other errors than "not here" are no reason to fail either: copying will say what is wrong.
        match sys::clone_range(file, file_offset, aligned, self.target, guest) {
            Ok(()) => {
                self.cloned_to = guest + aligned;
                aligned
            }
            Err(_) => {
                self.works = false;
                length
            }
        }
    }
}

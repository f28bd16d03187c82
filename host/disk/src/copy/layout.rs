//! Writing a disk in a format that a plugin lays out.

use std::fs::File;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use witvirt_core::format::{Ending, WritePlan, Writer};

use crate::codec::{Encoder, NativeCodec};
use crate::error::{Doing, Error, ErrorKind, Result};
use crate::progress::Progress;

use super::buffer::{Buffer, Pool};
use super::difference::Difference;
use super::encode::{Encoding, Stored, store_encoded, store_plain};
use super::pipeline::{self, Course, Work};
use super::planner::{Planner, Unit};
use super::raw::{Window, write_all, write_nonzero};
use super::read::Reader;

/// Most chunks in one call of `allocate` (`witvirt:disk/layout`).
const MAX_CHUNKS: usize = 4096;

/// Largest chunk of guest data, in bytes.
const MAX_CHUNK: u32 = 4 << 20;

/// Chunks from this size on are written without the zeros in them: the rest of the file is new, and so holes.
const SPARSE_CHUNK: u32 = 1 << 20;

/// Most calls of `finish`, each of which may bring 4 MiB.
const MAX_ENDINGS: usize = 1 << 16;

/// In plans: zlib for every chunk, whether or not it becomes smaller, the last one filled up with zeros.
const ZLIB_ALWAYS: &str = "zlib-always";

/// A new, empty file and the plugin that says where things go in it.
pub(crate) struct LayoutTarget<'a> {
    /// Opened for writing.
    pub(crate) file: &'a File,
    /// Lays it out.
    pub(crate) writer: &'a mut dyn Writer,
    /// Names the plugin and its version in messages.
    pub(crate) plugin: String,
    /// Where the file must end at the latest.
    pub(crate) max_size: u64,
    /// Whether data is flushed before metadata is written.
    pub(crate) sync: bool,
}

/// What is written.
pub(crate) enum Units<'a> {
    /// Nothing: an empty overlay.
    None,
    /// A disk.
    All(Box<Planner<'a>>),
    /// What a disk has that the one below it has not.
    Difference(Box<Difference<'a>>),
}

impl Units<'_> {
    fn aligned(self, align: u64) -> Self {
        match self {
            Self::None => Self::None,
            Self::All(planner) => Self::All(Box::new(planner.aligned(align))),
            Self::Difference(difference) => Self::Difference(Box::new(difference.aligned(align))),
        }
    }

    /// A unit of the disk, and the same place of what lies below.
    fn next(&mut self) -> Result<Option<(Unit, Option<Unit>)>> {
        match self {
            Self::None => Ok(None),
            Self::All(planner) => Ok(planner.next_unit()?.map(|unit| (unit, None))),
            Self::Difference(difference) => {
                Ok(difference.next_units()?.map(|(unit, below)| (unit, Some(below))))
            }
        }
    }
}

/// Writes the units and then the metadata. Returns the length of the file.
pub(crate) fn write_layout(
    units: Units<'_>,
    mut target: LayoutTarget<'_>,
    threads: usize,
    progress: &Progress,
) -> Result<u64> {
    let plan = target.writer.plan()?;
    let storing = Storing {
        file: target.file,
        chunk_size: plan.chunk_size as usize,
        encoding: target.check_plan(&plan)?,
        sparse: plan.chunk_size >= SPARSE_CHUNK,
        pool: Pool::default(),
        writing: Mutex::new(()),
    };
    if !matches!(units, Units::None) {
        let units = units.aligned(u64::from(plan.chunk_size));
        let window = target.sync.then(|| Window::new(target.file, 0));
        let mut placing = Placing { units, target: &mut target, progress, window, end: 0 };
        pipeline::run(&mut placing, &storing, threads)?;
    }
    target.finish()
}

/// Reads, encodes and writes.
struct Storing<'a> {
    file: &'a File,
    chunk_size: usize,
    encoding: Option<Encoding>,
    sparse: bool,
    pool: Pool,
    /// The kernel lets one thread write a file at a time; those that wait there spin.
    writing: Mutex<()>,
}

/// What a thread keeps.
struct Tools {
    reader: Reader,
    data: Buffer,
    below: Buffer,
    encoder: Option<Encoder>,
}

/// Bytes of a buffer with their places in the file.
struct Placed {
    buffer: Buffer,
    runs: Vec<(u64, Range<usize>)>,
}

impl Work for Storing<'_> {
    type State = Tools;
    type Unit = (Unit, Option<Unit>);
    type Made = Stored;
    type Placed = Placed;

    /// Each has a buffer from its making to its writing.
    const UNITS_PER_THREAD: u64 = 3;

    fn state(&self) -> Tools {
        Tools {
            reader: Reader::new(),
            data: Buffer::default(),
            below: Buffer::default(),
            encoder: self.encoding.map(|encoding| Encoder::new(encoding.codec)),
        }
    }

    fn make(&self, tools: &mut Tools, (unit, below): &Self::Unit) -> Result<Stored> {
        let Tools { reader, data, below: below_data, encoder } = tools;
        let below = match below {
            None => None,
            Some(below) => {
                reader.fill(below, below_data.bytes(below.length))?;
                Some(&*below_data.bytes(below.length))
            }
        };
        let mut buffer = self.pool.take();
        match (encoder, self.encoding) {
            (Some(encoder), Some(Encoding { always, .. })) => {
                let data = data.bytes(unit.length);
                reader.fill(unit, data)?;
                store_encoded(unit, data, below, self.chunk_size, encoder, always, buffer)
            }
            _ => {
                reader.fill(unit, buffer.bytes(unit.length))?;
                Ok(store_plain(unit, buffer, below, self.chunk_size))
            }
        }
    }

    fn write(&self, placed: Placed) -> Result<()> {
        let Placed { mut buffer, runs } = placed;
        let bytes = buffer.bytes(runs.iter().map(|(_, run)| run.end).max().unwrap_or(0));
        for (offset, run) in runs {
            // Nothing is guarded that a panic could have left half done.
            let _turn = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
            if self.sparse {
                write_nonzero(self.file, offset, &bytes[run])?;
            } else {
                write_all(self.file, offset, &bytes[run])?;
            }
        }
        self.pool.give(buffer);
        Ok(())
    }

    fn held((unit, below): &Self::Unit) -> u64 {
        unit.held() + below.as_ref().map_or(0, Unit::held)
    }
}

/// Asks the plugin where things go.
struct Placing<'t, 'a> {
    units: Units<'t>,
    target: &'t mut LayoutTarget<'a>,
    progress: &'t Progress,
    window: Option<Window<'t>>,
    /// Where the last placed byte is.
    end: u64,
}

impl<'s> Course<Storing<'s>> for Placing<'_, '_> {
    fn next(&mut self) -> Result<Option<(Unit, Option<Unit>)>> {
        self.units.next()
    }

    fn place(&mut self, _: &(Unit, Option<Unit>), stored: Stored) -> Result<Option<Placed>> {
        let runs = self.target.place(&stored)?;
        if let (Some(window), Some((offset, run))) = (&mut self.window, runs.last()) {
            // What was placed before is being written, if it is not yet.
            window.push(self.end);
            self.end = self.end.max(offset + run.len() as u64);
        }
        Ok(Some(Placed { buffer: stored.buffer, runs }))
    }

    fn finished(&mut self, (unit, _): &(Unit, Option<Unit>)) -> Result<()> {
        self.progress.advance(unit.data);
        Ok(())
    }
}

impl LayoutTarget<'_> {
    fn check_plan(&self, plan: &WritePlan) -> Result<Option<Encoding>> {
        if plan.chunk_size < 512 || plan.chunk_size > MAX_CHUNK || !plan.chunk_size.is_power_of_two() {
            let what = format!(
                "wants chunks of {} bytes; powers of two from 512 to {MAX_CHUNK} are possible",
                plan.chunk_size
            );
            return Err(self.lie(&what));
        }
        match (plan.codec.as_str(), NativeCodec::from_name(&plan.codec)) {
            ("", _) => Ok(None),
            (ZLIB_ALWAYS, _) => Ok(Some(Encoding { codec: NativeCodec::Zlib, always: true })),
            (_, Some(codec)) if codec.encodes() => Ok(Some(Encoding { codec, always: false })),
            (other, _) => Err(self.lie(&format!(
                "wants data in the codec \"{}\", which the host does not write",
                other.escape_debug()
            ))),
        }
    }

    fn lie(&self, what: &str) -> Error {
        Error::new(ErrorKind::Plugin, format!("{} {what}", self.plugin))
    }

    /// Asks where the chunks go. Chunks that are neighbours in the buffer and in the file are one run.
    fn place(&mut self, stored: &Stored) -> Result<Vec<(u64, Range<usize>)>> {
        let mut runs: Vec<(u64, Range<usize>)> = Vec::new();
        for (chunks, starts) in stored.chunks.chunks(MAX_CHUNKS).zip(stored.starts.chunks(MAX_CHUNKS)) {
            let offsets = self.writer.allocate(chunks)?;
            if offsets.len() != chunks.len() {
                return Err(self.lie(&format!("gave {} places for {} chunks", offsets.len(), chunks.len())));
            }
            for ((chunk, start), offset) in chunks.iter().zip(starts).zip(offsets) {
                self.check_range(offset, chunk.stored)?;
                let end = start + chunk.stored as usize;
                match runs.last_mut() {
                    Some((at, run)) if *at + run.len() as u64 == offset && run.end == *start => run.end = end,
                    _ => runs.push((offset, *start..end)),
                }
            }
        }
        Ok(runs)
    }

    fn check_range(&self, offset: u64, length: u64) -> Result<u64> {
        match offset.checked_add(length) {
            Some(end) if end <= self.max_size => Ok(end),
            _ => Err(self
                .lie(&format!("puts {length} bytes at {offset}; the file may have {} bytes", self.max_size))),
        }
    }

    /// Flushes the data, writes the metadata and sets the length.
    fn finish(&mut self) -> Result<u64> {
        if self.sync {
            self.file.sync_data().doing(|| "flush the new file".into())?;
        }
        let mut end = self.file.metadata().doing(|| "stat the new file".into())?.len();
        for _ in 0..MAX_ENDINGS {
            let Ending { writes, size, next } = self.writer.finish()?;
            for write in &writes {
                end = end.max(self.check_range(write.offset, write.bytes.len() as u64)?);
                write_all(self.file, write.offset, &write.bytes)?;
            }
            if next {
                continue;
            }
            self.check_range(size, 0)?;
            if size < end {
                return Err(self.lie(&format!("gives the file {size} bytes, but has put data up to {end}")));
            }
            self.file.set_len(size).doing(|| format!("give the new file {size} bytes"))?;
            return Ok(size);
        }
        Err(self.lie("does not come to an end"))
    }
}

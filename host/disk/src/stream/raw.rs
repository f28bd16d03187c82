//! A raw disk that arrives as a stream: straight into the target, its zeros as holes.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

use super::holes::Stream;
use super::incoming::failure;
use crate::content::{self, CHUNK};
use crate::copy::{Window, is_zero, write_nonzero};
use crate::error::{Error, ErrorKind, Result};
use crate::progress::Progress;

/// What a disk has a whole number of, in bytes.
const SECTOR: usize = 512;

/// What is written where.
pub(crate) struct RawStream<'a> {
    /// Names the source in messages.
    pub(crate) label: &'a str,
    /// The disk's bytes from `start` on.
    pub(crate) reader: &'a mut dyn Stream,
    /// The disk, for writing.
    pub(crate) file: &'a File,
    /// Where in the disk the first byte belongs.
    pub(crate) start: u64,
    /// Where the disk must not reach beyond.
    pub(crate) max: u64,
    /// Whether the stream's end is the disk's: then it is filled up to a whole sector with zeros.
    pub(crate) whole: bool,
    /// Threads that hash and write.
    pub(crate) threads: usize,
}

/// A chunk of the disk: where it starts, and its digest; `None` for zeros.
pub(crate) type Leaf = (u64, Option<[u8; 32]>);

struct Chunk {
    start: u64,
    bytes: Vec<u8>,
}

/// What is told of a chunk, if anything: its digest, or that it is all zeros.
type Told = Option<Option<[u8; 32]>>;

struct Done {
    start: u64,
    /// `None` where the chunk is only a part of one: somebody else knows the rest.
    leaf: Told,
    buffer: Vec<u8>,
}

impl RawStream<'_> {
    /// Writes everything up to the end of the reader, calling `finished` with whole chunks, and the last one, in order. A
    /// chunk of which only a part was in the stream's beginning is not among them, nor are those in a hole. Returns just past the last byte.
    pub(crate) fn write(
        mut self,
        progress: &Progress,
        finished: &mut dyn FnMut(Leaf) -> Result<()>,
    ) -> Result<u64> {
        let (chunks, queue) = sync_channel::<Chunk>(self.threads);
        let (results, done) = channel::<Result<Done>>();
        let queue = Mutex::new(queue);
        let writing = Mutex::new(());
        let file = self.file;
        std::thread::scope(|scope| {
            for _ in 0..self.threads.max(1) {
                let results = results.clone();
                scope.spawn(|| worker(file, &queue, &writing, results));
            }
            drop(results);
            let mut order = Order::new(file, self.start);
            let read = self.read(&chunks, &done, &mut order, progress, finished);
            // Ends the workers.
            drop(chunks);
            let end = read?;
            while let Ok(result) = done.recv() {
                order.take(result?, finished)?;
            }
            Ok(end)
        })
    }

    fn read(
        &mut self,
        chunks: &SyncSender<Chunk>,
        done: &Receiver<Result<Done>>,
        order: &mut Order<'_>,
        progress: &Progress,
        finished: &mut dyn FnMut(Leaf) -> Result<()>,
    ) -> Result<u64> {
        let mut at = self.start;
        loop {
            progress.check()?;
            while let Ok(result) = done.try_recv() {
                order.take(result?, finished)?;
            }
            let hole = if at.is_multiple_of(CHUNK) { self.hole(at)? } else { 0 };
            let chunks_of_it = hole / CHUNK * CHUNK;
            if chunks_of_it > 0 {
                order.pass(at, at + chunks_of_it, finished)?;
                at += chunks_of_it;
            }
            let lead = (hole - chunks_of_it) as usize;
            let length = (CHUNK - at % CHUNK) as usize;
            let mut bytes = order.spare.pop().unwrap_or_default();
            bytes.resize(length, 0);
            bytes[..lead].fill(0);
            let filled = lead + self.fill(&mut bytes[lead..])?;
            let padded = if self.whole { filled.next_multiple_of(SECTOR) } else { filled };
            bytes.truncate(padded);
            bytes[filled..].fill(0);
            let start = at;
            at += filled as u64;
            if at > self.max {
                return Err(self.too_long());
            }
            if filled > 0 {
                let gone = |_| Error::new(ErrorKind::Io, "the writing threads ended early");
                chunks.send(Chunk { start, bytes }).map_err(gone)?;
            }
            if filled < length {
                return Ok(at);
            }
        }
    }

    /// Passes over what is stored nowhere.
    fn hole(&mut self, at: u64) -> Result<u64> {
        let most = self.max.saturating_sub(at).saturating_add(1);
        let hole = self.reader.hole(most);
        let hole = hole.map_err(|error| failure(error, || format!("read {}", self.label)))?;
        if hole < most { Ok(hole) } else { Err(self.too_long()) }
    }

    fn too_long(&self) -> Error {
        let message =
            format!("{} is a disk of more than the {} bytes that are allowed", self.label, self.max);
        Error::new(ErrorKind::Limit, message)
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.reader.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(failure(error, || format!("read {}", self.label))),
            }
        }
        Ok(filled)
    }
}

fn worker(file: &File, queue: &Mutex<Receiver<Chunk>>, writing: &Mutex<()>, results: Sender<Result<Done>>) {
    loop {
        let Ok(Ok(Chunk { start, bytes })) = queue.lock().map(|queue| queue.recv()) else { return };
        let outcome = store(file, start, &bytes, writing);
        let whole = start.is_multiple_of(CHUNK);
        let done = outcome.map(|leaf| Done { start, leaf: whole.then_some(leaf), buffer: bytes });
        if results.send(done).is_err() {
            return;
        }
    }
}

fn store(file: &File, start: u64, bytes: &[u8], writing: &Mutex<()>) -> Result<Option<[u8; 32]>> {
    if is_zero(bytes) {
        return Ok(None);
    }
    let turn = writing.lock();
    write_nonzero(file, start, bytes)?;
    drop(turn);
    Ok(Some(content::leaf(bytes)))
}

/// Brings results into the order of the disk.
struct Order<'a> {
    next: u64,
    /// By their first byte: where they end, and what is told of them.
    early: BTreeMap<u64, (u64, Told)>,
    spare: Vec<Vec<u8>>,
    window: Window<'a>,
}

impl<'a> Order<'a> {
    fn new(file: &'a File, start: u64) -> Self {
        Self { next: start, early: BTreeMap::new(), spare: Vec::new(), window: Window::new(file, start) }
    }

    fn take(&mut self, done: Done, finished: &mut dyn FnMut(Leaf) -> Result<()>) -> Result<()> {
        self.spare.push(done.buffer);
        self.early.insert(done.start, ((done.start / CHUNK + 1) * CHUNK, done.leaf));
        self.go_on(finished)
    }

    /// There is nothing in `start .. end`.
    fn pass(&mut self, start: u64, end: u64, finished: &mut dyn FnMut(Leaf) -> Result<()>) -> Result<()> {
        self.early.insert(start, (end, None));
        self.go_on(finished)
    }

    fn go_on(&mut self, finished: &mut dyn FnMut(Leaf) -> Result<()>) -> Result<()> {
        while let Some((end, leaf)) = self.early.remove(&self.next) {
            if let Some(leaf) = leaf {
                finished((self.next, leaf))?;
            }
            self.next = end;
            self.window.push(end);
        }
        Ok(())
    }
}

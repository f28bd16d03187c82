//! A disk of an artifact: one blob, or pieces that are fetched and decoded several at once.

use std::collections::{BTreeSet, VecDeque};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest as _, Sha256};
use witvirt_core::Digest;

use super::streamed::Streamed;
use super::work::Work;
use super::{Filled, SECTOR, panicked};
use crate::blob::Blob;
use crate::content::{self, CHUNK, Leaves};
use crate::copy::is_zero;
use crate::digests::Checksum;
use crate::error::{Doing, Error, ErrorKind, Result};
use crate::import_source::{ArtifactDisk, ArtifactPiece};
use crate::map::Chain;
use crate::progress::{Part, Progress};
use crate::request::{Access, ImportRequest, Imported};
use crate::source::{FileSource, Source};
use crate::store::Store;
use crate::stream::{
    Beginning, Hashers, Incoming, Leaf, Plan, RawStream, Transport, Unpack, Wrappings, unwrap_stream,
};

/// Pieces on their way at the same time: each has a few megabytes in memory.
const AT_ONCE: usize = 4;

impl Store {
    /// A disk of an artifact.
    pub(super) fn import_artifact(
        &self,
        access: Access<'_>,
        disk: &ArtifactDisk,
        request: &ImportRequest,
        progress: &Progress,
    ) -> Result<Imported> {
        match (disk.size, &disk.pieces[..]) {
            (None, [piece]) => self.import_piece(access, disk, piece, request, progress),
            (Some(size), pieces) => {
                check(disk, size, pieces, request, &self.limits)?;
                self.import_pieces(access, disk, size, request, progress)
            }
            (None, _) => Err(Error::new(
                ErrorKind::InvalidInput,
                format!("{} has several pieces, but nobody says how long it is", disk.label),
            )),
        }
    }

    /// One piece that is the whole image file.
    fn import_piece(
        &self,
        access: Access<'_>,
        disk: &ArtifactDisk,
        piece: &ArtifactPiece,
        request: &ImportRequest,
        progress: &Progress,
    ) -> Result<Imported> {
        let open = |at| match &piece.blobs[..] {
            [blob] => blob.stream(at),
            blobs => Ok(Box::new(Joined::new(blobs)) as Box<dyn Read + Send>),
        };
        let [only] = &piece.blobs[..] else {
            let size = piece.blobs.iter().map(|blob| blob.size()).sum();
            let streamed = self.streamed(disk, piece, &open, size, request);
            return self.import_streamed(access, streamed, request, &|| Ok(()), progress);
        };
        let mut streamed = self.streamed(disk, piece, &open, only.size(), request);
        streamed.expected.extend(only.digest().map(Checksum::from));
        let known = only.version().map(str::to_owned).or(only.digest().map(|digest| digest.to_string()));
        streamed.work = known.filter(|_| only.ranges() && piece.digest.is_none()).map(|version| {
            format!(
                "{:?}",
                ("layer", &disk.label, version, only.size(), &request.reading, &streamed.expected)
            )
        });
        streamed.remote = only.ranges().then(|| Arc::clone(only));
        self.import_streamed(access, streamed, request, &|| Ok(()), progress)
    }

    fn streamed<'a>(
        &self,
        disk: &'a ArtifactDisk,
        piece: &'a ArtifactPiece,
        open: &'a dyn Fn(u64) -> Result<Box<dyn Read + Send>>,
        size: Option<u64>,
        request: &ImportRequest,
    ) -> Streamed<'a> {
        Streamed {
            label: &disk.label,
            open,
            size,
            remote: None,
            expected: request.checksums.clone(),
            plan: Plan::unnamed(&piece.unpack),
            member: piece.member.as_deref(),
            unpacked: Unpacked { length: piece.length, digest: piece.digest },
            work: None,
            again: false,
        }
    }

    fn import_pieces(
        &self,
        access: Access<'_>,
        disk: &ArtifactDisk,
        size: u64,
        request: &ImportRequest,
        progress: &Progress,
    ) -> Result<Imported> {
        let raw = request.reading.format.as_deref() == Some("raw");
        let mut work = Work::resumable(self, &key(disk, request))?;
        let written = self.write_pieces(disk, size, &mut work, progress);
        let leaves = work.keep_if_unavailable(written)?;
        if raw {
            let source = Self::raw_record(&disk.label, size);
            let (chain, facts, wrappings) = (Vec::new(), Vec::new(), Wrappings::default());
            let disk_size = size.next_multiple_of(SECTOR);
            let filled = Filled { leaves, size: disk_size, source, chain, facts, wrappings };
            return self.finish(&work, filled, request, progress);
        }
        // An image file in a format, put together: what it holds is copied out of it.
        work.file.set_len(size).doing(|| "cut a file".into())?;
        let file = work.file.try_clone().doing(|| "duplicate a file handle".into())?;
        let source: Arc<dyn Source> = Arc::new(FileSource::unlocked(file, &disk.label)?);
        let format = request.reading.format.as_deref();
        let chain = Chain::alone(access.formats, &self.limits, Arc::clone(&source), format)?;
        self.import_mapped(chain, source, Wrappings::default(), request, progress)
    }

    /// Fetches what is missing into the work's file, and verifies it.
    fn write_pieces(
        &self,
        disk: &ArtifactDisk,
        size: u64,
        work: &mut Work,
        progress: &Progress,
    ) -> Result<Leaves> {
        let padded = size.next_multiple_of(SECTOR);
        let mut leaves = Leaves::new(padded);
        let done = resume(disk, padded, work, &mut leaves, progress)?;
        work.file.set_len(padded).doing(|| format!("make a file of {padded} bytes"))?;
        let mut queue = VecDeque::new();
        for (number, piece) in disk.pieces.iter().enumerate() {
            let total = piece.blobs.iter().map(|blob| blob.size()).sum::<Option<u64>>().unwrap_or(0);
            let part = progress.part(&piece.name, total);
            if done.contains(&number) {
                part.advance(total);
            } else {
                queue.push_back((number, piece, part));
            }
        }
        progress.set_phase("downloading");
        let streams = self.streams(disk);
        let (queue, leaves) = (Mutex::new(queue), Mutex::new(leaves));
        let writing = Writing { work, queue, leaves, streams, progress };
        std::thread::scope(|scope| {
            let workers: Vec<_> =
                (0..streams).map(|_| scope.spawn(|| writing.work_off(disk, size))).collect();
            let panicked = || panicked("fetches");
            let ends: Vec<Result<()>> =
                workers.into_iter().map(|worker| worker.join().unwrap_or_else(|_| panicked())).collect();
            ends.into_iter().collect::<Result<()>>()
        })?;
        let mut leaves = writing.leaves.into_inner().unwrap_or_else(PoisonError::into_inner);
        for start in ragged(disk, padded) {
            read_leaf(&work.file, start, padded, &mut leaves)?;
        }
        Ok(leaves)
    }

    /// How many pieces are fetched and decoded at a time. The windows of `xz -9` are so large that there is memory for one.
    fn streams(&self, disk: &ArtifactDisk) -> usize {
        let is_xz = |piece: &ArtifactPiece| matches!(&piece.unpack, Unpack::Stated(all) if all.contains(&Transport::Xz));
        if disk.pieces.iter().any(is_xz) {
            return 1;
        }
        self.threads.clamp(1, AT_ONCE).min(disk.pieces.len().max(1))
    }
}

/// What a piece has to be once it is unpacked.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Unpacked {
    pub(super) length: Option<u64>,
    pub(super) digest: Option<Digest>,
}

/// What the threads share.
struct Writing<'a> {
    work: &'a Work,
    queue: Mutex<VecDeque<(usize, &'a ArtifactPiece, Arc<Part>)>>,
    leaves: Mutex<Leaves>,
    /// How many pieces are on their way at a time.
    streams: usize,
    progress: &'a Progress,
}

impl<'a> Writing<'a> {
    fn work_off(&self, disk: &ArtifactDisk, size: u64) -> Result<()> {
        loop {
            let next = self.next();
            let Some((number, piece, part)) = next else { return Ok(()) };
            if let Err(error) = self.piece(number, piece, part, size) {
                // The others end with the piece they are at.
                self.queue.lock().unwrap_or_else(PoisonError::into_inner).clear();
                return Err(error.during(format!("{} ({})", disk.label, piece.name)));
            }
        }
    }

    fn next(&self) -> Option<(usize, &'a ArtifactPiece, Arc<Part>)> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    fn piece(&self, number: usize, piece: &ArtifactPiece, part: Arc<Part>, size: u64) -> Result<()> {
        let length = piece.length.unwrap_or(0);
        let end = piece.offset + length;
        // What a broken attempt left would show where zeros belong.
        if length > 0 && !self.work.clear(piece.offset, end) {
            tracing::debug!(piece = piece.name, "the filesystem cannot free a range");
        }
        let beginning = Beginning {
            label: &piece.name,
            reader: Box::new(Joined::new(&piece.blobs)),
            length: piece.blobs.iter().map(|blob| blob.size()).sum(),
            hashers: Hashers::new(&[]),
            part,
        };
        let (incoming, _) = Incoming::start(beginning, self.progress)?;
        let plan = Plan::unnamed(&piece.unpack).beside(self.streams);
        let arriving =
            unwrap_stream(Box::new(incoming), &piece.name, None, &plan, piece.member.as_deref(), &|_| {
                Ok(false)
            })?;
        let unpacked = Unpacked { length: Some(length), digest: piece.digest };
        let mut reader = unpacked.verifying(arriving.reader, &piece.name);
        let target = RawStream {
            label: &piece.name,
            reader: &mut reader,
            file: &self.work.file,
            start: piece.offset,
            max: end,
            whole: end == size,
            threads: 1,
        };
        let mut known = Vec::new();
        target.write(self.progress, &mut |(start, leaf): Leaf| {
            let whole = start + CHUNK <= end || end == size;
            known.extend(leaf.filter(|_| whole).map(|leaf| (start, leaf)));
            Ok(())
        })?;
        let mut leaves = self.leaves.lock().unwrap_or_else(PoisonError::into_inner);
        known.iter().for_each(|(start, leaf)| leaves.set(*start, *leaf));
        drop(leaves);
        if let Some(mut journal) = self.work.journal().filter(|_| is_aligned(piece, size)) {
            journal.chunks(&known)?;
            journal.piece(number)?;
        }
        Ok(())
    }
}

impl Unpacked {
    /// `reader`, compared at its end.
    pub(super) fn verifying(self, reader: Box<dyn Read + Send>, label: &str) -> Box<dyn Read + Send> {
        if self.length.is_none() && self.digest.is_none() {
            return reader;
        }
        let hasher = self.digest.map(|_| Sha256::new());
        Box::new(Verifying { reader, expected: self, label: label.to_owned(), hasher, read: 0, ended: false })
    }
}

/// Compares what was decoded with what it has to be.
struct Verifying {
    reader: Box<dyn Read + Send>,
    expected: Unpacked,
    label: String,
    hasher: Option<Sha256>,
    read: u64,
    ended: bool,
}

impl Verifying {
    fn end(&mut self) -> Result<()> {
        self.ended = true;
        if let Some(length) = self.expected.length.filter(|length| *length != self.read) {
            let more = if self.read > length { " or more" } else { "" };
            let message = format!("{} unpacks to {} bytes{more} instead of {length}", self.label, self.read);
            return Err(Error::new(ErrorKind::Corrupt, message));
        }
        let (Some(expected), Some(hasher)) = (self.expected.digest, self.hasher.take()) else {
            return Ok(());
        };
        let actual = Digest::from_bytes(hasher.finalize().into());
        if actual == expected {
            return Ok(());
        }
        let message = format!("{} unpacks to {actual}, not to {expected}", self.label);
        Err(Error::new(ErrorKind::Corrupt, message))
    }
}

impl Read for Verifying {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.ended || buffer.is_empty() {
            return Ok(0);
        }
        let read = self.reader.read(buffer)?;
        if read == 0 {
            self.end()?;
        }
        self.read += read as u64;
        if self.expected.length.is_some_and(|length| self.read > length) {
            self.end()?;
        }
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&buffer[..read]);
        }
        Ok(read)
    }
}

/// Blobs one after another, each compared with its digest.
struct Joined {
    blobs: VecDeque<Arc<dyn Blob>>,
    current: Option<Box<dyn Read + Send>>,
}

impl Joined {
    fn new(blobs: &[Arc<dyn Blob>]) -> Self {
        Self { blobs: blobs.iter().cloned().collect(), current: None }
    }
}

impl Read for Joined {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(current) = &mut self.current {
                let read = current.read(buffer)?;
                if read > 0 || buffer.is_empty() {
                    return Ok(read);
                }
                self.current = None;
            }
            let Some(blob) = self.blobs.pop_front() else { return Ok(0) };
            let expected = Unpacked { length: blob.size(), digest: blob.digest() };
            self.current = Some(expected.verifying(blob.stream(0)?, blob.label()));
        }
    }
}

/// Whether the pieces make sense, before anything is fetched.
fn check(
    disk: &ArtifactDisk,
    size: u64,
    pieces: &[ArtifactPiece],
    request: &ImportRequest,
    limits: &crate::limits::Limits,
) -> Result<()> {
    let wrong = |why: String| Err(Error::new(ErrorKind::InvalidInput, format!("{}: {why}", disk.label)));
    if size > limits.max_virtual_size {
        let message =
            format!("{} is {size} bytes long; at most {} are allowed", disk.label, limits.max_virtual_size);
        return Err(Error::new(ErrorKind::Limit, message));
    }
    if !request.checksums.is_empty() {
        return wrong(
            "a checksum of an artifact in pieces has no meaning: its digests are in its manifest".into(),
        );
    }
    let mut at = 0;
    let mut sum = 0u64;
    for piece in pieces {
        let Some(length) = piece.length else { return wrong(format!("{} has no length", piece.name)) };
        let end = piece.offset.checked_add(length).filter(|end| piece.offset >= at && *end <= size);
        let Some(end) = end else {
            return wrong(format!("{} overlaps another piece or the end of the disk", piece.name));
        };
        if piece.blobs.is_empty() {
            return wrong(format!("{} is stored nowhere", piece.name));
        }
        at = end;
        sum += length;
    }
    if sum > limits.max_data {
        let message = format!("{} holds {sum} bytes; at most {} are allowed", disk.label, limits.max_data);
        return Err(Error::new(ErrorKind::Limit, message));
    }
    Ok(())
}

/// What decides what comes out.
fn key(disk: &ArtifactDisk, request: &ImportRequest) -> String {
    let blob = |blob: &Arc<dyn Blob>| (blob.digest(), blob.version().map(str::to_owned), blob.size());
    let piece = |piece: &ArtifactPiece| {
        let blobs: Vec<_> = piece.blobs.iter().map(blob).collect();
        (piece.offset, piece.length, piece.unpack.clone(), piece.member.clone(), piece.digest, blobs)
    };
    let pieces: Vec<_> = disk.pieces.iter().map(piece).collect();
    format!("{:?}", ("artifact", &disk.label, disk.size, &request.reading.format, pieces))
}

/// Whether a piece can be told by whole chunks of the disk, and its content by digests.
fn is_aligned(piece: &ArtifactPiece, size: u64) -> bool {
    let end = piece.offset + piece.length.unwrap_or(0);
    let known = piece.digest.is_some() || piece.blobs.iter().all(|blob| blob.digest().is_some());
    known && piece.offset.is_multiple_of(CHUNK) && (end.is_multiple_of(CHUNK) || end == size)
}

/// The pieces that are there; the chunks of all others are emptied when they are written.
fn resume(
    disk: &ArtifactDisk,
    size: u64,
    work: &mut Work,
    leaves: &mut Leaves,
    progress: &Progress,
) -> Result<BTreeSet<usize>> {
    let mut done = BTreeSet::new();
    let mut gaps = vec![(0, size)];
    if !work.finished.pieces.is_empty() {
        progress.set_phase("verifying what an earlier attempt left");
    }
    for (number, piece) in disk.pieces.iter().enumerate() {
        if !work.finished.pieces.contains(&number) || !is_aligned(piece, disk.size.unwrap_or(0)) {
            continue;
        }
        let end = piece.offset + piece.length.unwrap_or(0);
        let Some(good) = work.verify_range(piece.offset, end, progress)? else { continue };
        good.into_iter().for_each(|(start, leaf)| leaves.set(start, leaf));
        done.insert(number);
        // Ascending, so that only the last gap can be cut.
        if let Some((start, _)) = gaps.pop() {
            gaps.extend([(start, piece.offset), (end, size)]);
        }
    }
    let freed = gaps.iter().all(|(start, end)| start >= end || work.clear(*start, *end));
    if done.is_empty() || !freed {
        work.restart()?;
        *leaves = Leaves::new(size);
        return Ok(BTreeSet::new());
    }
    Ok(done)
}

/// Chunks that no single piece fills.
fn ragged(disk: &ArtifactDisk, size: u64) -> BTreeSet<u64> {
    let edges = disk.pieces.iter().flat_map(|piece| [piece.offset, piece.offset + piece.length.unwrap_or(0)]);
    let cut = edges.filter(|edge| !edge.is_multiple_of(CHUNK) && *edge < size);
    cut.map(|edge| edge / CHUNK * CHUNK).collect()
}

fn read_leaf(file: &File, start: u64, size: u64, leaves: &mut Leaves) -> Result<()> {
    let mut bytes = vec![0; CHUNK.min(size - start) as usize];
    file.read_exact_at(&mut bytes, start).doing(|| "read the new image".into())?;
    if !is_zero(&bytes) {
        leaves.set(start, content::leaf(&bytes));
    }
    Ok(())
}

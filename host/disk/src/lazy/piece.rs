//! One piece of an artifact's disk: fetched, decoded, compared with its digests, and only then somebody's to read.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use rustix::fs::FallocateFlags;
use sha2::{Digest as _, Sha256};
use witvirt_core::Digest;

use super::arriving::{Arriving, For};
use super::claim::retreat;
use super::remote::{chain, lock};
use crate::copy::write_nonzero;
use crate::error::{Doing, Error, ErrorKind, Result};
use crate::import_source::ArtifactPiece;
use crate::stream::{Budget, Plan, unwrap_stream};
use crate::sys;

/// Bytes of the disk that are written at once.
const BUFFER: usize = 1 << 20;

/// Bytes after which the disk begins to be written to: what is dirty stays little.
const WRITEBACK: u64 = 8 << 20;

/// Fetches a piece into the file, however long its server is away; returns the checksum of what it decodes to. Nothing of a
/// piece that fails counts, and what of it was written is overwritten by the next attempt.
///
/// # Errors
/// `Cancelled` when the image is closed; `Unavailable` for bytes that are not what their digest says; a full disk; whatever is
/// wrong with the piece for good ([`is_final`]).
pub(super) fn fetch(arriving: &Arc<Arriving>, index: u64, who: For) -> Result<u32> {
    let piece = connected(arriving, index)?;
    let mut stored = Handle(Arc::new(Mutex::new(Stored::new(arriving, &piece, index, who))));
    let written = write(arriving, &piece, index, Box::new(stored.clone()));
    let wrong = lock(&stored.0).wrong;
    if written.as_ref().is_err_and(|error| !is_final(error) && !wrong) {
        return written;
    }
    // Decoders end where their stream does, or where it makes no sense: the digest is that of everything.
    match io::copy(&mut stored, &mut io::sink()) {
        Ok(_) => written,
        Err(error) => {
            let error = Error::io(format!("read {}", piece.name), error);
            // A server that sends other bytes than it has to may be mended.
            let wrong = lock(&stored.0).wrong;
            Err(if wrong { Error::new(ErrorKind::Unavailable, chain(&error)) } else { error })
        }
    }
}

/// Whether another attempt would end alike: the bytes are those that were promised, and do not hold what they should.
pub(super) fn is_final(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Corrupt | ErrorKind::Unsupported | ErrorKind::InvalidInput | ErrorKind::Limit
    )
}

/// The piece as the artifact has it, once that can be asked.
fn connected(arriving: &Arriving, index: u64) -> Result<ArtifactPiece> {
    let mut attempt = 0;
    loop {
        if let Ok(piece) = arriving.remote.piece(index) {
            return Ok(piece);
        }
        retreat(arriving, attempt, &|| false)?;
        attempt += 1;
    }
}

fn write(
    arriving: &Arriving,
    piece: &ArtifactPiece,
    index: u64,
    stored: Box<dyn Read + Send>,
) -> Result<u32> {
    let (start, length) = arriving.units().range(index);
    let plan = Plan::unnamed(&piece.unpack);
    let (no_image, budget) = (|_: &[u8]| Ok(false), Budget::whole());
    let mut decoded = unwrap_stream(stored, &piece.name, None, &plan, None.into(), &no_image, budget)?.reader;
    let file = arriving.file();
    // What a broken attempt left would show where zeros belong.
    let holes = clear(file, start, length);
    let (mut checksum, mut hasher) = (libdeflater::Crc::new(), piece.digest.map(|_| Sha256::new()));
    let mut buffer = vec![0; BUFFER];
    let (mut at, mut flushed) = (0, 0);
    loop {
        arriving.check(&|| false)?;
        let read = fill(&mut *decoded, &mut buffer, &piece.name)?;
        if read == 0 {
            break;
        }
        let bytes = &buffer[..read];
        if at + read as u64 > length {
            return Err(corrupt(piece, &format!("unpacks to more than {length} bytes")));
        }
        match holes {
            true => write_nonzero(file, start + at, bytes)?,
            false => file
                .write_all_at(bytes, start + at)
                .doing(|| format!("keep what has arrived of {}", piece.name))?,
        }
        checksum.update(bytes);
        if let Some(hasher) = &mut hasher {
            hasher.update(bytes);
        }
        at += read as u64;
        if at - flushed >= WRITEBACK {
            sys::start_writeback(file, start + flushed, at - flushed);
            flushed = at;
        }
    }
    if at != length {
        return Err(corrupt(piece, &format!("unpacks to {at} bytes instead of {length}")));
    }
    let actual = hasher.map(|hasher| Digest::from_bytes(hasher.finalize().into()));
    match (actual, piece.digest) {
        (Some(actual), Some(expected)) if actual != expected => {
            Err(corrupt(piece, &format!("unpacks to {actual}, not to {expected}")))
        }
        _ => Ok(checksum.sum()),
    }
}

/// Makes a range a hole; false where the filesystem cannot.
fn clear(file: &File, start: u64, length: u64) -> bool {
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    rustix::fs::fallocate(file, flags, start, length).is_ok()
}

fn fill(reader: &mut dyn Read, buffer: &mut [u8], name: &str) -> Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::io(format!("read {name}"), error)),
        }
    }
    Ok(filled)
}

fn corrupt(piece: &ArtifactPiece, what: &str) -> Error {
    Error::new(ErrorKind::Corrupt, format!("{} {what}", piece.name))
}

/// A decoder has one of these, and whoever drains what it leaves another.
#[derive(Clone)]
struct Handle(Arc<Mutex<Stored>>);

impl Read for Handle {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        lock(&self.0).read(buffer)
    }
}

/// The stored bytes of a piece: its blobs one after another, each compared with its digest. A server that goes away is waited
/// for, and goes on where it was.
struct Stored {
    arriving: Arc<Arriving>,
    /// What each blob has to be.
    blobs: Vec<(Option<u64>, Option<Digest>)>,
    index: u64,
    who: For,
    /// Whether a blob was not what it has to be.
    wrong: bool,
    blob: usize,
    at: u64,
    stream: Option<Box<dyn Read + Send>>,
    hasher: Sha256,
    attempt: u32,
}

impl Stored {
    fn new(arriving: &Arc<Arriving>, piece: &ArtifactPiece, index: u64, who: For) -> Self {
        Self {
            arriving: Arc::clone(arriving),
            blobs: piece.blobs.iter().map(|blob| (blob.size(), blob.digest())).collect(),
            index,
            who,
            wrong: false,
            blob: 0,
            at: 0,
            stream: None,
            hasher: Sha256::new(),
            attempt: 0,
        }
    }

    /// One attempt at the next bytes of the current blob.
    fn attempt(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let arriving = &self.arriving;
        let stream = match &mut self.stream {
            Some(stream) => stream,
            none => none.insert(arriving.remote.stream(self.index, self.blob, self.at)?),
        };
        let read = stream.read(buffer).map_err(|error| {
            let error = Error::io(format!("read {}", arriving.label()), error);
            arriving.remote.failed(&error);
            error
        })?;
        if read == 0 && self.blobs[self.blob].0.is_some_and(|size| self.at < size) {
            let message = format!("a blob of {} ended at byte {}", arriving.label(), self.at);
            let error = Error::new(ErrorKind::Unavailable, message);
            arriving.remote.failed(&error);
            return Err(error);
        }
        Ok(read)
    }

    /// The end of a blob.
    fn compare(&mut self) -> Result<()> {
        let (size, digest) = self.blobs[self.blob];
        let actual = Digest::from_bytes(std::mem::take(&mut self.hasher).finalize().into());
        let fits = size.is_none_or(|size| size == self.at) && digest.is_none_or(|digest| digest == actual);
        if !fits {
            self.wrong = true;
            let message = match digest {
                Some(digest) => format!("{digest} arrived as {} bytes with the digest {actual}", self.at),
                None => format!("a blob arrived as {} bytes", self.at),
            };
            return Err(Error::new(ErrorKind::Corrupt, message));
        }
        (self.blob, self.at, self.stream) = (self.blob + 1, 0, None);
        Ok(())
    }
}

impl Read for Stored {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.blob < self.blobs.len() && !buffer.is_empty() {
            self.arriving.check(&|| false)?;
            if self.who == For::Later {
                self.arriving.give_way(self.index);
            }
            match self.attempt(buffer) {
                Ok(0) => self.compare()?,
                Ok(read) => {
                    self.hasher.update(&buffer[..read]);
                    self.at += read as u64;
                    self.attempt = 0;
                    self.arriving.fetched.fetch_add(read as u64, Ordering::Relaxed);
                    if self.blobs[self.blob].0.is_some_and(|size| self.at > size) {
                        self.compare()?;
                    }
                    return Ok(read);
                }
                Err(_) => {
                    self.stream = None;
                    retreat(&self.arriving, self.attempt, &|| false)?;
                    self.attempt += 1;
                }
            }
        }
        Ok(0)
    }
}

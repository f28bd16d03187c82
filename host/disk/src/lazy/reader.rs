//! Reads at any place of a disk whose image is still arriving.
//!
//! The map is asked of the plugin window by window, where somebody reads, and a bounded number of windows is kept: an image
//! of 2 TiB costs as much memory as one of 2 GiB. A plugin never waits for the network: what it reads and is not here yet
//! fails its call, is fetched outside of it, and the image is opened anew. Calls are cheap, and whatever a plugin has
//! counted or remembered by then is forgotten with its instance.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use witvirt_core::format::Formats;

use super::arriving::Gone;
use super::file::{ImageFile, Missing, Present};
use super::remote::lock;
use crate::codec::Decoder;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::{Limits, MAX_DECODED};
use crate::map::{Chain, Codec, EncodedPiece, Piece, PieceKind};
use crate::source::Source;

/// Most pieces of a window.
const PIECES: usize = 4096;
/// Most guest bytes of a window.
const SPAN: u64 = 1 << 30;
/// Most bytes of literal data in a window.
const LITERALS: usize = 4 << 20;
/// Windows that are kept.
const WINDOWS: usize = 24;
/// Bytes of decoded runs that are kept.
const DECODED: usize = 32 << 20;
/// Runs that decode to more are decoded one at a time, so that many readers at once do not multiply them.
const LARGE: usize = 4 << 20;

/// A disk as a guest sees it, read from a file that is still arriving.
pub(crate) struct DiskReader {
    file: ImageFile,
    formats: Arc<dyn Formats>,
    format: String,
    limits: Limits,
    size: u64,
    map: Mutex<Map>,
    decoded: Mutex<Kept>,
    large: Mutex<()>,
}

#[derive(Default)]
struct Map {
    opened: Option<Opened>,
    windows: BTreeMap<u64, (Arc<Window>, u64)>,
    uses: u64,
}

/// The image in its plugin.
struct Opened {
    chain: Chain,
    present: Arc<Present>,
}

/// A part of the map.
struct Window {
    start: u64,
    end: u64,
    pieces: Vec<Piece>,
}

/// What was found out when the image was opened.
pub(crate) struct Description {
    pub(crate) format: String,
    pub(crate) size: u64,
}

impl DiskReader {
    /// Opens the image, and fetches what that takes. `format` is a registry name; absent: probed.
    ///
    /// # Errors
    /// Whatever is wrong with the image; `Unsupported` when it names other files; `Cancelled`.
    pub(crate) fn open(
        file: ImageFile,
        formats: Arc<dyn Formats>,
        format: Option<&str>,
        limits: &Limits,
        gone: Gone<'_>,
    ) -> Result<(Self, Description)> {
        let opened = loop {
            match open(&file, &*formats, format, limits)? {
                Attempt::Answer(opened) => break opened,
                Attempt::Missing(missing) => file.want(missing, gone)?,
            }
        };
        let size = opened.chain.disk_size();
        let format = opened.chain.records().0.format;
        let reader = Self::known(file, formats, &format, size, limits);
        lock(&reader.map).opened = Some(opened);
        Ok((reader, Description { format, size }))
    }

    /// A disk that was opened before: nothing is read until somebody wants to. `format` is a registry name, `size` in bytes.
    pub(crate) fn known(
        file: ImageFile,
        formats: Arc<dyn Formats>,
        format: &str,
        size: u64,
        limits: &Limits,
    ) -> Self {
        Self {
            file,
            formats,
            format: format.to_owned(),
            limits: limits.clone(),
            size,
            map: Mutex::default(),
            decoded: Mutex::default(),
            large: Mutex::default(),
        }
    }

    /// Fills `buffer` from guest byte `offset`; the range lies inside the disk.
    ///
    /// # Errors
    /// Whatever is wrong with the image; `Cancelled`.
    pub(super) fn read(&self, buffer: &mut [u8], offset: u64, gone: Gone<'_>) -> Result<()> {
        let mut filled = 0;
        while filled < buffer.len() {
            let at = offset + filled as u64;
            let window = self.window(at, gone)?;
            let end = window.end.min(offset + buffer.len() as u64);
            for piece in window.from(at) {
                if piece.start >= end {
                    break;
                }
                let from = piece.start.max(at);
                let to = (piece.start + piece.length).min(end);
                let part = &mut buffer[(from - offset) as usize..(to - offset) as usize];
                self.fill(piece, from - piece.start, part, gone)?;
            }
            filled = (end - offset) as usize;
        }
        Ok(())
    }

    /// Runs from `offset` on, at most `length` bytes and `most` of them, and whether each reads as zeros for certain.
    ///
    /// # Errors
    /// As [`DiskReader::read`].
    pub(super) fn runs(
        &self,
        offset: u64,
        length: u64,
        most: usize,
        gone: Gone<'_>,
    ) -> Result<Vec<(u64, bool)>> {
        let window = self.window(offset, gone)?;
        let end = window.end.min(offset.saturating_add(length));
        let mut runs: Vec<(u64, bool)> = Vec::new();
        for piece in window.from(offset).iter().take_while(|piece| piece.start < end) {
            let run = (piece.start + piece.length).min(end) - piece.start.max(offset);
            let zero = matches!(piece.kind, PieceKind::Zero);
            let full = runs.len() == most;
            match runs.last_mut() {
                Some((last, same)) if *same == zero => *last += run,
                _ if full => break,
                _ => runs.push((run, zero)),
            }
        }
        Ok(runs)
    }

    fn fill(&self, piece: &Piece, skip: u64, buffer: &mut [u8], gone: Gone<'_>) -> Result<()> {
        match &piece.kind {
            PieceKind::Zero => buffer.fill(0),
            PieceKind::Data { offset, .. } => self.file.read(buffer, offset + skip, gone)?,
            PieceKind::Bytes(bytes) => {
                let from = skip as usize;
                buffer.copy_from_slice(&bytes[from..from + buffer.len()]);
            }
            PieceKind::Encoded(run) => {
                let decoded = self.decoded(run, piece.start, gone)?;
                let from = run.skip + skip as usize;
                let part = decoded.get(from..from + buffer.len());
                let short = || Error::new(ErrorKind::Plugin, "an encoded run is shorter than was checked");
                buffer.copy_from_slice(part.ok_or_else(short)?);
            }
        }
        Ok(())
    }

    /// A whole run, decoded now or before.
    fn decoded(&self, run: &EncodedPiece, guest: u64, gone: Gone<'_>) -> Result<Arc<Vec<u8>>> {
        let key = (run.offset, run.length, run.decoded);
        if let Some(bytes) = lock(&self.decoded).get(key) {
            return Ok(bytes);
        }
        self.file.want(Missing { offset: run.offset, length: run.length as u64 }, gone)?;
        let turn = (run.decoded.max(run.length) > LARGE).then(|| lock(&self.large));
        if let Some(bytes) = lock(&self.decoded).get(key) {
            return Ok(bytes);
        }
        let mut data = vec![0; run.length];
        self.file.read(&mut data, run.offset, gone)?;
        let bytes = Arc::new(self.decode(run, guest, &data, gone)?);
        lock(&self.decoded).keep(key, &bytes);
        drop(turn);
        Ok(bytes)
    }

    fn decode(&self, run: &EncodedPiece, guest: u64, data: &[u8], gone: Gone<'_>) -> Result<Vec<u8>> {
        match &run.codec {
            Codec::Native(codec) => {
                let mut bytes = vec![0; run.decoded];
                // A decoder costs a few pages; threads come and go with connections.
                let decoded = Decoder::new().decode(*codec, data, &mut bytes);
                decoded.map_err(|why| run.damaged(guest, &why))?;
                Ok(bytes)
            }
            Codec::Plugin(codec) => self.with_chain(gone, |chain| chain.decode(run, codec, data)),
        }
    }

    fn window(&self, at: u64, gone: Gone<'_>) -> Result<Arc<Window>> {
        if at >= self.size {
            let message = format!("byte {at} is past the end of a disk of {} bytes", self.size);
            return Err(Error::new(ErrorKind::InvalidInput, message));
        }
        if let Some(window) = lock(&self.map).get(at) {
            return Ok(window);
        }
        let size = self.size;
        let window = Arc::new(self.with_chain(gone, |chain| Window::read(chain, at, size))?);
        lock(&self.map).keep(&window);
        Ok(window)
    }

    /// Asks the image's plugin, in a fresh instance where the old one fails: its budget may be used up, and what it read
    /// may not have been here.
    fn with_chain<T>(&self, gone: Gone<'_>, mut ask: impl FnMut(&mut Chain) -> Result<T>) -> Result<T> {
        loop {
            let mut map = lock(&self.map);
            let before = map.opened.take();
            let fresh = before.is_none();
            let opened = before.map_or_else(
                || open(&self.file, &*self.formats, Some(&self.format), &self.limits),
                |opened| Ok(Attempt::Answer(opened)),
            );
            let missing = match opened? {
                Attempt::Missing(missing) => missing,
                Attempt::Answer(mut opened) => {
                    let answer = ask(&mut opened.chain);
                    // A plugin that does without what it could not read answers something else than one that could.
                    match (answer, opened.present.take_missed()) {
                        (Ok(answer), None) => {
                            map.opened = Some(opened);
                            return Ok(answer);
                        }
                        (_, Some(missing)) => missing,
                        (Err(error), None) if fresh => return Err(error),
                        (Err(_), None) => continue,
                    }
                }
            };
            drop(map);
            self.file.want(missing, gone)?;
        }
    }
}

enum Attempt<T> {
    Answer(T),
    Missing(Missing),
}

fn open(
    file: &ImageFile,
    formats: &dyn Formats,
    format: Option<&str>,
    limits: &Limits,
) -> Result<Attempt<Opened>> {
    let present = Arc::new(Present::new(file.clone()));
    let chain = Chain::alone(formats, limits, Arc::clone(&present) as Arc<dyn Source>, format);
    match (chain, present.take_missed()) {
        (_, Some(missing)) => Ok(Attempt::Missing(missing)),
        (chain, None) => Ok(Attempt::Answer(Opened { chain: chain?, present })),
    }
}

impl Window {
    /// Reads the map from `start` on.
    fn read(chain: &mut Chain, start: u64, size: u64) -> Result<Self> {
        // The map is checked from here on, with totals of its own.
        chain.restart();
        let last = start.saturating_add(SPAN).min(size);
        let mut window = Self { start, end: start, pieces: Vec::new() };
        let (mut literals, mut decoded) = (0, 0u64);
        while window.end < last && window.pieces.len() < PIECES && literals < LITERALS {
            let piece = chain.piece(window.end, last)?;
            window.end = piece.start + piece.length;
            match &piece.kind {
                PieceKind::Bytes(bytes) => literals += bytes.len(),
                PieceKind::Encoded(run) if !window.ends_in(run) => decoded += run.decoded as u64,
                _ => {}
            }
            let most = 4 * (window.end - start) + MAX_DECODED;
            if decoded > most {
                let message =
                    format!("more than {most} bytes to decode for {} of the disk", window.end - start);
                return Err(Error::new(ErrorKind::Plugin, message));
            }
            window.push(piece);
        }
        Ok(window)
    }

    fn ends_in(&self, run: &EncodedPiece) -> bool {
        matches!(self.pieces.last(), Some(Piece { kind: PieceKind::Encoded(last), .. }) if last.same_run(run))
    }

    /// Adds a piece, to the one before where it continues that.
    fn push(&mut self, piece: Piece) {
        if let Some(last) = self.pieces.last_mut() {
            let continues = match (&last.kind, &piece.kind) {
                (PieceKind::Zero, PieceKind::Zero) => true,
                (PieceKind::Data { offset, .. }, PieceKind::Data { offset: next, .. }) => {
                    offset + last.length == *next
                }
                _ => false,
            };
            if continues {
                last.length += piece.length;
                return;
            }
        }
        self.pieces.push(piece);
    }

    /// The pieces from the one on that holds `at`.
    fn from(&self, at: u64) -> &[Piece] {
        let first = self.pieces.partition_point(|piece| piece.start + piece.length <= at);
        &self.pieces[first..]
    }
}

impl Map {
    fn get(&mut self, at: u64) -> Option<Arc<Window>> {
        let (_, (window, used)) = self.windows.range_mut(..=at).next_back()?;
        if window.end <= at {
            return None;
        }
        self.uses += 1;
        *used = self.uses;
        Some(Arc::clone(window))
    }

    fn keep(&mut self, window: &Arc<Window>) {
        self.uses += 1;
        self.windows.insert(window.start, (Arc::clone(window), self.uses));
        if self.windows.len() > WINDOWS
            && let Some((&oldest, _)) = self.windows.iter().min_by_key(|(_, (_, used))| *used)
        {
            self.windows.remove(&oldest);
        }
    }
}

type Key = (u64, usize, usize);

/// Decoded runs, the newest last.
#[derive(Default)]
struct Kept {
    runs: Vec<(Key, Arc<Vec<u8>>)>,
    bytes: usize,
}

impl Kept {
    fn get(&mut self, key: Key) -> Option<Arc<Vec<u8>>> {
        let index = self.runs.iter().rposition(|(other, _)| *other == key)?;
        let run = self.runs.remove(index);
        let bytes = Arc::clone(&run.1);
        self.runs.push(run);
        Some(bytes)
    }

    fn keep(&mut self, key: Key, bytes: &Arc<Vec<u8>>) {
        if self.runs.iter().any(|(other, _)| *other == key) {
            return;
        }
        self.bytes += bytes.len();
        self.runs.push((key, Arc::clone(bytes)));
        while self.bytes > DECODED && self.runs.len() > 1 {
            self.bytes -= self.runs.remove(0).1.len();
        }
    }
}

//! Undoing compression while the bytes pass by, in bounded memory.

use std::io::{self, BufRead, BufReader, Read};

use bzip2::bufread::MultiBzDecoder;
use flate2::bufread::GzDecoder;
use lzma_rust2::XzReader;

use super::incoming::failure;
use super::lz4::Lz4AppleReader;
use super::transport::Transport;
use crate::error::{Error, ErrorKind, Result};

/// Bytes that a decoder takes at once.
const BUFFER: usize = 128 << 10;

/// Windows that the first decoder of an import may have, in bytes: what `xz -9` makes, the largest of the program's presets.
/// `zstd -19` makes 8 MiB; what `--long` and `--ultra` make can be larger, and would not fit the memory that an import may
/// use.
const WINDOWS: u64 = 64 << 20;

/// The window of each decoder within another one, in bytes: what `xz -6` and `zstd -19` make. With three of them an import
/// still keeps to its memory.
const FURTHER_WINDOWS: u64 = 8 << 20;

/// What an .xz decoder takes besides its window, in KiB.
const XZ_STATE_KIB: u64 = 2 << 10;

/// How large a window a decoder may have.
#[derive(Debug, Clone, Copy)]
pub(super) struct DecoderWindow {
    bytes: u64,
}

impl DecoderWindow {
    /// The next one of a stream from which `unwrapped` came off already, one of `streams` that are decoded at a time.
    pub(super) fn next(unwrapped: &[Transport], streams: usize) -> Self {
        let has_window = |transport: &Transport| matches!(transport, Transport::Xz | Transport::Zstd);
        let further = unwrapped.iter().any(has_window);
        let bytes = if further { FURTHER_WINDOWS } else { WINDOWS };
        Self { bytes: bytes / streams.max(1) as u64 }
    }
}

/// The first bytes of gzip, xz, zstd and bzip2.
const MAGICS: [(Transport, &[u8]); 4] = [
    (Transport::Gzip, &[0x1f, 0x8b, 8]),
    (Transport::Xz, &[0xfd, b'7', b'z', b'X', b'Z', 0]),
    (Transport::Zstd, &[0x28, 0xb5, 0x2f, 0xfd]),
    (Transport::Bzip2, b"BZh"),
];

/// What marks the first block of a .bz2 stream, or its end.
const BZIP2_BLOCKS: [[u8; 6]; 2] =
    [[0x31, 0x41, 0x59, 0x26, 0x53, 0x59], [0x17, 0x72, 0x45, 0x38, 0x50, 0x90]];

/// The compression that the first bytes of a file speak for.
pub(crate) fn recognise(head: &[u8]) -> Option<Transport> {
    let (found, _) = MAGICS.into_iter().find(|(_, magic)| head.starts_with(magic))?;
    let bzip2 = |head: &[u8]| {
        head.get(3).is_some_and(|level| (b'1'..=b'9').contains(level))
            && BZIP2_BLOCKS.iter().any(|mark| head.get(4..10) == Some(mark))
    };
    (found != Transport::Bzip2 || bzip2(head)).then_some(found)
}

/// Decodes `input`; `label` names it in messages. Not for tar.
pub(super) fn decoder(
    transport: Transport,
    input: Box<dyn Read + Send>,
    label: &str,
    window: DecoderWindow,
) -> Result<Box<dyn Read + Send>> {
    let input = BufReader::with_capacity(BUFFER, input);
    let inner: Box<dyn Read + Send> = match transport {
        Transport::Gzip => Box::new(Gzip::Member(Box::new(GzDecoder::new(input)))),
        Transport::Bzip2 => Box::new(MultiBzDecoder::new(input)),
        Transport::Xz => {
            let memory = (window.bytes >> 10) + XZ_STATE_KIB;
            Box::new(XzReader::new_mem_limit(input, true, memory as u32))
        }
        Transport::Zstd => {
            let failed = |error| failure(error, || "start the zstd decoder".into());
            let mut decoder = zstd::stream::read::Decoder::with_buffer(input).map_err(failed)?;
            decoder.window_log_max(window.bytes.ilog2()).map_err(failed)?;
            Box::new(decoder)
        }
        Transport::Lz4Apple => Box::new(Lz4AppleReader::new(input)),
        Transport::Tar => {
            return Err(Error::new(ErrorKind::InvalidInput, "a tar is no compression"));
        }
    };
    Ok(Box::new(Told { inner, transport, label: label.to_owned(), window, decoded: 0 }))
}

/// Tells what is wrong with a stream in the words of this crate.
struct Told {
    inner: Box<dyn Read + Send>,
    transport: Transport,
    label: String,
    window: DecoderWindow,
    decoded: u64,
}

impl Read for Told {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let error = match self.inner.read(buffer) {
                Ok(read) => {
                    self.decoded += read as u64;
                    return Ok(read);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => error,
            };
            return Err(match error.downcast::<Error>() {
                Ok(error) => error.into(),
                Err(error) => self.damaged(&error).into(),
            });
        }
    }
}

impl Told {
    fn damaged(&self, error: &io::Error) -> Error {
        let Self { transport, label, window, decoded, .. } = self;
        let text = error.to_string();
        let hungry = error.kind() == io::ErrorKind::OutOfMemory || text.contains("too much memory");
        if hungry {
            let message = format!(
                "{label}: this {transport} stream wants a window of more than {} MiB to decode: compress it with a smaller \
                 one (without --long or --ultra)",
                window.bytes >> 20
            );
            return Error::new(ErrorKind::Limit, message);
        }
        let why = match error.kind() {
            io::ErrorKind::UnexpectedEof => "it ends early".to_owned(),
            _ => text.to_lowercase(),
        };
        let message =
            format!("{label}: the {transport} stream is damaged after {decoded} decoded bytes: {why}");
        Error::new(ErrorKind::Corrupt, message)
    }
}

/// gzip members one after another (RFC 1952, 2.2), perhaps with zeros after the last, which tapes leave.
enum Gzip<R> {
    Member(Box<GzDecoder<R>>),
    Ended,
}

impl<R: BufRead> Read for Gzip<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let Self::Member(member) = self else { return Ok(0) };
            let read = member.read(buffer)?;
            if read > 0 || buffer.is_empty() {
                return Ok(read);
            }
            let Self::Member(member) = std::mem::replace(self, Self::Ended) else { return Ok(0) };
            let mut input = member.into_inner();
            match skip_zeros(&mut input)? {
                None => return Ok(0),
                Some((0, 0x1f)) => *self = Self::Member(Box::new(GzDecoder::new(input))),
                Some(_) => {
                    let message = "after its end comes something that is no gzip member";
                    return Err(io::Error::new(io::ErrorKind::InvalidData, message));
                }
            }
        }
    }
}

/// How many zeros there are, and what follows them; `None` at the end.
fn skip_zeros(input: &mut impl BufRead) -> io::Result<Option<(u64, u8)>> {
    let mut zeros = 0;
    loop {
        let available = input.fill_buf()?;
        if available.is_empty() {
            return Ok(None);
        }
        let count = available.iter().take_while(|byte| **byte == 0).count();
        zeros += count as u64;
        if let Some(byte) = available.get(count).copied() {
            return Ok(Some((zeros, byte)));
        }
        input.consume(count);
    }
}

//! Runs that decode to more than the copying threads should hold: decoded here, from their beginning to their end, and handed
//! on in pieces.

use std::io::{self, Read};
use std::sync::Arc;

use crate::codec::{Decoder, decoding_error, decoding_reader};
use crate::error::{Error, ErrorKind, Result};
use crate::limits::MAX_DECODED;
use crate::map::{Chain, Codec, EncodedPiece};
use crate::source::Source;
use crate::stream::failure;

/// Decoded bytes that are thrown away at once.
const SKIPPED: usize = 64 << 10;

/// The run that was asked for last.
pub(super) struct Large {
    decoder: Decoder,
    current: Option<Current>,
    /// Bytes that may be decoded once more, because a map goes back in a run.
    again: u64,
    label: String,
}

struct Current {
    /// The last piece of it.
    run: EncodedPiece,
    /// Where in the disk that is.
    guest: u64,
    content: Content,
}

enum Content {
    Whole(Vec<u8>),
    /// What follows the first `at` decoded bytes.
    Rest {
        reader: Box<dyn Read + Send>,
        at: usize,
    },
}

impl Large {
    /// For a disk of `size` bytes.
    pub(super) fn new(size: u64, label: &str) -> Self {
        let again = size.saturating_mul(4).saturating_add(MAX_DECODED);
        Self { decoder: Decoder::new(), current: None, again, label: label.to_owned() }
    }

    /// The first `length` bytes of a piece.
    pub(super) fn read(
        &mut self,
        chain: &mut Chain,
        run: &EncodedPiece,
        guest: u64,
        length: usize,
    ) -> Result<Vec<u8>> {
        let same = self.current.as_ref().is_some_and(|current| current.run.same_run(run));
        if !same {
            self.finish()?;
        }
        let mut current = match self.current.take() {
            Some(current) => Current { run: run.clone(), guest, ..current },
            None => self.open(chain, run, guest)?,
        };
        if let Content::Rest { at, .. } = current.content
            && run.skip < at
        {
            self.again = self.again.checked_sub(at as u64).ok_or_else(|| {
                let message =
                    format!("{} goes back in its encoded runs too often (guest byte {guest})", self.label);
                Error::new(ErrorKind::Limit, message)
            })?;
            current = self.open(chain, run, guest)?;
        }
        let bytes = current.read(length)?;
        self.current = Some(current);
        Ok(bytes)
    }

    /// Decodes the rest of the current run: whether it is as long as it should be is known then.
    pub(super) fn finish(&mut self) -> Result<()> {
        match self.current.take() {
            Some(mut current) => current.skip_to(current.run.decoded),
            None => Ok(()),
        }
    }

    fn open(&mut self, chain: &mut Chain, run: &EncodedPiece, guest: u64) -> Result<Current> {
        let content = match &run.codec {
            Codec::Plugin(codec) => Content::Whole(chain.decode(run, codec, &encoded(run)?)?),
            Codec::Native(codec) => match decoding_reader(*codec, Encoded::new(run)) {
                Ok(Some(reader)) => Content::Rest { reader, at: 0 },
                Ok(None) => {
                    let mut bytes = vec![0; run.decoded];
                    let decoded = self.decoder.decode(*codec, &encoded(run)?, &mut bytes);
                    decoded.map_err(|why| run.damaged(guest, &why))?;
                    Content::Whole(bytes)
                }
                Err(error) => return Err(Error::io("start a decoder", error)),
            },
        };
        Ok(Current { run: run.clone(), guest, content })
    }
}

impl Current {
    fn read(&mut self, length: usize) -> Result<Vec<u8>> {
        let skip = self.run.skip;
        if let Content::Whole(bytes) = &self.content {
            let part = bytes.get(skip..skip + length).map(<[u8]>::to_vec);
            return part
                .ok_or_else(|| Error::new(ErrorKind::Plugin, "an encoded run is shorter than was checked"));
        }
        self.skip_to(skip)?;
        let mut bytes = vec![0; length];
        self.fill(&mut bytes)?;
        // At its end, whether it is one.
        self.skip_to(skip + length)?;
        Ok(bytes)
    }

    /// Goes on to a decoded byte; to the last one, when nothing may follow.
    fn skip_to(&mut self, target: usize) -> Result<()> {
        let decoded = self.run.decoded;
        let mut waste = [0; SKIPPED];
        while let Content::Rest { at, .. } = &self.content {
            match target.saturating_sub(*at).min(SKIPPED) {
                0 => break,
                count => self.fill(&mut waste[..count])?,
            }
        }
        match &mut self.content {
            Content::Rest { reader, at } if *at == decoded => match reader.read(&mut waste[..1]) {
                Ok(0) => Ok(()),
                Ok(_) => Err(self.damaged(&format!("it decodes to more than {decoded} bytes"))),
                Err(error) => Err(self.failed(error)),
            },
            _ => Ok(()),
        }
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<()> {
        let Content::Rest { reader, at } = &mut self.content else { return Ok(()) };
        let mut filled = 0;
        while filled < bytes.len() {
            match reader.read(&mut bytes[filled..]) {
                Ok(0) => {
                    let why = format!("it decodes to {} bytes instead of {}", *at + filled, self.run.decoded);
                    return Err(self.damaged(&why));
                }
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failed(error)),
            }
        }
        *at += filled;
        Ok(())
    }

    fn damaged(&self, why: &str) -> Error {
        self.run.damaged(self.guest, why)
    }

    /// The source's error, or the stream's.
    fn failed(&self, error: io::Error) -> Error {
        match error.get_ref().is_some_and(|inner| inner.is::<Error>()) {
            true => failure(error, || format!("read {}", self.run.source.label())),
            false => self.damaged(&decoding_error(&error)),
        }
    }
}

/// All encoded bytes of a run.
fn encoded(run: &EncodedPiece) -> Result<Vec<u8>> {
    let mut bytes = vec![0; run.length];
    run.source.read_encoded_at(&mut bytes, run.offset)?;
    Ok(bytes)
}

/// Reads the encoded bytes of a run.
struct Encoded {
    source: Arc<dyn Source>,
    at: u64,
    end: u64,
}

impl Encoded {
    fn new(run: &EncodedPiece) -> Self {
        Self { source: Arc::clone(&run.source), at: run.offset, end: run.offset + run.length as u64 }
    }
}

impl Read for Encoded {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = (self.end - self.at).min(buffer.len() as u64) as usize;
        self.source.read_encoded_at(&mut buffer[..count], self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

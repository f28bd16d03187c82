//! The map of a whole chain, as the movers want it.

use std::sync::Arc;

use witvirt_core::extent::{Encoded, ExtentKind};

use super::chain::Chain;
use crate::codec::NativeCodec;
use crate::error::{Error, ErrorKind, Result};
use crate::source::Source;

/// Guest bytes `start .. start + length` and where they come from.
#[derive(Debug, Clone)]
pub(crate) struct Piece {
    /// First guest byte.
    pub(crate) start: u64,
    /// Never 0.
    pub(crate) length: u64,
    /// Where they are.
    pub(crate) kind: PieceKind,
}

/// Where the bytes of a piece are.
#[derive(Debug, Clone)]
pub(crate) enum PieceKind {
    /// Reads as zeros.
    Zero,
    /// As they are, in a file.
    Data { source: Arc<dyn Source>, offset: u64 },
    /// Encoded, in a file.
    Encoded(EncodedPiece),
    /// Here.
    Bytes(Arc<Vec<u8>>),
}

/// A part of an encoded run.
#[derive(Debug, Clone)]
pub(crate) struct EncodedPiece {
    /// The file.
    pub(crate) source: Arc<dyn Source>,
    /// Which layer's plugin has to decode it, if the host cannot.
    pub(crate) layer: usize,
    /// How it is encoded.
    pub(crate) codec: Codec,
    /// First encoded byte.
    pub(crate) offset: u64,
    /// Encoded bytes, cut to what the file has.
    pub(crate) length: usize,
    /// Decoded bytes.
    pub(crate) decoded: usize,
    /// Where in the decoded bytes the piece starts.
    pub(crate) skip: usize,
}

/// Who decodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Codec {
    /// The host.
    Native(NativeCodec),
    /// The plugin.
    Plugin(String),
}

/// What a chain holds, found by reading its map once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Survey {
    /// Guest bytes that have to be moved or decoded.
    pub(crate) data: u64,
    /// The same, counting holes of files as data: where they are may change while a file is read. A filesystem that has
    /// space for data that was never written calls it a hole until something is in the page cache for it.
    pub(crate) mapped: u64,
}

impl PieceKind {
    /// Whether both are the same bytes because they are in the same place.
    pub(crate) fn same_place(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Zero, Self::Zero) => true,
            (Self::Data { source, offset }, Self::Data { source: theirs, offset: at }) => {
                source.identity() == theirs.identity() && offset == at
            }
            (Self::Encoded(run), Self::Encoded(theirs)) => {
                run.source.identity() == theirs.source.identity()
                    && (run.offset, run.length, run.decoded, run.skip)
                        == (theirs.offset, theirs.length, theirs.decoded, theirs.skip)
                    && run.codec.is_native()
                    && run.codec == theirs.codec
            }
            _ => false,
        }
    }
}

impl Codec {
    /// Whether the host decodes it.
    pub(crate) fn is_native(&self) -> bool {
        matches!(self, Self::Native(_))
    }
}

impl EncodedPiece {
    /// Just past the last encoded byte.
    pub(crate) fn end(&self) -> u64 {
        self.offset + self.length as u64
    }

    /// Whether both are parts of one run.
    pub(crate) fn same_run(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.source, &other.source)
            && (self.offset, self.length, self.decoded) == (other.offset, other.length, other.decoded)
            && self.codec == other.codec
    }

    /// The error for a run that cannot be decoded.
    pub(crate) fn damaged(&self, guest: u64, why: &str) -> Error {
        let (offset, label) = (self.offset, self.source.label());
        let message =
            format!("{label}: the encoded data at byte {offset} (guest byte {guest}) is damaged: {why}");
        Error::new(ErrorKind::Corrupt, message)
    }
}

impl Chain {
    /// Reads the map once, to know what there is before anything is written.
    pub(crate) fn survey(&mut self, progress: &crate::progress::Progress, max_data: u64) -> Result<Survey> {
        let size = self.geometry().virtual_size;
        let mut survey = Survey::default();
        let mut at = 0;
        self.restart();
        while at < size {
            progress.check()?;
            let piece = self.piece(at, size)?;
            at += piece.length;
            if !matches!(piece.kind, PieceKind::Zero) {
                survey.data += stored(&piece);
                survey.mapped += piece.length;
            }
            if survey.data > max_data {
                let message =
                    format!("the image holds more than the {max_data} bytes of data that are allowed");
                return Err(Error::new(ErrorKind::Limit, message));
            }
        }
        self.restart();
        Ok(survey)
    }

    /// Starts the map over.
    pub(crate) fn restart(&mut self) {
        self.layers.iter_mut().for_each(super::layer::Layer::restart);
    }

    /// What a guest sees at `start`, at most up to `end`; both inside the disk, and `start` never goes back.
    pub(crate) fn piece(&mut self, start: u64, end: u64) -> Result<Piece> {
        let mut end = end;
        for depth in 0..self.layers.len() {
            let size = self.layers[depth].geometry.virtual_size;
            if start >= size {
                break;
            }
            let extent = self.layers[depth].extent_at(start, end.min(size))?;
            end = start + extent.length;
            if extent.kind != ExtentKind::Parent {
                return self.resolve(depth, start, extent.length, extent.kind);
            }
        }
        // Past the end of a backing image.
        Ok(Piece { start, length: end - start, kind: PieceKind::Zero })
    }

    fn resolve(&mut self, layer: usize, start: u64, length: u64, kind: ExtentKind) -> Result<Piece> {
        let kind = match kind {
            ExtentKind::Data { source, offset } => {
                PieceKind::Data { source: self.layers[layer].source(source)?, offset }
            }
            ExtentKind::Encoded(encoded) => PieceKind::Encoded(self.encoded(layer, encoded)?),
            ExtentKind::Literal(bytes) => PieceKind::Bytes(Arc::new(bytes)),
            ExtentKind::Zero | ExtentKind::Unallocated | ExtentKind::Parent => PieceKind::Zero,
        };
        Ok(Piece { start, length, kind })
    }

    fn encoded(&mut self, layer: usize, encoded: Encoded) -> Result<EncodedPiece> {
        let source = self.layers[layer].source(encoded.source)?;
        let available = witvirt_core::source::ByteSource::size(&*source) - encoded.offset;
        let codec = match NativeCodec::from_name(&encoded.codec) {
            Some(native) => Codec::Native(native),
            None => Codec::Plugin(encoded.codec),
        };
        Ok(EncodedPiece {
            source,
            layer,
            codec,
            offset: encoded.offset,
            length: encoded.length.min(available) as usize,
            decoded: encoded.decoded_length as usize,
            skip: encoded.skip as usize,
        })
    }

    /// Has a layer's plugin decode a run.
    pub(crate) fn decode(&mut self, piece: &EncodedPiece, codec: &str, data: &[u8]) -> Result<Vec<u8>> {
        let layer = &mut self.layers[piece.layer];
        // Both were bounded by the validator to 64 MiB.
        let decoded = layer.image.decode(codec, data, piece.decoded as u32);
        let bytes = decoded.map_err(|error| Error::from(error).during(&layer.record.path))?;
        if bytes.len() == piece.decoded {
            return Ok(bytes);
        }
        let record = &layer.record;
        let message = format!(
            "plugin {} {} decoded {} bytes instead of {} from byte {} of {}",
            record.plugin,
            record.plugin_version,
            bytes.len(),
            piece.decoded,
            piece.offset,
            record.path
        );
        Err(Error::new(ErrorKind::Plugin, message))
    }
}

/// How much of a piece is stored: a raw file's holes are not.
fn stored(piece: &Piece) -> u64 {
    let PieceKind::Data { source, offset } = &piece.kind else { return piece.length };
    let end = offset + piece.length;
    let mut at = *offset;
    let mut stored = 0;
    while at < end {
        let data = source.next_data(at).min(end);
        let hole = source.next_hole(data).min(end);
        stored += hole - data;
        at = hole;
    }
    stored
}

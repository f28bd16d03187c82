//! Filling a buffer with the guest bytes of a unit.

use std::sync::Arc;

use crate::codec::Decoder;
use crate::error::{Error, ErrorKind, Result};
use crate::map::{Codec, EncodedPiece, PieceKind};

use super::planner::Unit;

/// Longest single read of encoded bytes.
const MAX_RUN: u64 = 4 << 20;

/// Encoded bytes that are read along with their neighbours although nobody asked for them.
const MAX_GAP: u64 = 64 << 10;

/// A thread's decoder and buffers.
pub(super) struct Reader {
    decoder: Decoder,
    encoded: Vec<u8>,
    decoded: Vec<u8>,
}

/// An encoded piece and its place in the unit's buffer.
struct Wanted<'a> {
    run: &'a EncodedPiece,
    guest: u64,
    at: usize,
    length: usize,
}

impl Reader {
    pub(super) fn new() -> Self {
        Self { decoder: Decoder::new(), encoded: Vec::new(), decoded: Vec::new() }
    }

    /// Makes `buffer`, which is as long as the unit, its guest bytes.
    pub(super) fn fill(&mut self, unit: &Unit, buffer: &mut [u8]) -> Result<()> {
        let mut filled = 0;
        let mut encoded = Vec::new();
        for planned in &unit.pieces {
            let piece = &planned.piece;
            let at = (piece.start - unit.start) as usize;
            let length = piece.length as usize;
            buffer[filled..at].fill(0);
            filled = at + length;
            match &piece.kind {
                PieceKind::Zero => buffer[at..filled].fill(0),
                PieceKind::Data { source, offset } => {
                    source.read_exact_at(&mut buffer[at..filled], *offset)?
                }
                PieceKind::Bytes(bytes) => buffer[at..filled].copy_from_slice(&bytes[..length]),
                PieceKind::Encoded(run) => encoded.push(Wanted { run, guest: piece.start, at, length }),
            }
        }
        buffer[filled..].fill(0);
        self.decode(encoded, buffer)
    }

    /// Decodes pieces in the order of the file, neighbours with one read.
    fn decode(&mut self, mut wanted: Vec<Wanted<'_>>, buffer: &mut [u8]) -> Result<()> {
        wanted.sort_by_key(|wanted| (wanted.run.source.identity(), wanted.run.offset, wanted.run.length));
        let mut rest = &wanted[..];
        while let Some(first) = rest.first() {
            let start = first.run.offset;
            let mut end = first.run.end();
            // The first is always taken, however long it is.
            let mut count = 1;
            // What lies between may be gone from a source that lets go of what was consumed.
            let most = if first.run.source.file().is_some() { MAX_GAP } else { 0 };
            for Wanted { run, .. } in &rest[1..] {
                let reach = end.max(run.end());
                let near =
                    Arc::ptr_eq(&run.source, &first.run.source) && run.offset <= end.saturating_add(most);
                if !near || reach - start > MAX_RUN {
                    break;
                }
                end = reach;
                count += 1;
            }
            let (group, after) = rest.split_at(count);
            let mut bytes = std::mem::take(&mut self.encoded);
            bytes.resize((end - start) as usize, 0);
            first.run.source.read_encoded_at(&mut bytes, start)?;
            self.decode_group(group, start, &bytes, buffer)?;
            self.encoded = bytes;
            rest = after;
        }
        Ok(())
    }

    fn decode_group(
        &mut self,
        group: &[Wanted<'_>],
        start: u64,
        bytes: &[u8],
        buffer: &mut [u8],
    ) -> Result<()> {
        let mut last: Option<&EncodedPiece> = None;
        for wanted in group {
            let run = wanted.run;
            let Codec::Native(codec) = run.codec else {
                return Err(Error::new(ErrorKind::Plugin, "a run for the plugin reached a copying thread"));
            };
            let from = (run.offset - start) as usize;
            let input = &bytes[from..from + run.length];
            let output = &mut buffer[wanted.at..wanted.at + wanted.length];
            let damaged = |why: String| run.damaged(wanted.guest, &why);
            if run.skip == 0 && wanted.length == run.decoded {
                self.decoder.decode(codec, input, output).map_err(damaged)?;
                continue;
            }
            if !last.is_some_and(|last| last.same_run(run)) {
                last = None;
                self.decoded.resize(run.decoded, 0);
                self.decoder.decode(codec, input, &mut self.decoded).map_err(damaged)?;
                last.replace(run);
            }
            output.copy_from_slice(&self.decoded[run.skip..run.skip + wanted.length]);
        }
        Ok(())
    }
}

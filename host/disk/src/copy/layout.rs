//! Writing a disk in a format that a plugin lays out.

use std::fs::File;

use witvirt_core::format::{Chunk, Ending, WritePlan, Writer};

use crate::codec::{Encoder, NativeCodec};
use crate::error::{Doing, Error, ErrorKind, Result};
use crate::progress::Progress;

use super::buffer::Buffer;
use super::pipeline;
use super::planner::{Planner, Unit};
use super::raw::{is_zero, write_all};
use super::read::Reader;

/// Most chunks in one call of `allocate` (`witvirt:disk/layout`).
const MAX_CHUNKS: usize = 4096;

/// Largest chunk of guest data, in bytes.
const MAX_CHUNK: u32 = 4 << 20;

/// Most calls of `finish`, each of which may bring 4 MiB.
const MAX_ENDINGS: usize = 1 << 16;

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

/// In plans: zlib for every chunk, whether or not it becomes smaller, the last one filled up with zeros.
const ZLIB_ALWAYS: &str = "zlib-always";

/// How a plan wants data encoded.
#[derive(Debug, Clone, Copy)]
struct Encoding {
    codec: NativeCodec,
    /// Readers of the format take no chunk as it is, and none that is short.
    always: bool,
}

/// Guest data as it will be stored.
struct Stored {
    chunks: Vec<Chunk>,
    bytes: Vec<u8>,
}

/// Writes everything that the planner finds (nothing, for an overlay without a planner) and then the metadata. Returns the
/// length of the file.
pub(crate) fn write_layout(
    planner: Option<Planner<'_>>,
    mut target: LayoutTarget<'_>,
    threads: usize,
    progress: &Progress,
) -> Result<u64> {
    let plan = target.writer.plan()?;
    let encoding = target.check_plan(&plan)?;
    let always = encoding.is_some_and(|encoding| encoding.always);
    if let Some(planner) = planner {
        let mut planner = planner.aligned(u64::from(plan.chunk_size));
        let state = || {
            (
                Reader::new(),
                Buffer::default(),
                encoding.map(|encoding| Encoder::new(encoding.codec)),
                Vec::new(),
            )
        };
        pipeline::run(
            &mut planner,
            threads,
            state,
            |(reader, buffer, encoder, scratch), unit| {
                let buffer = buffer.bytes(unit.length);
                reader.fill(unit, buffer)?;
                encode_unit(unit, buffer, plan.chunk_size as usize, (encoder.as_mut(), always), scratch)
            },
            |unit, stored| {
                target.store(&stored)?;
                progress.advance(unit.data);
                Ok(())
            },
        )?;
    }
    target.finish()
}

/// Drops the chunks that are zeros and encodes the others.
fn encode_unit(
    unit: &Unit,
    buffer: &[u8],
    chunk_size: usize,
    (mut encoder, always): (Option<&mut Encoder>, bool),
    scratch: &mut Vec<u8>,
) -> Result<Stored> {
    let expected = if encoder.is_some() { unit.data as usize / 2 } else { buffer.len() };
    let mut stored = Stored { chunks: Vec::new(), bytes: Vec::with_capacity(expected) };
    for (index, data) in buffer.chunks(chunk_size).enumerate() {
        if is_zero(data) {
            continue;
        }
        let failed = |why: String| {
            Error::new(ErrorKind::Io, format!("cannot encode guest bytes at {}: {why}", unit.start))
        };
        let encoded = match &mut encoder {
            Some(encoder) if always => {
                encode_always(encoder, data, chunk_size, scratch).map_err(failed)?;
                true
            }
            // A run that decodes to less than a chunk is none in formats with clusters (qcow2): the last one stays plain.
            Some(encoder) if data.len() == chunk_size => encoder.encode(data, scratch).map_err(failed)?,
            _ => false,
        };
        let bytes = if encoded { &scratch[..] } else { data };
        stored.bytes.extend_from_slice(bytes);
        stored.chunks.push(Chunk {
            start: unit.start + (index * chunk_size) as u64,
            length: data.len() as u64,
            stored: bytes.len() as u64,
            encoded,
        });
    }
    Ok(stored)
}

fn encode_always(
    encoder: &mut Encoder,
    data: &[u8],
    chunk_size: usize,
    output: &mut Vec<u8>,
) -> std::result::Result<(), String> {
    if data.len() == chunk_size {
        return encoder.encode_always(data, output);
    }
    let mut whole = data.to_vec();
    whole.resize(chunk_size, 0);
    encoder.encode_always(&whole, output)
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

    /// Asks where the chunks go and writes them, neighbours together.
    fn store(&mut self, stored: &Stored) -> Result<()> {
        let mut bytes = &stored.bytes[..];
        for chunks in stored.chunks.chunks(MAX_CHUNKS) {
            let offsets = self.writer.allocate(chunks)?;
            if offsets.len() != chunks.len() {
                return Err(self.lie(&format!("gave {} places for {} chunks", offsets.len(), chunks.len())));
            }
            let mut run: Option<(u64, usize)> = None;
            for (chunk, offset) in chunks.iter().zip(offsets) {
                self.check_range(offset, chunk.stored)?;
                let length = chunk.stored as usize;
                run = match run {
                    Some((start, so_far)) if start + so_far as u64 == offset => {
                        Some((start, so_far + length))
                    }
                    previous => {
                        bytes = self.write_run(previous, bytes)?;
                        Some((offset, length))
                    }
                };
            }
            bytes = self.write_run(run, bytes)?;
        }
        Ok(())
    }

    fn write_run<'b>(&self, run: Option<(u64, usize)>, bytes: &'b [u8]) -> Result<&'b [u8]> {
        let Some((offset, length)) = run else { return Ok(bytes) };
        let (now, later) = bytes.split_at(length);
        write_all(self.file, offset, now)?;
        Ok(later)
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

#[cfg(test)]
mod tests {
    use super::encode_unit;
    use crate::codec::{Decoder, Encoder, NativeCodec};
    use crate::copy::planner::Unit;

    /// A chunk of text, one of zeros, one of noise, and a short one.
    fn disk(chunk: usize) -> Vec<u8> {
        use sha2::Digest as _;
        let noise = (0..chunk as u32 / 32).flat_map(|n| sha2::Sha256::digest(n.to_le_bytes()));
        let text = b"0123456789abcdef".repeat(chunk / 16);
        [text, vec![0; chunk], noise.collect(), vec![7; 512]].concat()
    }

    fn stored(always: bool) -> super::Stored {
        let disk = disk(65536);
        let unit = Unit { start: 1 << 20, length: disk.len(), pieces: Vec::new(), data: disk.len() as u64 };
        let mut encoder = Encoder::new(NativeCodec::Zlib);
        encode_unit(&unit, &disk, 65536, (Some(&mut encoder), always), &mut Vec::new()).unwrap()
    }

    #[test]
    fn chunks_that_gain_nothing_stay_as_they_are() {
        let encoded: Vec<bool> = stored(false).chunks.iter().map(|chunk| chunk.encoded).collect();
        assert_eq!(encoded, [true, false, false]);
    }

    #[test]
    fn some_formats_take_no_chunk_as_it_is() {
        let stored = stored(true);
        let disk = disk(65536);
        let mut bytes = &stored.bytes[..];
        for chunk in &stored.chunks {
            assert!(chunk.encoded && chunk.stored < 65536 + 128, "{chunk:?}");
            let (now, later) = bytes.split_at(chunk.stored as usize);
            let mut whole = vec![1; 65536];
            Decoder::new().decode(NativeCodec::Zlib, now, &mut whole).unwrap();
            let (data, padding) = whole.split_at(chunk.length as usize);
            let start = (chunk.start - (1 << 20)) as usize;
            assert!(data == &disk[start..start + data.len()] && padding.iter().all(|byte| *byte == 0));
            bytes = later;
        }
        assert_eq!((stored.chunks.len(), stored.chunks[2].length), (3, 512));
    }
}

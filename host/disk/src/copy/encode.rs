//! Guest data as it will be stored.

use witvirt_core::format::Chunk;

use crate::codec::{Encoder, NativeCodec};
use crate::error::{Error, ErrorKind, Result};

use super::buffer::Buffer;
use super::planner::Unit;
use super::raw::is_zero;

/// How a plan wants data.
#[derive(Debug, Clone, Copy)]
pub(super) struct Encoding {
    pub(super) codec: NativeCodec,
    /// Readers of the format take no chunk as it is, and none that is short.
    pub(super) always: bool,
}

/// The chunks of a unit that are to be stored.
pub(super) struct Stored {
    pub(super) chunks: Vec<Chunk>,
    /// Where in the buffer each of them begins, in bytes.
    pub(super) starts: Vec<usize>,
    pub(super) buffer: Buffer,
}

/// What lies below the new image, if anything does.
pub(super) type Below<'a> = Option<&'a [u8]>;

/// Whether a chunk need not be stored.
fn is_there(data: &[u8], at: usize, below: Below<'_>) -> bool {
    below.map_or_else(|| is_zero(data), |below| below[at..at + data.len()] == *data)
}

/// Takes the buffer of a unit as it is, without the chunks that need not be stored.
pub(super) fn store_plain(unit: &Unit, mut buffer: Buffer, below: Below<'_>, chunk_size: usize) -> Stored {
    let (mut chunks, mut starts) = (Vec::new(), Vec::new());
    for (index, data) in buffer.bytes(unit.length).chunks(chunk_size).enumerate() {
        let at = index * chunk_size;
        if is_there(data, at, below) {
            continue;
        }
        let length = data.len() as u64;
        chunks.push(Chunk { start: unit.start + at as u64, length, stored: length, encoded: false });
        starts.push(at);
    }
    Stored { chunks, starts, buffer }
}

/// Encodes the chunks of a unit that have to be stored into `buffer`. A chunk that does not become smaller stays as it is,
/// and so does a short one at the end of the disk: a run that decodes to less than a chunk is none in formats with clusters
/// (qcow2). Unless nothing may.
pub(super) fn store_encoded(
    unit: &Unit,
    data: &[u8],
    below: Below<'_>,
    chunk_size: usize,
    encoder: &mut Encoder,
    always: bool,
    mut buffer: Buffer,
) -> Result<Stored> {
    let room = data.len().div_ceil(chunk_size) * Encoder::longest(chunk_size);
    let output = buffer.bytes(room);
    let (mut chunks, mut starts) = (Vec::new(), Vec::new());
    let mut used = 0;
    for (index, data) in data.chunks(chunk_size).enumerate() {
        let at = index * chunk_size;
        if is_there(data, at, below) {
            continue;
        }
        let output = &mut output[used..];
        let whole = data.len() == chunk_size;
        let result = match (always, whole) {
            (true, true) => encoder.encode(data, output),
            (true, false) => encoder.encode(&[data, &vec![0; chunk_size - data.len()]].concat(), output),
            (false, true) => encoder.encode(data, &mut output[..chunk_size - 1]),
            (false, false) => Ok(None),
        };
        let start = unit.start + at as u64;
        let failed =
            |why: &str| Error::new(ErrorKind::Io, format!("cannot encode guest bytes at {start}: {why}"));
        let encoded = result.map_err(|why| failed(&why))?;
        if encoded.is_none() {
            if always {
                return Err(failed("they become longer than they can"));
            }
            output[..data.len()].copy_from_slice(data);
        }
        let stored = encoded.unwrap_or(data.len());
        let (length, encoded) = (data.len() as u64, encoded.is_some());
        chunks.push(Chunk { start, length, stored: stored as u64, encoded });
        starts.push(used);
        used += stored;
    }
    Ok(Stored { chunks, starts, buffer })
}

#[cfg(test)]
mod tests {
    use super::{Stored, store_encoded, store_plain};
    use crate::codec::{Decoder, Encoder, NativeCodec};
    use crate::copy::buffer::Buffer;
    use crate::copy::planner::Unit;

    /// A chunk of text, one of zeros, one of noise, and a short one.
    fn disk(chunk: usize) -> Vec<u8> {
        use sha2::Digest as _;
        let noise = (0..chunk as u32 / 32).flat_map(|n| sha2::Sha256::digest(n.to_le_bytes()));
        let text = b"0123456789abcdef".repeat(chunk / 16);
        [text, vec![0; chunk], noise.collect(), vec![7; 512]].concat()
    }

    fn unit(disk: &[u8]) -> Unit {
        Unit { start: 1 << 20, length: disk.len(), pieces: Vec::new(), data: disk.len() as u64 }
    }

    fn stored(codec: NativeCodec, always: bool) -> Stored {
        let (disk, mut encoder) = (disk(65536), Encoder::new(codec));
        store_encoded(&unit(&disk), &disk, None, 65536, &mut encoder, always, Buffer::default()).unwrap()
    }

    #[test]
    fn chunks_that_gain_nothing_stay_as_they_are() {
        for codec in [NativeCodec::DeflateRaw, NativeCodec::Zlib, NativeCodec::Zstd] {
            let mut stored = stored(codec, false);
            let encoded: Vec<bool> = stored.chunks.iter().map(|chunk| chunk.encoded).collect();
            assert_eq!(encoded, [true, false, false], "{codec:?}");
            let disk = disk(65536);
            let (noise, end) = (stored.starts[1], stored.starts[2]);
            let bytes = stored.buffer.bytes(end + 512);
            assert!(bytes[noise..end] == disk[131_072..196_608] && bytes[end..] == disk[196_608..]);
            let mut text = vec![1; 65536];
            Decoder::new().decode(codec, &bytes[..noise], &mut text).unwrap();
            assert!(text == disk[..65536], "{codec:?}");
        }
    }

    #[test]
    fn some_formats_take_no_chunk_as_it_is() {
        let mut stored = stored(NativeCodec::Zlib, true);
        let disk = disk(65536);
        let bytes = stored.buffer.bytes(200_000);
        for (chunk, at) in stored.chunks.iter().zip(&stored.starts) {
            assert!(chunk.encoded && chunk.stored < 65536 + 128, "{chunk:?}");
            let mut whole = vec![1; 65536];
            let encoded = &bytes[*at..at + chunk.stored as usize];
            Decoder::new().decode(NativeCodec::Zlib, encoded, &mut whole).unwrap();
            let (data, padding) = whole.split_at(chunk.length as usize);
            let start = (chunk.start - (1 << 20)) as usize;
            assert!(data == &disk[start..start + data.len()] && padding.iter().all(|byte| *byte == 0));
        }
        assert_eq!((stored.chunks.len(), stored.chunks[2].length), (3, 512));
    }

    #[test]
    fn over_another_disk_what_differs_is_stored_even_zeros() {
        let disk = disk(65536);
        let mut below = disk.clone();
        below[65536 + 5] = 1;
        below[196_608] = 1;
        let mut buffer = Buffer::default();
        buffer.bytes(disk.len()).copy_from_slice(&disk);
        let stored = store_plain(&unit(&disk), buffer, Some(&below), 65536);
        assert_eq!(stored.starts, [65536, 196_608]);
        let mut encoder = Encoder::new(NativeCodec::Zstd);
        let stored =
            store_encoded(&unit(&disk), &disk, Some(&below), 65536, &mut encoder, false, Buffer::default());
        let stored = stored.unwrap();
        let starts: Vec<u64> = stored.chunks.iter().map(|chunk| chunk.start - (1 << 20)).collect();
        assert_eq!(starts, [65536, 196_608]);
    }
}

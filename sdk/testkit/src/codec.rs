//! The codecs of the contract, by other libraries than the host's where there are others.

use std::io::Read;

use witvirt_sdk::disk::ImageReader;
use witvirt_sdk::{Error, ErrorKind};

/// Decodes to exactly `length` bytes, or fails as a host does. What only the plugin decodes is left to it.
pub(crate) fn decode(
    image: &impl ImageReader,
    codec: &str,
    data: &[u8],
    length: u32,
) -> Result<Vec<u8>, Error> {
    let wanted = length as usize;
    let decoded = match codec {
        "deflate-raw" => exactly(flate2::read::DeflateDecoder::new(data), wanted),
        "zlib" => exactly(flate2::read::ZlibDecoder::new(data), wanted),
        "bzip2" => exactly(bzip2::read::BzDecoder::new(data), wanted),
        "xz" => exactly(lzma_rust2::XzReader::new(data, false), wanted),
        "zstd" => frame(data, wanted),
        "lzfse" => {
            let mut decoded = Vec::new();
            lzfse_rust::decode_bytes(data, &mut decoded).is_ok().then_some(decoded)
        }
        _ => return image.decode(codec, data, length),
    };
    let decoded = decoded.filter(|decoded| decoded.len() == wanted);
    decoded
        .ok_or_else(|| Error::new(ErrorKind::Corrupt, format!("{codec} does not decode to {length} bytes")))
}

fn exactly(stream: impl Read, wanted: usize) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(wanted);
    stream.take(wanted as u64 + 1).read_to_end(&mut decoded).ok()?;
    Some(decoded)
}

fn frame(data: &[u8], wanted: usize) -> Option<Vec<u8>> {
    let mut decoded = vec![0; wanted];
    let frame = zstd::zstd_safe::find_frame_compressed_size(data).ok()?;
    let written = zstd::bulk::decompress_to_buffer(&data[..frame], &mut decoded).ok()?;
    decoded.truncate(written);
    Some(decoded)
}

/// A chunk as the plan of a writer wants it, whose chunks are of `whole` bytes: `None` where it is stored as it is.
pub fn encode(codec: &str, chunk: &[u8], whole: usize) -> Option<Vec<u8>> {
    let encoded = match codec {
        "" => return None,
        "zlib-always" => {
            let mut padded = chunk.to_vec();
            padded.resize(whole, 0);
            return Some(through(flate2::read::ZlibEncoder::new(
                &padded[..],
                flate2::Compression::default(),
            )));
        }
        _ if chunk.len() < whole => return None,
        // A window of 4 KiB: readers of qcow2 have no larger one.
        "deflate-raw" => {
            let mut bytes = Vec::with_capacity(chunk.len());
            let mut stream =
                flate2::Compress::new_with_window_bits(flate2::Compression::default(), false, 12);
            let status = stream.compress_vec(chunk, &mut bytes, flate2::FlushCompress::Finish).unwrap();
            return (status == flate2::Status::StreamEnd && bytes.len() < chunk.len()).then_some(bytes);
        }
        "zlib" => through(flate2::read::ZlibEncoder::new(chunk, flate2::Compression::default())),
        "zstd" => zstd::bulk::compress(chunk, 3).unwrap(),
        other => panic!("the host has no codec \"{other}\""),
    };
    (encoded.len() < chunk.len()).then_some(encoded)
}

fn through(mut stream: impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    bytes
}

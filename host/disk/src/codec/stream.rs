//! Decoding from the beginning to the end, a piece at a time: for runs of which there should be no copy in memory.

use std::io::{self, BufReader, Read};

use ::bzip2::bufread::BzDecoder;
use flate2::bufread::{DeflateDecoder, ZlibDecoder};
use lzma_rust2::XzReader;

use super::xz::MEMORY_LIMIT_KIB;
use super::{NativeCodec, damaged};

/// Encoded bytes that are read at once.
const BUFFER: usize = 256 << 10;

/// Largest window of a zstd frame, as a power of two: as large as the largest run.
const ZSTD_WINDOW: u32 = 26;

/// What `input` decodes to, with what [`super::Decoder`] takes for its end; `None` for codecs that are decoded whole.
///
/// # Errors
/// When there is no memory for the decoder.
pub(crate) fn reader<'a>(
    codec: NativeCodec,
    input: impl Read + Send + 'a,
) -> io::Result<Option<Box<dyn Read + Send + 'a>>> {
    let input = BufReader::with_capacity(BUFFER, input);
    Ok(Some(match codec {
        NativeCodec::DeflateRaw => Box::new(DeflateDecoder::new(input)),
        NativeCodec::Zlib => Box::new(ZlibDecoder::new(input)),
        NativeCodec::Bzip2 => Box::new(BzDecoder::new(input)),
        NativeCodec::Xz => Box::new(XzReader::new_mem_limit(input, false, MEMORY_LIMIT_KIB)),
        NativeCodec::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(input)?.single_frame();
            decoder.window_log_max(ZSTD_WINDOW)?;
            Box::new(decoder)
        }
        NativeCodec::Lzfse | NativeCodec::Lz4 | NativeCodec::Lz4Apple => return Ok(None),
    }))
}

/// What an error of such a reader says of the stream, unless it is one of reading.
pub(crate) fn error_text(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::OutOfMemory => super::xz::error_text(error),
        io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => damaged(),
        _ => error.to_string().to_lowercase(),
    }
}

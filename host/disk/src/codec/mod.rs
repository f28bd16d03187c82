//! The codecs that the host runs itself.
//!
//! Decoding writes into the buffer that the caller made and into fixed tables, never into memory whose size the stream
//! claims. What each codec rests on:
//!
//! | name | library | why |
//! | --- | --- | --- |
//! | deflate-raw, zlib | libdeflate | twice as fast as safe decoders, and what most images are stored in |
//! | zstd | libzstd | the reference |
//! | bzip2 | libbz2-rs-sys | libbzip2 in Rust, as fast as the C one |
//! | xz | lzma-rust2 without its `optimization` feature | no unsafe code; liblzma in C is 1.5 times as fast |
//! | lzfse | own, safe | the crates there are unsafe throughout, or bind Apple's C |
//! | lz4 | lz4_flex, safe decoder | |
//! | lz4-apple | own, safe | Apple's blocks share a window and end in matches, which decoders of LZ4 blocks refuse |

mod bzip2;
mod encode;
mod lz4;
mod lzfse;
mod stream;
#[cfg(test)]
mod tests;
mod xz;

use libdeflater::{DecompressionError, Decompressor};
use zstd::zstd_safe::{self, DCtx};

pub(crate) use self::encode::Encoder;
pub(crate) use self::lz4::sequences as lz4_sequences;
pub(crate) use self::stream::{error_text as decoding_error, reader as decoding_reader};

/// A codec of the registry in `witvirt:disk/format.encoded`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NativeCodec {
    /// RFC 1951, without a header.
    DeflateRaw,
    /// RFC 1950.
    Zlib,
    /// RFC 8878, one frame.
    Zstd,
    /// One .bz2 stream.
    Bzip2,
    /// One .xz stream (a container of LZMA2 blocks with an index and a check), as in the chunks of ULMO disk images.
    Xz,
    /// Blocks of Apple's LZFSE and LZVN up to the end mark `bvx$`.
    Lzfse,
    /// One LZ4 block. It has no end mark, so nothing may follow it.
    Lz4,
    /// LZ4 blocks in Apple's framing, up to the end mark `bv4$`.
    Lz4Apple,
}

impl NativeCodec {
    /// By its name in the registry.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        match name {
            "deflate-raw" => Some(Self::DeflateRaw),
            "zlib" => Some(Self::Zlib),
            "zstd" => Some(Self::Zstd),
            "bzip2" => Some(Self::Bzip2),
            "xz" => Some(Self::Xz),
            "lzfse" => Some(Self::Lzfse),
            "lz4" => Some(Self::Lz4),
            "lz4-apple" => Some(Self::Lz4Apple),
            _ => None,
        }
    }

    /// Whether the host also encodes in it.
    pub(crate) fn encodes(self) -> bool {
        matches!(self, Self::DeflateRaw | Self::Zlib | Self::Zstd)
    }
}

/// Decodes; one for each thread.
pub(crate) struct Decoder {
    deflate: Decompressor,
    zstd: DCtx<'static>,
    /// Made when it is first needed: its tables take 50 KiB.
    lzfse: Option<Box<lzfse::Decoder>>,
}

impl Decoder {
    pub(crate) fn new() -> Self {
        Self { deflate: Decompressor::new(), zstd: DCtx::create(), lzfse: None }
    }

    /// Decodes exactly `output.len()` bytes. What follows the end of the stream in `input` is ignored. Only the output
    /// and fixed tables are ever written, however large a window the stream claims; xz also fills a window as large as
    /// what it decodes, and bzip2 needs 4 MiB.
    ///
    /// # Errors
    /// What is wrong with the stream, in words.
    pub(crate) fn decode(
        &mut self,
        codec: NativeCodec,
        input: &[u8],
        output: &mut [u8],
    ) -> Result<(), String> {
        let wanted = output.len();
        let deflated = |result: Result<usize, DecompressionError>| match result {
            Ok(decoded) => Ok(decoded),
            Err(DecompressionError::BadData) => Err(damaged()),
            Err(DecompressionError::InsufficientSpace) => Err(too_long(wanted)),
        };
        let decoded = match codec {
            NativeCodec::DeflateRaw => deflated(self.deflate.deflate_decompress(input, output))?,
            NativeCodec::Zlib => deflated(self.deflate.zlib_decompress(input, output))?,
            NativeCodec::Zstd => self.zstd(input, output)?,
            NativeCodec::Bzip2 => bzip2::decode(input, output)?,
            NativeCodec::Xz => xz::decode(input, output)?,
            NativeCodec::Lzfse => self.lzfse.get_or_insert_default().decode(input, output)?,
            NativeCodec::Lz4 => lz4::decode_block(input, output)?,
            NativeCodec::Lz4Apple => lz4::decode_apple(input, output)?,
        };
        if decoded == wanted {
            Ok(())
        } else {
            Err(format!("it decodes to {decoded} bytes instead of {wanted}"))
        }
    }

    fn zstd(&mut self, input: &[u8], output: &mut [u8]) -> Result<usize, String> {
        let words = |code| zstd_safe::get_error_name(code).to_lowercase();
        let frame = zstd_safe::find_frame_compressed_size(input).map_err(words)?;
        let frame = input.get(..frame).ok_or("the frame is cut")?;
        self.zstd.decompress(output, frame).map_err(words)
    }
}

fn damaged() -> String {
    "the stream is damaged or cut".to_owned()
}

fn too_long(wanted: usize) -> String {
    format!("it decodes to more than {wanted} bytes")
}

/// The little-endian number at `at`.
fn le32(bytes: &[u8], at: usize) -> Option<u32> {
    let field = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(field.try_into().ok()?))
}

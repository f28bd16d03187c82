//! The codecs that the host writes.

use flate2::{Compress, Compression, FlushCompress, Status};
use libdeflater::{CompressionLvl, Compressor};
use zstd::zstd_safe::CCtx;

use super::NativeCodec;

/// Encodes; one for each thread.
pub(crate) enum Encoder {
    /// Raw deflate with a small window. libdeflate cannot limit its own.
    Deflate(Compress),
    /// With the window that every zlib reader has, libdeflate: three times as fast, and it finds more.
    Zlib(Compressor),
    Zstd(CCtx<'static>),
    None,
}

/// qcow2 readers inflate with a window of 2^12 bytes (QEMU block/qcow2-threads.c).
const QCOW2_WINDOW_BITS: u8 = 12;

/// Of zlib-rs. The output is 3 % larger than that of zlib's level 6: matches of three bytes, which count in so small a window,
/// are found on level 9 only, which gains those 3 % and takes 1.7 times as long. 7 and 8 gain next to nothing.
const QCOW2_LEVEL: u32 = 6;

/// Of libdeflate; its output is smaller than that of zlib's default, 6.
const ZLIB_LEVEL: i32 = 6;

/// What the zstd program uses by default.
const ZSTD_LEVEL: i32 = 3;

impl Encoder {
    /// For a codec that [`NativeCodec::encodes`].
    pub(crate) fn new(codec: NativeCodec) -> Self {
        match codec {
            NativeCodec::DeflateRaw => Self::Deflate(Compress::new_with_window_bits(
                Compression::new(QCOW2_LEVEL),
                false,
                QCOW2_WINDOW_BITS,
            )),
            NativeCodec::Zlib => {
                Self::Zlib(Compressor::new(CompressionLvl::new(ZLIB_LEVEL).unwrap_or_default()))
            }
            NativeCodec::Zstd => Self::Zstd(CCtx::create()),
            _ => Self::None,
        }
    }

    /// The most that `length` bytes become, in bytes, in any codec.
    pub(crate) fn longest(length: usize) -> usize {
        // Stored blocks cost 5 bytes for each 5,000 at the worst (libdeflate's bound), header and checksum 6.
        length + length / 512 + 64
    }

    /// Encodes `input` into the beginning of `output`: how many bytes that takes, or `None` when there is not room enough.
    ///
    /// # Errors
    /// What the encoder says; not expected.
    pub(crate) fn encode(&mut self, input: &[u8], output: &mut [u8]) -> Result<Option<usize>, String> {
        match self {
            Self::Deflate(deflate) => {
                deflate.reset();
                let status = deflate.compress(input, output, FlushCompress::Finish);
                match status.map_err(|error| error.to_string())? {
                    Status::StreamEnd => Ok(Some(deflate.total_out() as usize)),
                    Status::Ok | Status::BufError => Ok(None),
                }
            }
            Self::Zlib(zlib) => Ok(zlib.zlib_compress(input, output).ok()),
            // Its errors are that the output is too short, and such as cannot happen here.
            Self::Zstd(zstd) => Ok(zstd.compress(output, input, ZSTD_LEVEL).ok()),
            Self::None => Err("the host does not encode in this codec".to_owned()),
        }
    }
}

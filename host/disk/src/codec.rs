//! The codecs that the host runs itself.

use flate2::{Compress, Compression, FlushCompress, Status};
use libdeflater::{DecompressionError, Decompressor};
use zstd::zstd_safe::{self, CCtx, DCtx};

/// A codec of the registry in `witvirt:disk/format.encoded`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NativeCodec {
    /// RFC 1951, without a header.
    DeflateRaw,
    /// RFC 1950.
    Zlib,
    /// RFC 8878, one frame.
    Zstd,
}

impl NativeCodec {
    /// By its name in the registry.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        match name {
            "deflate-raw" => Some(Self::DeflateRaw),
            "zlib" => Some(Self::Zlib),
            "zstd" => Some(Self::Zstd),
            _ => None,
        }
    }
}

/// Decodes; one for each thread.
pub(crate) struct Decoder {
    deflate: Decompressor,
    zstd: DCtx<'static>,
}

impl Decoder {
    pub(crate) fn new() -> Self {
        Self { deflate: Decompressor::new(), zstd: DCtx::create() }
    }

    /// Decodes exactly `output.len()` bytes. What follows the end of the stream in `input` is ignored. Only the output
    /// and fixed tables are ever written, however large a window the stream claims.
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
            Err(DecompressionError::BadData) => Err("the stream is damaged or cut".to_owned()),
            Err(DecompressionError::InsufficientSpace) => {
                Err(format!("it decodes to more than {wanted} bytes"))
            }
        };
        let decoded = match codec {
            NativeCodec::DeflateRaw => deflated(self.deflate.deflate_decompress(input, output))?,
            NativeCodec::Zlib => deflated(self.deflate.zlib_decompress(input, output))?,
            NativeCodec::Zstd => {
                let words = |code| zstd_safe::get_error_name(code).to_lowercase();
                let frame = zstd_safe::find_frame_compressed_size(input).map_err(words)?;
                let frame = input.get(..frame).ok_or("the frame is cut")?;
                self.zstd.decompress(output, frame).map_err(words)?
            }
        };
        if decoded == wanted {
            Ok(())
        } else {
            Err(format!("it decodes to {decoded} bytes instead of {wanted}"))
        }
    }
}

/// Encodes; one for each thread.
pub(crate) struct Encoder {
    codec: NativeCodec,
    deflate: Compress,
    zstd: CCtx<'static>,
}

/// qcow2 readers inflate with a window of 2^12 bytes (QEMU block/qcow2-threads.c).
const QCOW2_WINDOW_BITS: u8 = 12;

/// What the zstd program uses by default.
const ZSTD_LEVEL: i32 = 3;

impl Encoder {
    pub(crate) fn new(codec: NativeCodec) -> Self {
        let deflate = match codec {
            NativeCodec::DeflateRaw => {
                Compress::new_with_window_bits(Compression::default(), false, QCOW2_WINDOW_BITS)
            }
            NativeCodec::Zlib | NativeCodec::Zstd => Compress::new(Compression::default(), true),
        };
        Self { codec, deflate, zstd: CCtx::create() }
    }

    /// Encodes `input` into `output`, which it replaces. False, and `output` empty, when it does not become smaller.
    ///
    /// # Errors
    /// What the encoder says; not expected.
    pub(crate) fn encode(&mut self, input: &[u8], output: &mut Vec<u8>) -> Result<bool, String> {
        output.clear();
        output.resize(input.len().saturating_sub(1), 0);
        let encoded = match self.codec {
            NativeCodec::Zstd => self.zstd.compress(&mut output[..], input, ZSTD_LEVEL).ok(),
            NativeCodec::DeflateRaw | NativeCodec::Zlib => {
                self.deflate.reset();
                match self
                    .deflate
                    .compress(input, output, FlushCompress::Finish)
                    .map_err(|error| error.to_string())?
                {
                    Status::StreamEnd => Some(self.deflate.total_out() as usize),
                    Status::Ok | Status::BufError => None,
                }
            }
        };
        output.truncate(encoded.unwrap_or(0));
        Ok(encoded.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::{Decoder, Encoder, NativeCodec};

    const CODECS: [NativeCodec; 3] = [NativeCodec::DeflateRaw, NativeCodec::Zlib, NativeCodec::Zstd];

    fn text(length: usize) -> Vec<u8> {
        (0..length).map(|n| b"the quick brown fox, "[(n * n / 977) % 21]).collect()
    }

    #[test]
    fn decodes_what_it_encodes_and_ignores_what_follows() {
        let mut decoder = Decoder::new();
        for codec in CODECS {
            let mut encoder = Encoder::new(codec);
            for length in [1000, 65536, 2 << 20] {
                let plain = text(length);
                let mut encoded = Vec::new();
                assert!(encoder.encode(&plain, &mut encoded).unwrap(), "{codec:?} {length}");
                assert!(encoded.len() < plain.len());
                let cut = &encoded[..encoded.len() / 2];
                let mut output = vec![0xaa; length];
                assert!(decoder.decode(codec, cut, &mut output).is_err(), "{codec:?}");
                encoded.extend_from_slice(&[0x5a; 700]);
                decoder.decode(codec, &encoded, &mut output).unwrap();
                assert_eq!(output, plain);
                assert!(
                    decoder.decode(codec, &encoded, &mut vec![0; length + 1]).is_err(),
                    "{codec:?} short"
                );
                assert!(decoder.decode(codec, &encoded, &mut vec![0; length - 1]).is_err(), "{codec:?} long");
            }
        }
    }

    #[test]
    fn says_when_nothing_is_gained() {
        use sha2::Digest as _;
        let noise: Vec<u8> = (0..2048u32).flat_map(|n| sha2::Sha256::digest(n.to_le_bytes())).collect();
        for codec in CODECS {
            let mut encoded = vec![1, 2, 3];
            let mut encoder = Encoder::new(codec);
            assert!(!encoder.encode(&noise, &mut encoded).unwrap(), "{codec:?}");
            assert!(encoded.is_empty());
            assert!(!encoder.encode(&[], &mut encoded).unwrap());
            // The refusal leaves no state behind.
            assert!(encoder.encode(&text(4096), &mut encoded).unwrap());
        }
    }

    #[test]
    fn the_deflate_window_fits_qcow2() {
        // A repetition further back than 4 KiB must not be referred to.
        let mut plain: Vec<u8> = (0..6000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        plain.extend_from_within(..6000);
        plain.extend_from_slice(&[0; 2000]);
        let mut encoded = Vec::new();
        assert!(Encoder::new(NativeCodec::DeflateRaw).encode(&plain, &mut encoded).unwrap());
        let mut inflate = flate2::Decompress::new_with_window_bits(false, 12);
        let mut output = Vec::with_capacity(plain.len() + 1);
        // In small pieces, so that the window is what the decoder falls back on.
        for piece in encoded.chunks(7) {
            let mut buffer = [0; 4096];
            let mut rest = piece;
            loop {
                let (seen_in, seen_out) = (inflate.total_in(), inflate.total_out());
                inflate.decompress(rest, &mut buffer, flate2::FlushDecompress::None).unwrap();
                let (read, wrote) =
                    ((inflate.total_in() - seen_in) as usize, (inflate.total_out() - seen_out) as usize);
                output.extend_from_slice(&buffer[..wrote]);
                rest = &rest[read..];
                if read == 0 && wrote == 0 || rest.is_empty() && wrote < buffer.len() {
                    break;
                }
            }
        }
        assert_eq!(output, plain);
    }
}

//! The codecs that the host writes.

use flate2::{Compress, Compression, FlushCompress, Status};
use zstd::zstd_safe::CCtx;

use super::NativeCodec;

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
    /// For a codec that [`NativeCodec::encodes`].
    pub(crate) fn new(codec: NativeCodec) -> Self {
        let deflate = match codec {
            NativeCodec::DeflateRaw => {
                Compress::new_with_window_bits(Compression::default(), false, QCOW2_WINDOW_BITS)
            }
            _ => Compress::new(Compression::default(), true),
        };
        Self { codec, deflate, zstd: CCtx::create() }
    }

    /// Encodes `input` into `output`, which it replaces, in zlib and also where it does not become smaller.
    ///
    /// # Errors
    /// What the encoder says; not expected.
    pub(crate) fn encode_always(&mut self, input: &[u8], output: &mut Vec<u8>) -> Result<(), String> {
        // Stored blocks cost 5 bytes for each 16 KiB at the worst, header and checksum 6.
        output.clear();
        output.resize(input.len() + input.len() / 1024 + 64, 0);
        self.deflate.reset();
        let status = self.deflate.compress(input, output, FlushCompress::Finish);
        match status.map_err(|error| error.to_string())? {
            Status::StreamEnd => output.truncate(self.deflate.total_out() as usize),
            Status::Ok | Status::BufError => return Err("it becomes longer than it can".to_owned()),
        }
        Ok(())
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
            codec if !codec.encodes() => return Err("the host does not encode in this codec".to_owned()),
            _ => {
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

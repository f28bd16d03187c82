//! What unpacking a source may cost, whatever it says of itself: memory for the windows of decoders, and bytes that come out
//! of bytes that went in.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use super::holes::Stream;
use crate::error::{Error, ErrorKind, Result};

/// What comes out of any source, in bytes.
const FREE: u64 = 512 << 20;

/// Bytes that may come out of one that went in. Zeros become at most 32,768 times as small with zstd (a block of 128 KiB in 4
/// bytes), 7,000 times with xz, 1,032 times with gzip; only bzip2 can pack more of them, and an image with any data in it
/// stays below this there too.
const ONE_LEVEL: u64 = 40_000;

/// The same for what is packed more than once: what is honest has data then.
const NESTED: u64 = 8_000;

/// What every decoder may have for its window, in bytes: that of `zstd -19` and `xz -6`.
const SMALL: u64 = 8 << 20;

/// What one of them may have: the window of `xz -9`, the largest of its presets.
const LARGE: u64 = 64 << 20;

/// The cost of one source.
#[derive(Debug)]
pub(crate) struct Budget {
    packed: AtomicU64,
    levels: AtomicU32,
    large: AtomicBool,
    refused: AtomicBool,
}

impl Budget {
    /// For the only source that is unpacked at the moment: one of its decoders may have 64 MiB.
    pub(crate) fn whole() -> Arc<Self> {
        Self::new(true)
    }

    /// For one of several at the same time: no decoder may have more than 8 MiB.
    pub(crate) fn shared() -> Arc<Self> {
        Self::new(false)
    }

    fn new(large: bool) -> Arc<Self> {
        Arc::new(Self {
            packed: AtomicU64::new(0),
            levels: AtomicU32::new(0),
            large: AtomicBool::new(large),
            refused: AtomicBool::new(false),
        })
    }

    /// The window that a decoder may use which asks for `wanted` bytes; `None`: nobody knows, so it gets what there is.
    ///
    /// # Errors
    /// `Limit`.
    pub(super) fn window(&self, wanted: Option<u64>, label: &str) -> Result<u64> {
        self.levels.fetch_add(1, Ordering::Relaxed);
        if wanted.is_some_and(|wanted| wanted <= SMALL) {
            return Ok(SMALL);
        }
        if wanted.is_none_or(|wanted| wanted <= LARGE) && self.large.swap(false, Ordering::Relaxed) {
            return Ok(LARGE);
        }
        let Some(wanted) = wanted else { return Ok(SMALL) };
        self.refuse();
        let most = (if wanted <= LARGE { SMALL } else { LARGE }) >> 20;
        let message = format!(
            "{label}: this stream wants a window of {wanted} bytes to decode, more than the {most} MiB that it may have here: \
             compress it with a smaller one (without --long or --ultra)"
        );
        Err(Error::new(ErrorKind::Limit, message))
    }

    /// A decoder wanted more than it had.
    pub(super) fn refuse(&self) {
        self.refused.store(true, Ordering::Relaxed);
    }

    /// Whether more memory could have helped.
    pub(crate) fn refused_memory(&self) -> bool {
        self.refused.load(Ordering::Relaxed)
    }

    fn most(&self) -> u64 {
        let ratio = if self.levels.load(Ordering::Relaxed) > 1 { NESTED } else { ONE_LEVEL };
        self.packed.load(Ordering::Relaxed).saturating_mul(ratio).saturating_add(FREE)
    }

    fn check(&self, unpacked: u64, label: &str) -> Result<()> {
        let most = self.most();
        if unpacked <= most {
            return Ok(());
        }
        let packed = self.packed.load(Ordering::Relaxed);
        let message = format!(
            "{label} unpacks to more than {most} bytes out of the first {packed}: unpack it yourself if it is meant so"
        );
        Err(Error::new(ErrorKind::Limit, message))
    }
}

/// Counts what goes in.
pub(super) struct Packed<R> {
    pub(super) reader: R,
    pub(super) budget: Arc<Budget>,
}

impl<R: Read> Read for Packed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer)?;
        self.budget.packed.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

impl<R: Read + Send> Stream for Packed<R> {}

/// Stops what comes out. Holes cost nothing.
pub(super) struct Charged<R> {
    pub(super) reader: R,
    pub(super) budget: Arc<Budget>,
    pub(super) label: String,
    pub(super) unpacked: u64,
}

impl<R: Read> Read for Charged<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer)?;
        self.unpacked = self.unpacked.saturating_add(read as u64);
        self.budget.check(self.unpacked, &self.label)?;
        Ok(read)
    }
}

impl<R: Stream> Stream for Charged<R> {
    fn hole(&mut self, most: u64) -> io::Result<u64> {
        self.reader.hole(most)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Read};
    use std::sync::Arc;

    use super::{Budget, Charged, FREE, Packed};
    use crate::error::{Error, ErrorKind};
    use crate::stream::holes::Plain;

    /// What every packer makes of a gibibyte of zeros, which is more than is free, stays within the ratio.
    #[test]
    fn honest_zeros_pass_once_packed() {
        let zeros = || io::repeat(0).take(256 << 20);
        let zstd = |level| zstd::stream::encode_all(zeros(), level).unwrap().len();
        let mut gzip = flate2::read::GzEncoder::new(zeros(), flate2::Compression::best());
        let gzip = io::copy(&mut gzip, &mut io::sink()).unwrap() as usize;
        let mut xz = lzma_rust2::XzWriter::new(Vec::new(), lzma_rust2::XzOptions::with_preset(0)).unwrap();
        io::copy(&mut zeros(), &mut xz).unwrap();
        let xz = xz.finish().unwrap().len();
        for packed in [zstd(1), zstd(3), gzip, xz] {
            let budget = Budget::whole();
            budget.window(Some(0), "a").unwrap();
            // 16 TiB of the same.
            let packed = packed as u64 * (16 << 40 >> 28);
            budget.packed.store(packed, std::sync::atomic::Ordering::Relaxed);
            budget.check(16 << 40, "a").unwrap();
        }
    }

    #[test]
    fn what_comes_out_of_little_is_stopped() {
        let budget = Budget::whole();
        let mut packed = Packed { reader: &[1; 1000][..], budget: Arc::clone(&budget) };
        io::copy(&mut packed, &mut io::sink()).unwrap();
        for (levels, ratio) in [(1, 40_000), (2, 8_000)] {
            budget.window(Some(0), "a").unwrap();
            let most = FREE + 1000 * ratio;
            let reader = Plain(io::repeat(0).take(most + 1));
            let mut charged = Charged { reader, budget: Arc::clone(&budget), label: "a".into(), unpacked: 0 };
            io::copy(&mut (&mut charged).take(most), &mut io::sink()).unwrap();
            let error = io::copy(&mut charged, &mut io::sink()).unwrap_err().downcast::<Error>().unwrap();
            assert!(error.kind() == ErrorKind::Limit, "{levels}: {error}");
        }
    }

    #[test]
    fn one_decoder_may_have_a_large_window() {
        let budget = Budget::whole();
        assert_eq!(budget.window(Some(2 << 20), "a").unwrap(), 8 << 20);
        assert_eq!(budget.window(Some(9 << 20), "a").unwrap(), 64 << 20);
        assert!(!budget.refused_memory());
        assert_eq!(budget.window(None, "a").unwrap(), 8 << 20);
        let error = budget.window(Some(9 << 20), "a").unwrap_err();
        assert!(error.to_string().contains("window of 9437184 bytes") && budget.refused_memory(), "{error}");
        let error = Budget::whole().window(Some((64 << 20) + 1), "a").unwrap_err();
        assert!(error.to_string().contains("than the 64 MiB"), "{error}");
        assert!(Budget::shared().window(Some(9 << 20), "a").is_err());
    }
}

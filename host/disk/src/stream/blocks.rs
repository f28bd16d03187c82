//! Digests of a source's blocks, noted as they pass by: what has to be fetched a second time is compared with them, so that
//! nothing gets into an image that the checksums of the whole did not see.
//!
//! They lie in a file beside the unfinished image, 32 bytes for each block in order, zeros where nothing is known. Another
//! attempt at the same work finds them there; its stream has to give the same blocks again.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use sha2::{Digest as _, Sha256};

use crate::blob::Blob;
use crate::error::{Doing, Error, ErrorKind, Result};

/// Bytes of a block. States of hash functions are kept at multiples of it.
pub(crate) const BLOCK: u64 = 1 << 20;

/// Bytes of a digest.
const DIGEST: u64 = 32;

const UNKNOWN: [u8; DIGEST as usize] = [0; DIGEST as usize];

/// The digests.
#[derive(Debug)]
pub(crate) struct Blocks {
    file: File,
    /// Just past the last block of this attempt's stream.
    passed: AtomicU64,
    /// Nobody will fetch anything twice.
    needless: AtomicBool,
}

impl Blocks {
    /// `file` is empty, or what an earlier attempt left.
    pub(crate) fn new(file: File) -> Self {
        Self { file, passed: AtomicU64::new(0), needless: AtomicBool::new(false) }
    }

    /// The source cannot be fetched from a second time: nothing more is noted.
    pub(crate) fn stop(&self) {
        self.needless.store(true, Ordering::Relaxed);
    }

    /// How many of the source's first bytes are noted in this attempt.
    pub(crate) fn passed(&self) -> u64 {
        self.passed.load(Ordering::Acquire)
    }

    /// Whether the first `bytes` bytes are known.
    pub(crate) fn know(&self, bytes: u64) -> Result<bool> {
        for number in 0..bytes.div_ceil(BLOCK) {
            if self.digest(number)?.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Block `number` of the source, out of `blob`; shorter at its end.
    ///
    /// # Errors
    /// `Changed` when it is not what passed by; as [`Blob::read`].
    pub(crate) fn fetch(&self, blob: &dyn Blob, number: u64) -> Result<Vec<u8>> {
        let start = number.saturating_mul(BLOCK);
        let length = blob.size().unwrap_or(u64::MAX).saturating_sub(start).min(BLOCK);
        let mut bytes = vec![0; length as usize];
        let read = blob.read(start, &mut bytes)?;
        bytes.truncate(read);
        if self.digest(number)? == Some(Sha256::digest(&bytes).into()) {
            return Ok(bytes);
        }
        Err(changed(blob.label(), start))
    }

    fn digest(&self, number: u64) -> Result<Option<[u8; 32]>> {
        let mut digest = UNKNOWN;
        match self.file.read_exact_at(&mut digest, number.saturating_mul(DIGEST)) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            read => read.doing(|| "read the digests of a source's blocks".into())?,
        }
        Ok((digest != UNKNOWN).then_some(digest))
    }

    fn note(&self, number: u64, digest: [u8; 32], label: &str) -> Result<()> {
        match self.digest(number)? {
            Some(known) if known != digest => Err(changed(label, number * BLOCK)),
            Some(_) => Ok(()),
            None => self
                .file
                .write_all_at(&digest, number * DIGEST)
                .doing(|| "note the digest of a source's block".into()),
        }
    }
}

fn changed(label: &str, start: u64) -> Error {
    let message = format!("the server gives other bytes of {label} from byte {start} on than it gave before");
    Error::new(ErrorKind::Changed, message)
}

/// Hashes a source's blocks as they pass by.
pub(crate) struct Passing {
    blocks: Arc<Blocks>,
    hasher: Sha256,
    at: u64,
}

impl Passing {
    /// `at`: where the stream begins, a multiple of [`BLOCK`].
    pub(crate) fn new(blocks: Arc<Blocks>, at: u64) -> Self {
        blocks.passed.store(at, Ordering::Release);
        Self { blocks, hasher: Sha256::new(), at }
    }

    /// `bytes` come next; `label` names the source.
    pub(crate) fn update(&mut self, mut bytes: &[u8], label: &str) -> Result<()> {
        if self.blocks.needless.load(Ordering::Relaxed) {
            return Ok(());
        }
        while !bytes.is_empty() {
            let length = (BLOCK - self.at % BLOCK).min(bytes.len() as u64);
            let (piece, rest) = bytes.split_at(length as usize);
            self.hasher.update(piece);
            self.at += length;
            bytes = rest;
            if self.at.is_multiple_of(BLOCK) {
                self.note(label)?;
            }
        }
        Ok(())
    }

    /// The source ended.
    pub(crate) fn end(&mut self, label: &str) -> Result<()> {
        let needless = self.blocks.needless.load(Ordering::Relaxed);
        if needless || self.at.is_multiple_of(BLOCK) {
            return Ok(());
        }
        self.note(label)
    }

    fn note(&mut self, label: &str) -> Result<()> {
        let digest = self.hasher.finalize_reset().into();
        self.blocks.note((self.at - 1) / BLOCK, digest, label)?;
        self.blocks.passed.store(self.at, Ordering::Release);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{BLOCK, Blocks, Passing};
    use crate::error::ErrorKind;

    #[test]
    fn another_attempt_has_to_see_the_same_blocks() {
        let file = tempfile::tempfile().unwrap();
        let blocks = Arc::new(Blocks::new(file.try_clone().unwrap()));
        let bytes: Vec<u8> = (0..5u64 * BLOCK / 2).map(|at| (at >> 9) as u8 ^ (at >> 17) as u8).collect();
        let mut passing = Passing::new(Arc::clone(&blocks), 0);
        for piece in bytes.chunks(300_001) {
            passing.update(piece, "a").unwrap();
        }
        assert_eq!(blocks.passed(), 2 * BLOCK);
        assert!(blocks.know(2 * BLOCK).unwrap() && !blocks.know(2 * BLOCK + 1).unwrap());
        passing.end("a").unwrap();
        assert!(blocks.know(bytes.len() as u64).unwrap());
        let again = |from: u64, bytes: &[u8]| {
            let mut passing = Passing::new(Arc::new(Blocks::new(file.try_clone().unwrap())), from);
            passing.update(bytes, "a").and_then(|()| passing.end("a"))
        };
        again(BLOCK, &bytes[BLOCK as usize..]).unwrap();
        let mut other = bytes.clone();
        *other.last_mut().unwrap() ^= 1;
        assert_eq!(again(0, &other).unwrap_err().kind(), ErrorKind::Changed);
        let error = again(BLOCK, &other[..2 * BLOCK as usize]).unwrap_err();
        assert!(error.to_string().contains("from byte 1048576 on"), "{error}");
    }
}

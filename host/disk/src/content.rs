//! The digest that names an image: of what a guest sees, whatever file it came in.
//!
//! The disk is cut into chunks of 1 MiB (the last may be shorter) and
//!
//! ```text
//! digest = sha256("witvirt-disk-1\n" || size as 8 bytes, little endian || sha256(chunk 0) || sha256(chunk 1) || ...)
//! ```
//!
//! A plain SHA-256 would have to see the bytes in order, on one thread, holes included. This one is computed by as many
//! threads as copy, costs nothing for holes (the digest of a zero chunk is a constant) and lets a chunk be verified on its
//! own. `Store::verify` computes it again.

use std::collections::BTreeMap;
use std::fs::File;
use std::sync::LazyLock;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use sha2::{Digest as _, Sha256};
use witvirt_core::Digest;

use crate::error::{Error, ErrorKind, Result};
use crate::progress::Progress;
use crate::source::{FileSource, Source};

/// Bytes in a chunk.
pub const CHUNK: u64 = 1 << 20;

const TAG: &[u8] = b"witvirt-disk-1\n";

static ZERO_CHUNK: LazyLock<[u8; 32]> = LazyLock::new(|| leaf(&vec![0; CHUNK as usize]));

/// The digest of one chunk.
pub(crate) fn leaf(chunk: &[u8]) -> [u8; 32] {
    Sha256::digest(chunk).into()
}

/// Collects the digests of chunks, in any order; chunks that are never given are zeros.
#[derive(Debug)]
pub(crate) struct Leaves {
    size: u64,
    known: BTreeMap<u64, [u8; 32]>,
}

impl Leaves {
    /// For a disk of `size` bytes.
    pub(crate) fn new(size: u64) -> Self {
        Self { size, known: BTreeMap::new() }
    }

    /// The digest of the chunk that starts at byte `start`.
    pub(crate) fn set(&mut self, start: u64, digest: [u8; 32]) {
        self.known.insert(start / CHUNK, digest);
    }

    /// The chunks that are not all zeros: first byte and digest, ascending.
    pub(crate) fn known(&self) -> impl Iterator<Item = (u64, &[u8; 32])> {
        let stored = self.known.iter().filter(|(_, leaf)| **leaf != *ZERO_CHUNK);
        stored.map(|(index, leaf)| (index * CHUNK, leaf))
    }

    /// The digest of the disk.
    pub(crate) fn digest(&self) -> Digest {
        let mut root = Sha256::new_with_prefix(TAG);
        root.update(self.size.to_le_bytes());
        let full = self.size / CHUNK;
        for index in 0..full {
            root.update(self.known.get(&index).unwrap_or(&ZERO_CHUNK));
        }
        let rest = (self.size % CHUNK) as usize;
        if rest > 0 {
            root.update(self.known.get(&full).copied().unwrap_or_else(|| leaf(&vec![0; rest])));
        }
        Digest::from_bytes(root.finalize().into())
    }
}

/// The content digest of a raw disk. Progress counts the bytes that are stored.
pub(crate) fn digest(source: &dyn Source, threads: usize, progress: &Progress) -> Result<Digest> {
    let size = source.size();
    progress.begin(size);
    let leaves = Mutex::new(Leaves::new(size));
    let next = AtomicU64::new(0);
    let work = || -> Result<()> {
        let mut buffer = vec![0; CHUNK as usize];
        loop {
            progress.check()?;
            let start = next.fetch_add(CHUNK, Ordering::Relaxed);
            if start >= size {
                return Ok(());
            }
            let length = CHUNK.min(size - start);
            if source.next_data(start) < start + length {
                let chunk = &mut buffer[..length as usize];
                source.read_exact_at(chunk, start)?;
                let digest = leaf(chunk);
                let poisoned = |_| Error::new(ErrorKind::Io, "a hashing thread panicked");
                leaves.lock().map_err(poisoned)?.set(start, digest);
            }
            progress.advance(length);
        }
    };
    let results: Vec<Result<()>> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let panicked = || Err(Error::new(ErrorKind::Io, "a hashing thread panicked"));
        workers.into_iter().map(|worker| worker.join().unwrap_or_else(|_| panicked())).collect()
    });
    results.into_iter().collect::<Result<()>>()?;
    let leaves = leaves.into_inner().map_err(|_| Error::new(ErrorKind::Io, "a hashing thread panicked"))?;
    Ok(leaves.digest())
}

/// The content digest of a raw disk in an open file, as the store computes it. `threads` hash.
///
/// # Errors
/// When the file cannot be read or is neither regular nor a block device.
pub fn digest_of_file(file: File, threads: usize) -> Result<Digest> {
    digest(&FileSource::unlocked(file, "file")?, threads.max(1), &Progress::new())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use sha2::{Digest as _, Sha256};
    use witvirt_core::Digest;

    use super::{CHUNK, digest_of_file};

    /// The definition, read aloud.
    fn naive(bytes: &[u8]) -> Digest {
        let mut input = b"witvirt-disk-1\n".to_vec();
        input.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
        for chunk in bytes.chunks(1 << 20) {
            input.extend_from_slice(&Sha256::digest(chunk));
        }
        Digest::from_bytes(Sha256::digest(&input).into())
    }

    #[test]
    fn holes_and_threads_make_no_difference() {
        for size in [0, 1, 511, CHUNK - 1, CHUNK, CHUNK + 1, 5 * CHUNK + 512] {
            let file = tempfile::tempfile().unwrap();
            file.set_len(size).unwrap();
            if size > 3 * CHUNK {
                file.write_all_at(b"something", 2 * CHUNK + 77).unwrap();
            }
            let mut bytes = vec![0; size as usize];
            file.read_exact_at(&mut bytes, 0).unwrap();
            for threads in [1, 3] {
                let digest = digest_of_file(file.try_clone().unwrap(), threads).unwrap();
                assert_eq!(digest, naive(&bytes), "{size} bytes, {threads} threads");
            }
        }
    }
}

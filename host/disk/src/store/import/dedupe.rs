//! Sharing the blocks of equal chunks between images, where the filesystem can.
//!
//! `images/<digest>/leaves` lists the chunks of an image that are not all zeros: the number of the chunk (8 bytes, little
//! endian) and its SHA-256, ascending. What it says only proposes: the kernel compares the bytes before it shares them
//! (ioctl_fideduperange(2)).

use std::fs::File;
use std::io::{BufReader, Read, Write};

use cap_std::fs::Dir;
use rustix::fs::OFlags;
use witvirt_core::Digest;

use crate::content::{CHUNK, Leaves};
use crate::error::{Doing, Result};
use crate::progress::Progress;
use crate::store::images::DISK;
use crate::store::{Store, dirs};
use crate::sys;

/// The list of an image's chunks.
const LEAVES: &str = "leaves";

/// Bytes of an entry.
const ENTRY: usize = 40;

/// Most chunks that are looked for in other images: half a terabyte, 20 MiB of memory.
const MOST: usize = 512 << 10;

/// Writes the list of an image's chunks.
pub(super) fn write_leaves(dir: &Dir, leaves: &Leaves) -> Result<()> {
    let mut bytes = Vec::new();
    let mut file = dirs::create(dir, LEAVES)?;
    for (start, leaf) in leaves.known() {
        bytes.extend_from_slice(&(start / CHUNK).to_le_bytes());
        bytes.extend_from_slice(leaf);
        if bytes.len() >= ENTRY << 14 {
            file.write_all(&bytes).doing(|| format!("write {LEAVES}"))?;
            bytes.clear();
        }
    }
    file.write_all(&bytes).doing(|| format!("write {LEAVES}"))
}

impl Store {
    /// Makes the disk `file`, which is complete, share blocks with the other images. Returns how many bytes of it are shared;
    /// `None` where the filesystem cannot do that.
    pub(super) fn dedupe(
        &self,
        scratch: &File,
        file: &File,
        leaves: &Leaves,
        progress: &Progress,
    ) -> Result<Option<u64>> {
        if !can_share(file, scratch) {
            return Ok(None);
        }
        let mut wanted: Vec<([u8; 32], u64)> =
            leaves.known().take(MOST).map(|(start, leaf)| (*leaf, start)).collect();
        wanted.sort_unstable();
        let mut done = vec![false; wanted.len()];
        let mut shared = 0;
        for digest in self.digests()? {
            progress.check()?;
            // An image that is being removed, or is of an older release, has nothing to offer.
            if let Ok(bytes) = self.share_with(&digest, file, &wanted, &mut done) {
                shared += bytes;
            }
        }
        Ok(Some(shared))
    }

    fn share_with(
        &self,
        digest: &Digest,
        file: &File,
        wanted: &[([u8; 32], u64)],
        done: &mut [bool],
    ) -> Result<u64> {
        let dir = dirs::existing(&self.images, &digest.hex())?;
        let mut entries = BufReader::with_capacity(ENTRY << 10, dirs::open(&dir, LEAVES, OFlags::RDONLY)?);
        let disk = dirs::open(&dir, DISK, OFlags::RDONLY)?;
        let mut entry = [0; ENTRY];
        let mut shared = 0;
        while entries.read_exact(&mut entry).is_ok() {
            let (number, leaf) = entry.split_at(8);
            let number = u64::from_le_bytes(number.try_into().unwrap_or_default());
            let first = wanted.partition_point(|(wanted, _)| wanted[..] < *leaf);
            for (index, (_, start)) in
                wanted.iter().enumerate().skip(first).take_while(|(_, (at, _))| at[..] == *leaf)
            {
                let from = number.saturating_mul(CHUNK);
                if !done[index] && sys::dedupe_range(&disk, from, CHUNK, file, *start).unwrap_or(false) {
                    done[index] = true;
                    shared += CHUNK;
                }
            }
        }
        Ok(shared)
    }
}

/// Finds out by sharing a block with an empty file.
fn can_share(file: &File, scratch: &File) -> bool {
    const BLOCK: u64 = 4096;
    let long = |file: &File| file.metadata().is_ok_and(|metadata| metadata.len() >= BLOCK);
    long(file) && scratch.set_len(BLOCK).is_ok() && sys::clone_range(file, 0, BLOCK, scratch, 0).is_ok()
}

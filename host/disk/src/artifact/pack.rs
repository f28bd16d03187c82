//! Making the blobs of an artifact: a file, perhaps in a tar, perhaps compressed, in one pass.
//!
//! Compression is by blocks that decode on their own, one gzip member or zstd frame each, so that several threads work at
//! one blob; readers of both formats take such a sequence for one stream (RFC 1952, 2.2; RFC 8878, 3).

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use sha2::{Digest as _, Sha256};
use witvirt_core::Digest;
use witvirt_core::artifact::{Packed, Packing, TarEntry};

use crate::error::{Doing, Error, ErrorKind, Result};
use crate::progress::Progress;

/// Unit of compression, in bytes: large enough to cost no compression worth naming.
const BLOCK: usize = 1 << 20;

/// Threads that compress one blob.
const THREADS: usize = 8;

/// Header of a tar and unit of its length.
const TAR_BLOCK: usize = 512;

/// Level of both compressions: the usual one.
const GZIP_LEVEL: i32 = 6;
const ZSTD_LEVEL: i32 = 3;

/// Packs `size` bytes of `content` and hands the blob to `out`. `time`: seconds since 1970, for the tar.
///
/// # Errors
/// `Changed` when `content` has fewer bytes; what reading, compressing and `out` report; `Cancelled`.
pub fn pack(
    content: &mut (dyn Read + Send),
    size: u64,
    packing: &Packing,
    time: u64,
    out: &mut dyn Write,
    progress: &Progress,
) -> Result<Packed> {
    let codec = Codec::of(&packing.compression)?;
    let (head, tail) = match &packing.member {
        Some(entry) => (tar_header(entry, size, time)?.to_vec(), tar_end(size)),
        None => (Vec::new(), Vec::new()),
    };
    let content_size = head.len() as u64 + size + tail.len() as u64;
    let part = progress.part(&packing.id, content_size);
    let exactly = Exactly { content, left: size };
    let mut input = head.as_slice().chain(exactly).chain(tail.as_slice());
    let mut before = Sha256::new();
    let mut after = Sha256::new();
    let mut stored = 0u64;
    let mut write = |bytes: &[u8]| -> Result<()> {
        after.update(bytes);
        stored += bytes.len() as u64;
        out.write_all(bytes).doing(|| format!("hand over blob \"{}\"", packing.id))
    };
    let mut next = || -> Result<Option<Vec<u8>>> {
        progress.check()?;
        let mut block = Vec::with_capacity(BLOCK);
        (&mut input)
            .take(BLOCK as u64)
            .read_to_end(&mut block)
            .doing(|| format!("read \"{}\"", packing.role))?;
        before.update(&block);
        part.advance(block.len() as u64);
        Ok(Some(block).filter(|block| !block.is_empty()))
    };
    match codec {
        Codec::None => {
            while let Some(block) = next()? {
                write(&block)?;
            }
        }
        codec => in_parallel(codec, &mut next, &mut write)?,
    }
    Ok(Packed {
        id: packing.id.clone(),
        digest: Digest::from_bytes(after.finalize().into()),
        size: stored,
        content_digest: Digest::from_bytes(before.finalize().into()),
        content_size,
    })
}

/// A blob that is there already: a document.
pub fn packed_document(id: &str, content: &[u8]) -> Packed {
    let digest = Digest::from_bytes(Sha256::digest(content).into());
    let size = content.len() as u64;
    Packed { id: id.to_owned(), digest, size, content_digest: digest, content_size: size }
}

#[derive(Debug, Clone, Copy)]
enum Codec {
    None,
    Gzip,
    Zstd,
}

impl Codec {
    fn of(name: &str) -> Result<Self> {
        match name {
            "" => Ok(Self::None),
            "gzip" => Ok(Self::Gzip),
            "zstd" => Ok(Self::Zstd),
            other => {
                let message = format!("the compression \"{}\" is unknown to this host", other.escape_debug());
                Err(Error::new(ErrorKind::Unsupported, message))
            }
        }
    }

    fn encode(self, block: &[u8]) -> Result<Vec<u8>> {
        let broke = |error: String| Error::new(ErrorKind::Io, format!("cannot compress: {error}"));
        match self {
            Self::None => Ok(block.to_vec()),
            Self::Gzip => {
                let level = libdeflater::CompressionLvl::new(GZIP_LEVEL).unwrap_or_default();
                let mut compressor = libdeflater::Compressor::new(level);
                let mut encoded = vec![0; compressor.gzip_compress_bound(block.len())];
                let count = compressor.gzip_compress(block, &mut encoded);
                encoded.truncate(count.map_err(|error| broke(error.to_string()))?);
                Ok(encoded)
            }
            Self::Zstd => zstd::bulk::compress(block, ZSTD_LEVEL).map_err(|error| broke(error.to_string())),
        }
    }
}

/// Blocks on their way through a thread: in the order in which they came, at most two for each.
struct Lane {
    blocks: SyncSender<Vec<u8>>,
    encoded: Receiver<Result<Vec<u8>>>,
}

fn in_parallel(
    codec: Codec,
    next: &mut dyn FnMut() -> Result<Option<Vec<u8>>>,
    write: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(THREADS);
    std::thread::scope(|scope| {
        let lanes: Vec<Lane> = (0..threads)
            .map(|_| {
                let (blocks, to_encode) = sync_channel::<Vec<u8>>(1);
                let (done, encoded) = sync_channel(1);
                scope.spawn(move || {
                    for block in to_encode {
                        if done.send(codec.encode(&block)).is_err() {
                            return;
                        }
                    }
                });
                Lane { blocks, encoded }
            })
            .collect();
        let lost = || Error::new(ErrorKind::Io, "a thread that compresses ended");
        let mut under_way: VecDeque<usize> = VecDeque::new();
        let mut turn = 0;
        while let Some(block) = next()? {
            if under_way.len() == 2 * threads {
                let lane = under_way.pop_front().unwrap_or_default();
                write(&lanes[lane].encoded.recv().map_err(|_| lost())??)?;
            }
            lanes[turn].blocks.send(block).map_err(|_| lost())?;
            under_way.push_back(turn);
            turn = (turn + 1) % threads;
        }
        for lane in under_way {
            write(&lanes[lane].encoded.recv().map_err(|_| lost())??)?;
        }
        Ok(())
    })
}

/// A file that must not end early.
struct Exactly<'a> {
    content: &'a mut (dyn Read + Send),
    left: u64,
}

impl Read for Exactly<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        let count = self.content.read(&mut buffer[..most])?;
        if count == 0 {
            let message = format!("{} bytes are missing at its end: it became shorter", self.left);
            return Err(Error::new(ErrorKind::Changed, message).into());
        }
        self.left -= count as u64;
        Ok(count)
    }
}

/// A header of POSIX.1-1988 ("ustar"); sizes that its octal digits cannot hold are binary, as GNU, BSD and Go read them.
fn tar_header(entry: &TarEntry, size: u64, time: u64) -> Result<[u8; TAR_BLOCK]> {
    let mut header = [0u8; TAR_BLOCK];
    if entry.path.len() > 100 {
        let message = format!("\"{}\" is too long for a tar", entry.path.escape_debug());
        return Err(Error::new(ErrorKind::InvalidInput, message));
    }
    header[..entry.path.len()].copy_from_slice(entry.path.as_bytes());
    octal(&mut header[100..108], u64::from(entry.mode));
    octal(&mut header[108..116], u64::from(entry.uid));
    octal(&mut header[116..124], u64::from(entry.gid));
    if size < 1 << 33 {
        octal(&mut header[124..136], size);
    } else {
        header[124] = 0x80;
        header[128..136].copy_from_slice(&size.to_be_bytes());
    }
    octal(&mut header[136..148], time);
    header[148..156].fill(b' ');
    header[156] = b'0';
    header[257..265].copy_from_slice(b"ustar\x0000");
    let sum: u64 = header.iter().map(|byte| u64::from(*byte)).sum();
    octal(&mut header[148..155], sum);
    Ok(header)
}

/// Digits up to a final zero byte.
fn octal(field: &mut [u8], value: u64) {
    let digits = field.len() - 1;
    let text = format!("{value:0digits$o}");
    field[..digits].copy_from_slice(&text.as_bytes()[text.len() - digits..]);
}

/// Padding of the member, and the two blocks that end an archive.
fn tar_end(size: u64) -> Vec<u8> {
    let padding = (size.next_multiple_of(TAR_BLOCK as u64) - size) as usize;
    vec![0; padding + 2 * TAR_BLOCK]
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use sha2::{Digest as _, Sha256};
    use witvirt_core::Digest;
    use witvirt_core::artifact::{Packed, Packing, TarEntry};

    use super::{pack, tar_header};
    use crate::error::ErrorKind;
    use crate::progress::Progress;

    fn packing(compression: &str, tar: bool) -> Packing {
        let member = TarEntry { path: "disk/disk.img".to_owned(), uid: 107, gid: 107, mode: 0o440 };
        Packing {
            id: "layer".to_owned(),
            role: "disk".to_owned(),
            format: Some("raw".to_owned()),
            member: tar.then_some(member),
            compression: compression.to_owned(),
        }
    }

    /// Bytes that do not compress to nothing, over several blocks and a bit.
    fn content() -> Vec<u8> {
        (0..(5u32 << 20) + 7).map(|n| (n.wrapping_mul(2_654_435_761) >> 27) as u8).collect()
    }

    fn packed(compression: &str, tar: bool) -> (Packed, Vec<u8>) {
        let (content, mut out) = (content(), Vec::new());
        let packing = packing(compression, tar);
        let packed = pack(
            &mut content.as_slice(),
            content.len() as u64,
            &packing,
            1_700_000_000,
            &mut out,
            &Progress::new(),
        );
        (packed.unwrap(), out)
    }

    fn digest(bytes: &[u8]) -> Digest {
        Digest::from_bytes(Sha256::digest(bytes).into())
    }

    #[test]
    fn every_compression_gives_the_same_content_back() {
        for compression in ["", "gzip", "zstd"] {
            let (packed, blob) = packed(compression, false);
            let mut unpacked = Vec::new();
            match compression {
                "gzip" => {
                    flate2::read::MultiGzDecoder::new(blob.as_slice()).read_to_end(&mut unpacked).unwrap();
                }
                "zstd" => unpacked = zstd::stream::decode_all(blob.as_slice()).unwrap(),
                _ => unpacked.clone_from(&blob),
            }
            assert_eq!(unpacked, content(), "{compression}");
            assert_eq!((packed.digest, packed.size), (digest(&blob), blob.len() as u64));
            assert_eq!(
                (packed.content_digest, packed.content_size),
                (digest(&unpacked), unpacked.len() as u64)
            );
            assert!(compression.is_empty() || packed.size < packed.content_size);
        }
    }

    #[test]
    fn the_tar_is_one_that_tar_reads() {
        let (packed, blob) = packed("", true);
        assert_eq!(packed.content_size % 512, 0);
        assert_eq!(blob[512..512 + content().len()], content());
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("a.tar");
        std::fs::write(&file, &blob).unwrap();
        let listed =
            std::process::Command::new("tar").args(["--numeric-owner", "-tvf"]).arg(&file).output().unwrap();
        let text = String::from_utf8(listed.stdout).unwrap();
        assert!(text.starts_with("-r--r----- 107/107") && text.contains("5242887"), "{text}");
        assert!(text.trim_end().ends_with("disk/disk.img"), "{text}");
    }

    #[test]
    fn a_size_beyond_octal_digits_is_binary() {
        let entry = TarEntry { path: "a".to_owned(), uid: 0, gid: 0, mode: 0o644 };
        let header = tar_header(&entry, 128 << 30, 0).unwrap();
        assert_eq!(header[124..136], [0x80, 0, 0, 0, 0, 0, 0, 0x20, 0, 0, 0, 0]);
        assert_eq!(&tar_header(&entry, (1 << 33) - 1, 0).unwrap()[124..136], b"77777777777\0");
        assert!(tar_header(&TarEntry { path: "x".repeat(101), ..entry }, 1, 0).is_err());
    }

    #[test]
    fn a_file_that_became_shorter_is_noticed() {
        let short = [1u8; 100];
        let error =
            pack(&mut short.as_slice(), 101, &packing("gzip", true), 0, &mut Vec::new(), &Progress::new());
        assert_eq!(error.unwrap_err().kind(), ErrorKind::Changed);
        let progress = Progress::new();
        progress.cancel();
        let error = pack(&mut short.as_slice(), 100, &packing("", false), 0, &mut Vec::new(), &progress);
        assert_eq!(error.unwrap_err().kind(), ErrorKind::Cancelled);
        assert!(
            pack(&mut short.as_slice(), 100, &packing("xz", false), 0, &mut Vec::new(), &progress).is_err()
        );
    }
}

//! Whether a plan can be carried out: every word of it is a stranger's.

use std::collections::{HashMap, HashSet};

use witvirt_core::Digest;
use witvirt_core::artifact::{ArtifactChunk, Descriptor, Disk, DiskContent, File, Plan, Stored};

use crate::error::{Error, ErrorKind, Result};
use crate::limits::Limits;

/// Encodings of `witvirt:artifact/layout.stored`.
const ENCODINGS: [&str; 12] = [
    "",
    "gzip",
    "zstd",
    "xz",
    "bzip2",
    "lz4-apple",
    "tar",
    "tar+gzip",
    "tar+zstd",
    "tar+xz",
    "tar+bzip2",
    "auto",
];

/// Bounds of the contract, repeated here because a plan may come from elsewhere than the engine.
const DISKS: usize = 16;
const FILES: usize = 64;
const CANDIDATES: usize = 256;
const BLOBS: usize = 16 << 10;

/// Most stored bytes of a file beside the disks; Apple's auxiliary storage has 32 MiB before compression.
pub(crate) const FILE_BYTES: u64 = 256 << 20;

/// Longest word for what a file is for.
const ROLE: usize = 32;

/// Compares a plan with the manifest's blobs and the limits, and sorts its chunks.
///
/// # Errors
/// `Plugin` for a plan that contradicts the manifest or itself, and `Limit` for one that is too large; the message says
/// which disk or file is meant and what is wrong with it.
pub fn check_plan(mut plan: Plan, blobs: &[Descriptor], limits: &Limits) -> Result<Plan> {
    if plan.disks.is_empty() || plan.disks.len() > DISKS || plan.files.len() > FILES {
        let (disks, files) = (plan.disks.len(), plan.files.len());
        return Err(wrong(format!(
            "a plan of {disks} disks and {files} files; 1 to {DISKS} and at most {FILES} are taken"
        )));
    }
    let mut check = Check { blobs: HashMap::new(), limits, named: 0 };
    for blob in blobs {
        if check.blobs.insert(blob.digest, blob.size).is_some_and(|size| size != blob.size) {
            let message = format!("the manifest describes {} with two sizes", blob.digest);
            return Err(Error::new(ErrorKind::Corrupt, message));
        }
    }
    let mut names = HashSet::new();
    for disk in &mut plan.disks {
        if disk.name.is_empty() || !names.insert(disk.name.clone()) {
            return Err(wrong(format!("a name of a disk is empty or taken twice: \"{}\"", disk.name)));
        }
        check.disk(disk).map_err(|error| error.during(format!("disk \"{}\"", disk.name)))?;
    }
    for file in &plan.files {
        check.file(file).map_err(|error| error.during(format!("file \"{}\"", file.name)))?;
    }
    Ok(plan)
}

/// The disk that is meant: the only one, or the one that the caller names.
///
/// # Errors
/// `InvalidInput`, with the names that there are.
pub fn disk_of<'a>(plan: &'a Plan, name: Option<&str>) -> Result<&'a Disk> {
    let names = || plan.disks.iter().map(|disk| disk.name.as_str()).collect::<Vec<_>>().join(", ");
    match (name, &plan.disks[..]) {
        (None, [disk]) => Ok(disk),
        (None, _) => {
            let message = format!("the artifact holds several disks, name one of them: {}", names());
            Err(Error::new(ErrorKind::InvalidInput, message))
        }
        // A layout that took the name as a member of its only disk has answered for it.
        (Some(_), [disk]) => Ok(disk),
        (Some(name), disks) => disks.iter().find(|disk| disk.name == name).ok_or_else(|| {
            let message =
                format!("the artifact holds no disk \"{}\"; there are: {}", name.escape_debug(), names());
            Error::new(ErrorKind::InvalidInput, message)
        }),
    }
}

struct Check<'a> {
    blobs: HashMap<Digest, u64>,
    limits: &'a Limits,
    /// Blobs that the plan named so far.
    named: usize,
}

impl Check<'_> {
    fn disk(&mut self, disk: &mut Disk) -> Result<()> {
        if disk.format.as_deref() == Some("") {
            return Err(wrong("the name of its format is empty"));
        }
        match &mut disk.content {
            DiskContent::Whole(candidates) => self.whole(candidates),
            DiskContent::Chunks { size, chunks } => self.chunks(*size, chunks),
        }
    }

    fn whole(&mut self, candidates: &[Stored]) -> Result<()> {
        if candidates.is_empty() || candidates.len() > CANDIDATES {
            let count = candidates.len();
            return Err(wrong(format!("{count} places for its bytes, 1 to {CANDIDATES} are taken")));
        }
        for (index, stored) in candidates.iter().enumerate() {
            if index + 1 < candidates.len() && !is_tar(&stored.encoding) {
                return Err(wrong(format!("place {index} is no tar and hides what follows it")));
            }
            self.stored(stored)?;
        }
        Ok(())
    }

    fn chunks(&mut self, size: u64, chunks: &mut [ArtifactChunk]) -> Result<()> {
        if size > self.limits.max_virtual_size {
            return Err(too_large(size, self.limits.max_virtual_size));
        }
        chunks.sort_by_key(|chunk| chunk.offset);
        let mut end = 0;
        for chunk in chunks.iter() {
            let offset = chunk.offset;
            end = self.chunk(chunk, end, size).map_err(|error| error.during(format!("chunk at {offset}")))?;
        }
        Ok(())
    }

    /// Checks a chunk that has to begin at or after `start`; returns where it ends.
    fn chunk(&mut self, chunk: &ArtifactChunk, start: u64, size: u64) -> Result<u64> {
        let Some(length) = chunk.content.length.filter(|length| *length > 0) else {
            return Err(wrong("it has no length"));
        };
        if is_tar(&chunk.content.encoding) || chunk.content.encoding == "auto" {
            return Err(wrong(format!("the encoding \"{}\" is for whole files", chunk.content.encoding)));
        }
        if chunk.offset < start {
            return Err(wrong(format!("it overlaps the one before, which ends at {start}")));
        }
        let end = chunk.offset.checked_add(length).filter(|end| *end <= size);
        let end = end.ok_or_else(|| wrong(format!("its {length} bytes end past the {size} of the file")))?;
        self.stored(&chunk.content)?;
        Ok(end)
    }

    fn file(&mut self, file: &File) -> Result<()> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if file.role.is_empty()
            || file.role.len() > ROLE
            || !file.role.bytes().all(plain)
            || file.role == "disk"
        {
            let role = file.role.chars().take(ROLE).collect::<String>();
            return Err(wrong(format!(
                "its role is \"{}\", not a word of up to {ROLE} lower-case letters, digits and hyphens, or the disk's",
                role.escape_debug()
            )));
        }
        let stored = self.stored(&file.content)?;
        let bytes = stored.max(file.content.length.unwrap_or(0));
        if bytes > FILE_BYTES {
            return Err(too_large(bytes, FILE_BYTES));
        }
        Ok(())
    }

    /// Returns the bytes of all its blobs as they are stored.
    fn stored(&mut self, stored: &Stored) -> Result<u64> {
        if !ENCODINGS.contains(&stored.encoding.as_str()) {
            let encoding = stored.encoding.escape_debug();
            return Err(wrong(format!("the encoding \"{encoding}\" is unknown to this host")));
        }
        self.named = self.named.saturating_add(stored.blobs.len());
        if stored.blobs.is_empty() || self.named > BLOBS {
            let count = stored.blobs.len();
            return Err(wrong(format!(
                "{count} blobs, and {} named so far; at most {BLOBS} are",
                self.named
            )));
        }
        let mut bytes = 0u64;
        for digest in &stored.blobs {
            let size =
                self.blobs.get(digest).ok_or_else(|| wrong(format!("{digest} is not in the manifest")))?;
            bytes = bytes.checked_add(*size).ok_or_else(|| wrong("its blobs exceed 2^64 bytes"))?;
        }
        member(stored)?;
        match stored.length {
            Some(length) if stored.encoding.is_empty() && length != bytes => {
                Err(wrong(format!("stored as it is in {bytes} bytes, and {length} bytes long")))
            }
            Some(length) if length > self.limits.max_virtual_size => {
                Err(too_large(length, self.limits.max_virtual_size))
            }
            _ => Ok(bytes),
        }
    }
}

fn is_tar(encoding: &str) -> bool {
    encoding == "tar" || encoding.starts_with("tar+")
}

/// A member is named where there is a tar, and only there.
fn member(stored: &Stored) -> Result<()> {
    let tar = is_tar(&stored.encoding);
    let Some(path) = &stored.member else {
        return if tar { Err(wrong("no member of its tar is named")) } else { Ok(()) };
    };
    if !tar && stored.encoding != "auto" {
        return Err(wrong("a member is named, but there is no tar"));
    }
    let mut parts = path.strip_suffix('/').unwrap_or(path).split('/');
    let odd = |part: &str| part.is_empty() || part == "." || part == ".." || part.contains('\0');
    if parts.any(odd) {
        return Err(wrong(format!("\"{}\" is no path of a tar's member", path.escape_debug())));
    }
    Ok(())
}

fn wrong(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Plugin, message)
}

fn too_large(size: u64, limit: u64) -> Error {
    Error::new(ErrorKind::Limit, format!("{size} bytes, at most {limit} are taken"))
}

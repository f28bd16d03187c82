//! Moving the front of `console.log` to `console.log.1` under a writer that never stops.
//!
//! The copy is written first, under another name, then the intent, then the copy takes its name, then the bytes leave the
//! log, then the intent is withdrawn. [`recover`] ends what was interrupted between any two of these.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;

use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt};
use rustix::fs::{FallocateFlags, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::log::{OLDER, read_at};
use crate::storage::{CONSOLE_LOG, read_bounded, replace, sync_dir};

const LAYOUT: &str = "console.json";
const DRAFT: &str = "console.log.1.tmp";

/// Ranges are cut at multiples of this: the block size of the filesystems that can do it, or a multiple of it.
const BLOCK: u64 = 4096;

/// What a rotation did.
pub(super) struct Moved {
    /// So many bytes left the front of the log.
    pub bytes: u64,
    /// The length of `console.log.1` now.
    pub older: u64,
}

/// `console.json`.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Layout {
    schema: u32,
    /// Position of the first byte of `console.log`.
    base: u64,
    /// Bytes that are leaving its front.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    moving: Option<u64>,
}

/// Moves what the log has beyond its last block; keeps at most `limit` bytes of it.
pub(super) fn rotate(dir: &Dir, log: &File, base: u64, limit: u64) -> io::Result<Moved> {
    let length = log.metadata()?.len();
    // At least a byte has to stay behind a range that is cut out.
    let whole = length.saturating_sub(1) / BLOCK * BLOCK;
    if whole == 0 {
        return Ok(Moved { bytes: 0, older: dir.metadata(OLDER).map_or(0, |metadata| metadata.len()) });
    }
    let older = copy(dir, log, whole.saturating_sub(limit), whole)?;
    save(dir, base, Some(whole))?;
    dir.rename(DRAFT, dir, OLDER)?;
    sync_dir(dir)?;
    let bytes = cut(dir, log, whole)?;
    save(dir, base + bytes, None)?;
    Ok(Moved { bytes, older: older + (bytes - whole) })
}

/// Copies a range of the log to the draft; returns its length.
fn copy(dir: &Dir, log: &File, from: u64, to: u64) -> io::Result<u64> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
    let mut draft = dir.open_with(DRAFT, &options)?;
    let mut buffer = vec![0; 64 << 10];
    let mut at = from;
    while at < to {
        let wanted = usize::try_from(to - at).unwrap_or(buffer.len()).min(buffer.len());
        let length = read_at(log, buffer.get_mut(..wanted).unwrap_or_default(), at)?;
        if length == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the console log became shorter"));
        }
        draft.write_all(buffer.get(..length).unwrap_or_default())?;
        at += length as u64;
    }
    draft.sync_all()?;
    Ok(to - from)
}

/// Takes the first `length` bytes out of the log; returns how many really went.
fn cut(dir: &Dir, log: &File, length: u64) -> io::Result<u64> {
    match rustix::fs::fallocate(log, FallocateFlags::COLLAPSE_RANGE, 0, length) {
        Ok(()) => Ok(length),
        Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => truncate(dir, log, length),
        Err(error) => Err(error.into()),
    }
}

/// Appends to the older part what lies beyond the `copied` bytes, then empties the log. What the guest prints between the
/// last look and the truncation is lost: some microseconds' worth.
fn truncate(dir: &Dir, log: &File, mut copied: u64) -> io::Result<u64> {
    let mut options = OpenOptions::new();
    options.append(true).custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
    let mut older = dir.open_with(OLDER, &options)?;
    let mut buffer = vec![0; 64 << 10];
    loop {
        let length = read_at(log, &mut buffer, copied)?;
        if length == 0 {
            break;
        }
        older.write_all(buffer.get(..length).unwrap_or_default())?;
        copied += length as u64;
    }
    log.set_len(0)?;
    older.sync_all()?;
    Ok(copied)
}

/// Ends a rotation that was interrupted; returns the position of the log's first byte.
pub(super) fn recover(dir: &Dir) -> io::Result<u64> {
    let layout: Layout = match read_bounded(dir, LAYOUT, 4096) {
        Ok(bytes) => serde_json::from_slice(&bytes)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Layout::default(),
        Err(error) => return Err(error),
    };
    let drafted = match dir.remove_file(DRAFT) {
        Ok(()) => true,
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(error) => return Err(error),
    };
    let Some(moving) = layout.moving else { return Ok(layout.base) };
    if drafted {
        save(dir, layout.base, None)?;
        return Ok(layout.base);
    }
    if is_still_there(dir, moving)? {
        let mut options = OpenOptions::new();
        options.read(true).write(true).custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
        cut(dir, &dir.open_with(CONSOLE_LOG, &options)?.into_std(), moving)?;
    }
    let base = layout.base + moving;
    save(dir, base, None)?;
    Ok(base)
}

/// Whether the bytes that were copied are still at the front of the log.
fn is_still_there(dir: &Dir, moving: u64) -> io::Result<bool> {
    let (log, older) = (dir.open(CONSOLE_LOG)?.into_std(), dir.open(OLDER)?.into_std());
    let copied = older.metadata()?.len().min(moving);
    if log.metadata()?.len() < moving {
        return Ok(false);
    }
    let (mut left, mut right) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    let mut at = 0;
    while at < copied {
        let wanted = usize::try_from(copied - at).unwrap_or(left.len()).min(left.len());
        let (Some(a), Some(b)) = (left.get_mut(..wanted), right.get_mut(..wanted)) else { return Ok(false) };
        log.read_exact_at(a, moving - copied + at)?;
        older.read_exact_at(b, at)?;
        if a != b {
            return Ok(false);
        }
        at += wanted as u64;
    }
    Ok(true)
}

fn save(dir: &Dir, base: u64, moving: Option<u64>) -> io::Result<()> {
    let bytes = serde_json::to_vec(&Layout { schema: 1, base, moving })?;
    replace(dir, LAYOUT, &bytes)
}

//! System calls that rustix does not wrap.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// Makes `length` bytes of `target` at `target_offset` share the blocks of `source` at `source_offset` (ioctl_ficlonerange(2)).
/// Offsets and length are multiples of the filesystem's block, or the length reaches the end of the source.
pub(crate) fn clone_range(
    source: &File,
    source_offset: u64,
    length: u64,
    target: &File,
    target_offset: u64,
) -> io::Result<()> {
    let range = libc::file_clone_range {
        src_fd: i64::from(source.as_raw_fd()),
        src_offset: source_offset,
        src_length: length,
        dest_offset: target_offset,
    };
    // SAFETY: both descriptors are open, and `range` outlives the call, which only reads it.
    match unsafe { libc::ioctl(target.as_raw_fd(), libc::FICLONERANGE, &range) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Makes `length` bytes of `target` at `target_offset` share the blocks of `source` at `source_offset`, if they are equal
/// (ioctl_fideduperange(2)). Whether all of them do now.
pub(crate) fn dedupe_range(
    source: &File,
    source_offset: u64,
    length: u64,
    target: &File,
    target_offset: u64,
) -> io::Result<bool> {
    /// `struct file_dedupe_range` of linux/fs.h with one `struct file_dedupe_range_info`.
    #[repr(C)]
    struct Range {
        src_offset: u64,
        src_length: u64,
        dest_count: u16,
        reserved1: u16,
        reserved2: u32,
        dest_fd: i64,
        dest_offset: u64,
        bytes_deduped: u64,
        status: i32,
        reserved: u32,
    }
    /// `_IOWR(0x94, 54, struct file_dedupe_range)`, whose 24 bytes do not count the infos.
    const FIDEDUPERANGE: u32 = 0xc018_9436;
    let mut range = Range {
        src_offset: source_offset,
        src_length: length,
        dest_count: 1,
        reserved1: 0,
        reserved2: 0,
        dest_fd: i64::from(target.as_raw_fd()),
        dest_offset: target_offset,
        bytes_deduped: 0,
        status: 0,
        reserved: 0,
    };
    // SAFETY: both descriptors are open, and `range` has the layout of the kernel's struct with room for one info, which is
    // what `dest_count` says; the call writes into it only.
    match unsafe { libc::ioctl(source.as_raw_fd(), FIDEDUPERANGE as _, &mut range) } {
        0 if range.status < 0 => Err(io::Error::from_raw_os_error(-range.status)),
        0 => Ok(range.status == 0 && range.bytes_deduped == length),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Starts writing dirty pages of a range to the disk, without waiting (sync_file_range(2)). A hint: errors show up in the
/// fsync that has to follow anyway.
pub(crate) fn start_writeback(file: &File, offset: u64, length: u64) {
    let (Ok(offset), Ok(length)) = (i64::try_from(offset), i64::try_from(length)) else { return };
    // SAFETY: the descriptor is open; no memory is passed.
    unsafe { libc::sync_file_range(file.as_raw_fd(), offset, length, libc::SYNC_FILE_RANGE_WRITE) };
}

/// Waits until a range's dirty pages are on the disk; see [`start_writeback`].
pub(crate) fn wait_writeback(file: &File, offset: u64, length: u64) {
    let (Ok(offset), Ok(length)) = (i64::try_from(offset), i64::try_from(length)) else { return };
    let flags =
        libc::SYNC_FILE_RANGE_WAIT_BEFORE | libc::SYNC_FILE_RANGE_WRITE | libc::SYNC_FILE_RANGE_WAIT_AFTER;
    // SAFETY: as above.
    unsafe { libc::sync_file_range(file.as_raw_fd(), offset, length, flags) };
}

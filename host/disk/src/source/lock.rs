//! The image locks of QEMU (block/file-posix.c): open file description locks on single bytes of the image.
//!
//! Byte 100 + n is locked (shared) by whoever uses permission n, byte 200 + n by whoever does not share it with others.
//! n is 0 for consistent read, 1 for write, 2 for write unchanged, 3 for resize.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

const USES: i64 = 100;
const DOES_NOT_SHARE: i64 = 200;
const CONSISTENT_READ: i64 = 0;
const WRITE: i64 = 1;
const RESIZE: i64 = 3;

/// Locks a file for consistent reading, as QEMU does for a read-only image: no writer may have it, none may come while
/// the file stays open. `Ok(false)`: somebody writes it. Filesystems without such locks count as unused.
pub(super) fn lock_for_reading(file: &File) -> io::Result<bool> {
    for byte in [USES + CONSISTENT_READ, DOES_NOT_SHARE + WRITE, DOES_NOT_SHARE + RESIZE] {
        match set(file, byte) {
            Ok(true) => {}
            Ok(false) => return Ok(false),
            Err(error) if unsupported(&error) => return Ok(true),
            Err(error) => return Err(error),
        }
    }
    for byte in [DOES_NOT_SHARE + CONSISTENT_READ, USES + WRITE, USES + RESIZE] {
        if held_by_others(file, byte)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn unsupported(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENOLCK | libc::EOPNOTSUPP | libc::ENOSYS))
}

fn lock(kind: i32, byte: i64) -> libc::flock {
    // SAFETY: flock is plain data for which zeros are valid; l_pid has to be 0 for these commands.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = kind as libc::c_short;
    lock.l_whence = libc::SEEK_SET as libc::c_short;
    lock.l_start = byte;
    lock.l_len = 1;
    lock
}

fn set(file: &File, byte: i64) -> io::Result<bool> {
    let lock = lock(libc::F_RDLCK, byte);
    // SAFETY: the descriptor is open and `lock` outlives the call, which only reads it.
    match unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &lock) } {
        0 => Ok(true),
        _ => match io::Error::last_os_error() {
            error if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => Ok(false),
            error => Err(error),
        },
    }
}

fn held_by_others(file: &File, byte: i64) -> io::Result<bool> {
    let mut lock = lock(libc::F_WRLCK, byte);
    // SAFETY: the descriptor is open and `lock` outlives the call, which reads and writes it.
    match unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_GETLK, &mut lock) } {
        0 => Ok(lock.l_type != libc::F_UNLCK as libc::c_short),
        _ => Err(io::Error::last_os_error()),
    }
}

//! Files that are replaced whole.

use std::io::{self, Read, Write};

use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt};
use rustix::fs::{Mode, OFlags};

/// Replaces `name` by `bytes`: after a crash at any moment the old or the new content is there.
pub(crate) fn replace(dir: &Dir, name: &str, bytes: &[u8]) -> io::Result<()> {
    let draft = format!("{name}.tmp");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600).custom_flags(no_follow());
    let mut file = dir.open_with(&draft, &options)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    dir.rename(&draft, dir, name)?;
    sync_dir(dir)
}

fn no_follow() -> i32 {
    OFlags::NOFOLLOW.bits().cast_signed()
}

/// Opens a directory in `dir`; never what a symbolic link leads to.
pub(crate) fn open_dir(dir: &Dir, name: &str) -> io::Result<Dir> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = rustix::fs::openat(dir, name, flags, Mode::empty())?;
    Ok(Dir::from_std_file(opened.into()))
}

/// Makes renames, creations and deletions in `dir` durable.
pub(crate) fn sync_dir(dir: &Dir) -> io::Result<()> {
    // A capability handle may be an O_PATH one, which cannot be synced.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = rustix::fs::openat(dir, ".", flags, Mode::empty())?;
    Ok(rustix::fs::fsync(opened)?)
}

/// Reads a file of at most `most` bytes.
pub(crate) fn read_bounded(dir: &Dir, name: &str, most: u64) -> io::Result<Vec<u8>> {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(no_follow());
    let mut bytes = Vec::new();
    dir.open_with(name, &options)?.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("larger than {most} bytes")));
    }
    Ok(bytes)
}

//! Small file operations below an open directory. No link is ever followed.

use std::fs::File;
use std::io::{Read, Write};

use cap_std::fs::Dir;
use rustix::fs::{Mode, OFlags};

use crate::error::{Doing, Error, ErrorKind, Result};

/// Longest JSON file that is read, in bytes.
pub(super) const MAX_JSON: u64 = 1 << 20;

/// Opens a regular file.
pub(super) fn open(dir: &Dir, name: &str, flags: OFlags) -> Result<File> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file =
        rustix::fs::openat(dir, name, flags, Mode::from_raw_mode(0o600)).doing(|| format!("open {name}"))?;
    let file = File::from(file);
    if !file.metadata().doing(|| format!("stat {name}"))?.is_file() {
        return Err(Error::new(ErrorKind::Denied, format!("{name} is not a regular file")));
    }
    Ok(file)
}

/// Makes a new file for writing, in the place of one of that name.
pub(super) fn create(dir: &Dir, name: &str) -> Result<File> {
    open(dir, name, OFlags::RDWR | OFlags::CREATE | OFlags::TRUNC)
}

/// The whole of a small file.
pub(super) fn read(dir: &Dir, name: &str) -> Result<Vec<u8>> {
    let file = open(dir, name, OFlags::RDONLY)?;
    let mut bytes = Vec::new();
    file.take(MAX_JSON).read_to_end(&mut bytes).doing(|| format!("read {name}"))?;
    Ok(bytes)
}

/// Replaces a file: readers see the old content or the new one, and so does the next start after a power cut.
pub(super) fn write(dir: &Dir, name: &str, bytes: &[u8]) -> Result<()> {
    let new = format!(".{name}.new");
    let mut file = create(dir, &new)?;
    file.write_all(bytes).doing(|| format!("write {name}"))?;
    file.sync_all().doing(|| format!("flush {name}"))?;
    rename(dir, &new, name)
}

/// Removes a file, durably; nothing happens when it is not there.
pub(super) fn remove(dir: &Dir, name: &str) -> Result<()> {
    match dir.remove_file(name) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::io(format!("remove {name}"), error))
        }
        _ => sync(dir),
    }
}

/// Moves a finished file to its name and makes that durable.
pub(super) fn rename(dir: &Dir, from: &str, to: &str) -> Result<()> {
    dir.rename(from, dir, to).doing(|| format!("rename {from} to {to}"))?;
    sync(dir)
}

/// Makes the entries of a directory durable.
pub(super) fn sync(dir: &Dir) -> Result<()> {
    // Handles of cap-std may be O_PATH, which cannot be flushed.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = rustix::fs::openat(dir, ".", flags, Mode::empty()).doing(|| "open a directory".into())?;
    rustix::fs::fsync(&dir).doing(|| "flush a directory".into())
}

/// Opens a directory, made first when it is missing (mode 0700).
pub(super) fn subdir(dir: &Dir, name: &str) -> Result<Dir> {
    match rustix::fs::mkdirat(dir, name, Mode::from_raw_mode(0o700)) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => existing(dir, name),
        Err(errno) => Err(Error::io(format!("make the directory {name}"), errno.into())),
    }
}

/// Opens a directory.
pub(super) fn existing(dir: &Dir, name: &str) -> Result<Dir> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd =
        rustix::fs::openat(dir, name, flags, Mode::empty()).doing(|| format!("open the directory {name}"))?;
    Ok(Dir::from_std_file(File::from(fd)))
}

/// The names in a directory; those that are not UTF-8 are none of ours.
pub(super) fn entries(dir: &Dir) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in dir.entries().doing(|| "list a directory".into())? {
        let entry = entry.doing(|| "list a directory".into())?;
        if let Ok(name) = entry.file_name().into_string() {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Whether there is something of this name, a link that leads nowhere included.
pub(super) fn exists(dir: &Dir, name: &str) -> Result<bool> {
    match dir.symlink_metadata(name) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Error::io(format!("look for {name}"), error)),
    }
}

/// Refuses to begin what the filesystem has no room for.
pub(super) fn check_space(file: &File, needed: u64) -> Result<()> {
    let stat = rustix::fs::fstatvfs(file).doing(|| "look for free space".into())?;
    let available = stat.f_bavail.saturating_mul(stat.f_frsize);
    if needed <= available {
        return Ok(());
    }
    let (needed, available) = (witvirt_core::ByteSize(needed), witvirt_core::ByteSize(available));
    let message = format!("not enough space: up to {needed} would be written, {available} are free");
    Err(Error::new(ErrorKind::NoSpace, message))
}

//! The directories that the operator allowed, and opening files below them.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::Source;
use super::file::{FileSource, kind_name};
use crate::error::{Doing, Error, ErrorKind, Result};

/// Directories below which files of users may be read and written. Held open: renaming or linking above them changes
/// nothing.
#[derive(Debug, Clone, Default)]
pub struct AllowedDirs {
    roots: Vec<Root>,
}

#[derive(Debug, Clone)]
struct Root {
    path: PathBuf,
    dir: Arc<OwnedFd>,
}

/// An opened file and the directory it lies in.
#[derive(Debug, Clone)]
pub struct Located {
    /// The file.
    pub source: Arc<dyn Source>,
    /// Absolute path of its directory, by which names inside it are resolved.
    directory: PathBuf,
}

impl AllowedDirs {
    /// Opens the directories. Links on the way to them are the operator's own and are followed.
    ///
    /// # Errors
    /// `InvalidInput` for a path that is not absolute; whatever opening one reports.
    pub fn new<P: AsRef<Path>>(paths: impl IntoIterator<Item = P>) -> Result<Self> {
        let mut roots = Vec::new();
        for path in paths {
            let path = path.as_ref();
            if !path.is_absolute() {
                let message = format!("allowed directory {} is not an absolute path", show(path));
                return Err(Error::new(ErrorKind::InvalidInput, message));
            }
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let dir = rustix::fs::open(path, flags, Mode::empty())
                .doing(|| format!("open the allowed directory {}", show(path)))?;
            roots.push(Root { path: path.components().collect(), dir: Arc::new(dir) });
        }
        Ok(Self { roots })
    }

    /// Opens a file by its absolute path.
    ///
    /// # Errors
    /// `Denied` when it is in no allowed directory, when a part of the path is a symbolic link or `..`, or when it is
    /// neither a regular file nor a block device; `InUse` when another process writes it; `NotFound`.
    pub fn open(&self, path: &Path) -> Result<Located> {
        let (root, below) = self.locate(path)?;
        let file = open_source(root.dir.as_fd(), &below, path, OFlags::RDONLY)?;
        let source: Arc<dyn Source> = Arc::new(FileSource::new(file, &path.to_string_lossy())?);
        let directory = path.parent().unwrap_or(Path::new("/")).to_owned();
        Ok(Located { source, directory })
    }

    /// Opens a file for a hypervisor to read (a kernel, firmware): the same rules, no lock.
    ///
    /// # Errors
    /// As [`AllowedDirs::open`], without `InUse`.
    pub fn open_file(&self, path: &Path) -> Result<std::fs::File> {
        let (root, below) = self.locate(path)?;
        Ok(open_source(root.dir.as_fd(), &below, path, OFlags::RDONLY)?.into())
    }

    /// Opens a raw file that a machine uses in place. Its hypervisor locks it.
    ///
    /// # Errors
    /// As [`AllowedDirs::open`].
    pub(crate) fn open_disk(&self, path: &Path, read_only: bool) -> Result<std::fs::File> {
        let (root, below) = self.locate(path)?;
        let access = if read_only { OFlags::RDONLY } else { OFlags::RDWR };
        Ok(open_source(root.dir.as_fd(), &below, path, access)?.into())
    }

    /// Opens the directory of a file that is to be written, and gives the file's own name.
    ///
    /// # Errors
    /// As [`AllowedDirs::open`].
    pub(crate) fn open_parent(&self, path: &Path) -> Result<(cap_std::fs::Dir, String)> {
        let name = path.file_name().and_then(OsStr::to_str).filter(|name| !name.is_empty());
        let Some(name) = name else {
            return Err(Error::new(ErrorKind::InvalidInput, format!("{} is no file name", show(path))));
        };
        let (root, below) = self.locate(path)?;
        let parent = below.parent().unwrap_or(Path::new(""));
        let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = open_beneath(root.dir.as_fd(), parent, flags).map_err(|errno| refusal(errno, path))?;
        Ok((cap_std::fs::Dir::from_std_file(dir.into()), name.to_owned()))
    }

    /// The names in a directory, sorted; those that are no text are left out.
    ///
    /// # Errors
    /// As [`AllowedDirs::open`].
    pub(crate) fn list(&self, path: &Path) -> Result<Vec<String>> {
        let (root, below) = self.locate(path)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = open_beneath(root.dir.as_fd(), &below, flags).map_err(|errno| refusal(errno, path))?;
        let entries = rustix::fs::Dir::new(dir).doing(|| format!("list {}", show(path)))?;
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.doing(|| format!("list {}", show(path)))?;
            names.extend(entry.file_name().to_str().ok().map(str::to_owned));
        }
        names.retain(|name| name != "." && name != "..");
        names.sort();
        Ok(names)
    }

    /// These directories, and one more below those of `others`.
    ///
    /// # Errors
    /// As [`AllowedDirs::open`].
    pub(crate) fn and_below(&self, others: &Self, path: &Path) -> Result<Self> {
        let (root, below) = others.locate(path)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = open_beneath(root.dir.as_fd(), &below, flags).map_err(|errno| refusal(errno, path))?;
        let mut roots = self.roots.clone();
        roots.push(Root { path: path.components().collect(), dir: Arc::new(dir) });
        Ok(Self { roots })
    }

    fn locate(&self, path: &Path) -> Result<(&Root, PathBuf)> {
        if !path.is_absolute() {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!("{} is not an absolute path", show(path)),
            ));
        }
        if path.components().any(|part| part == Component::ParentDir) {
            return Err(Error::new(ErrorKind::Denied, format!("{} contains \"..\"", show(path))));
        }
        let longest = |root: &&Root| root.path.as_os_str().len();
        let root = self.roots.iter().filter(|root| path.starts_with(&root.path)).max_by_key(longest);
        let Some(root) = root else { return Err(self.outside(path)) };
        let below = path.strip_prefix(&root.path).map_err(|_| self.outside(path))?;
        let below = if below.as_os_str().is_empty() { Path::new(".") } else { below };
        Ok((root, below.components().collect()))
    }

    fn outside(&self, path: &Path) -> Error {
        let allowed: Vec<String> = self.roots.iter().map(|root| show(&root.path)).collect();
        let allowed = if allowed.is_empty() { "none".to_owned() } else { allowed.join(", ") };
        let message = format!("{} is outside the allowed directories ({allowed})", show(path));
        Error::new(ErrorKind::Denied, message)
    }
}

impl Located {
    /// A source that lies in no directory: nothing has a name beside it.
    pub(crate) fn alone(source: Arc<dyn Source>) -> Self {
        Self { source, directory: PathBuf::from("/") }
    }

    /// The absolute path of its directory.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The absolute path that a name in this file means: relative names are relative to the file's own directory.
    pub(crate) fn sibling(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}

/// A path for messages.
pub(crate) fn show(path: &Path) -> String {
    path.to_string_lossy().escape_debug().to_string()
}

/// The path that [`show`] shows; where it was no text, one that does not exist.
pub(crate) fn unshow(shown: &str) -> PathBuf {
    let mut path = String::with_capacity(shown.len());
    let mut rest = shown.chars();
    while let Some(char) = rest.next() {
        let escaped = if char == '\\' { rest.next() } else { None };
        path.push(match escaped {
            None => char,
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some('0') => '\0',
            Some('u') => {
                let digits: String = rest.by_ref().skip(1).take_while(|char| *char != '}').collect();
                let decoded = u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32);
                decoded.unwrap_or(char::REPLACEMENT_CHARACTER)
            }
            Some(other) => other,
        });
    }
    PathBuf::from(path)
}

/// Looks before it opens: opening a device or FIFO may already do something.
fn open_source(root: BorrowedFd<'_>, below: &Path, path: &Path, access: OFlags) -> Result<OwnedFd> {
    let seen =
        open_beneath(root, below, OFlags::PATH | OFlags::CLOEXEC).map_err(|errno| refusal(errno, path))?;
    let before = rustix::fs::fstat(&seen).doing(|| format!("stat {}", show(path)))?;
    let kind = FileType::from_raw_mode(before.st_mode);
    if !matches!(kind, FileType::RegularFile | FileType::BlockDevice) {
        let message =
            format!("{} is a {}: only regular files and block devices are read", show(path), kind_name(kind));
        return Err(Error::new(ErrorKind::Denied, message));
    }
    let flags = access | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = open_beneath(root, below, flags).map_err(|errno| refusal(errno, path))?;
    let after = rustix::fs::fstat(&file).doing(|| format!("stat {}", show(path)))?;
    if (before.st_dev, before.st_ino) != (after.st_dev, after.st_ino) {
        let message = format!("{} was replaced while it was opened: try again", show(path));
        return Err(Error::new(ErrorKind::Changed, message));
    }
    Ok(file)
}

fn refusal(errno: Errno, path: &Path) -> Error {
    match errno {
        Errno::LOOP => {
            let message =
                format!("{}: a part of this path is a symbolic link, which is not followed", show(path));
            Error::new(ErrorKind::Denied, message)
        }
        Errno::XDEV => Error::new(ErrorKind::Denied, format!("{} leaves its allowed directory", show(path))),
        errno => Error::io(format!("open {}", show(path)), errno.into()),
    }
}

/// Opens `below` without following any link and without leaving `root`.
fn open_beneath(root: BorrowedFd<'_>, below: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    loop {
        match rustix::fs::openat2(root, below, flags, Mode::empty(), resolve) {
            // Somebody renamed directories meanwhile; the kernel asks to try again.
            Err(Errno::AGAIN | Errno::INTR) => {}
            // Old kernels, and seccomp filters that do not know the call.
            Err(Errno::NOSYS | Errno::PERM) => return open_by_parts(root, below, flags),
            result => return result,
        }
    }
}

/// [`open_beneath`] one directory at a time.
fn open_by_parts(root: BorrowedFd<'_>, below: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let parts: Vec<&OsStr> = below
        .components()
        .filter(|part| *part != Component::CurDir)
        .map(|part| match part {
            Component::Normal(name) => Ok(name),
            _ => Err(Errno::XDEV),
        })
        .collect::<rustix::io::Result<_>>()?;
    let Some((last, directories)) = parts.split_last() else {
        return rustix::fs::openat(root, ".", flags, Mode::empty());
    };
    let mut at: Option<OwnedFd> = None;
    for name in directories {
        let step = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let dir = at.as_ref().map_or(root, AsFd::as_fd);
        at = Some(
            rustix::fs::openat(dir, *name, step, Mode::empty())
                .map_err(|errno| link_error(dir, name, errno))?,
        );
    }
    let dir = at.as_ref().map_or(root, AsFd::as_fd);
    let file = rustix::fs::openat(dir, *last, flags | OFlags::NOFOLLOW, Mode::empty())?;
    if flags.contains(OFlags::PATH) {
        // O_PATH opens the link itself.
        let stat = rustix::fs::fstat(&file)?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
            return Err(Errno::LOOP);
        }
    }
    Ok(file)
}

/// A link where a directory was wanted reports ENOTDIR; say what it is.
fn link_error(dir: BorrowedFd<'_>, name: &OsStr, errno: Errno) -> Errno {
    let Ok(stat) = rustix::fs::statat(dir, name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW) else { return errno };
    if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink { Errno::LOOP } else { errno }
}

#[cfg(test)]
#[path = "allowed_tests.rs"]
mod tests;

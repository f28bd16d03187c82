//! The run directory of a machine.
//!
//! Only the daemon writes names into it: `record.json` and `process` (who runs), `monitor.sock` and `console.sock` (bound
//! by the daemon, inherited by QEMU), `served/` (sockets that the daemon serves disks on), `stderr` and `arguments.json` (for
//! people). It is reached through an open directory, so that its path may be longer than the 107 bytes of a socket address.
//!
//! QEMU connects to the sockets in `served/` itself, again whenever another daemon listens there. Its user has no way
//! through the directories above: it inherits this one, open, and names the sockets below `/proc/self/fd`.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Gid, Mode, OFlags, Uid, mkdirat, openat, renameat, unlinkat};

use super::process::{Identity, parse_stat};
use crate::accelerator::User;
use crate::{Error, ErrorKind, InstanceRecord};

pub(super) const MONITOR: &str = "monitor.sock";
pub(super) const CONSOLE: &str = "console.sock";
const SERVED: &str = "served";
const RECORD: &str = "record.json";
const PROCESS: &str = "process";
const STDERR: &str = "stderr";
const ARGUMENTS: &str = "arguments.json";

/// What is kept of the standard error of QEMU when the file is cut, and reported when it ends.
const STDERR_TAIL: u64 = 16 << 10;
/// Size at which the file is cut.
const STDERR_MOST: u64 = 1 << 20;
/// The most that is read of a record.
const RECORD_MOST: u64 = 64 << 10;

pub(super) struct RunDir {
    path: PathBuf,
    dir: OwnedFd,
}

impl RunDir {
    pub fn open(path: &Path) -> Result<Self, Error> {
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let dir =
            rustix::fs::open(path, flags, Mode::empty()).map_err(|error| failed("open", path, error))?;
        Ok(Self { path: path.to_owned(), dir })
    }

    pub fn try_clone(&self) -> Result<Self, Error> {
        let dir = self.dir.try_clone().map_err(|error| failed("open", &self.path, error))?;
        Ok(Self { path: self.path.clone(), dir })
    }

    /// The path by which a socket in it can be connected or bound, whatever the length of the real one.
    pub fn socket_path(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}/{name}", self.dir.as_raw_fd()))
    }

    /// A socket that listens; one that an earlier run left behind is replaced.
    pub fn listen(&self, name: &str) -> Result<UnixListener, Error> {
        match unlinkat(&self.dir, name, AtFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => {}
            Err(error) => return Err(failed("remove", &self.path.join(name), error)),
        }
        UnixListener::bind(self.socket_path(name))
            .map_err(|error| failed("listen on", &self.path.join(name), error))
    }

    /// The directory of served disks, made when it is missing, as QEMU's user may use it.
    pub fn served(&self, user: Option<User>) -> Result<OwnedFd, Error> {
        let path = self.path.join(SERVED);
        match mkdirat(&self.dir, SERVED, Mode::from_raw_mode(0o700)) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(failed("make", &path, error)),
        }
        let dir = self.open_served()?;
        if let Some(User { uid, gid }) = user {
            rustix::fs::fchown(&dir, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
                .map_err(|error| failed("hand over", &path, error))?;
        }
        Ok(dir)
    }

    fn open_served(&self) -> Result<OwnedFd, Error> {
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        openat(&self.dir, SERVED, flags, Mode::empty())
            .map_err(|error| failed("open", &self.path.join(SERVED), error))
    }

    /// A socket in the directory of served disks that listens and belongs to the directory's owner; one that is there is
    /// replaced.
    pub fn listen_served(&self, index: usize) -> Result<UnixListener, Error> {
        let dir = self.open_served()?;
        let name = served_name(index);
        let path = self.path.join(SERVED).join(&name);
        // Under another name first: nobody must find it before it is whole.
        let new = format!("{name}.new");
        match unlinkat(&dir, &new, AtFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => {}
            Err(error) => return Err(failed("remove", &path, error)),
        }
        let listener = UnixListener::bind(format!("/proc/self/fd/{}/{new}", dir.as_raw_fd()))
            .map_err(|error| failed("listen on", &path, error))?;
        let owner = rustix::fs::fstat(&dir).map_err(|error| failed("stat", &path, error))?;
        let (uid, gid) = (Uid::from_raw(owner.st_uid), Gid::from_raw(owner.st_gid));
        rustix::fs::chownat(&dir, new.as_str(), Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
            .and_then(|()| {
                rustix::fs::chmodat(&dir, new.as_str(), Mode::from_raw_mode(0o600), AtFlags::empty())
            })
            .and_then(|()| renameat(&dir, new.as_str(), &dir, name.as_str()))
            .map_err(|error| failed("hand over", &path, error))?;
        Ok(listener)
    }

    /// A new file for the child's `/proc/self/stat`.
    pub fn process_file(&self) -> Result<File, Error> {
        self.create(PROCESS, OFlags::WRONLY | OFlags::TRUNC)
    }

    pub fn stderr_file(&self) -> Result<File, Error> {
        self.create(STDERR, OFlags::WRONLY | OFlags::TRUNC | OFlags::APPEND)
    }

    /// A file without a name, of which the daemon's user keeps nothing: read by QEMU through `/dev/fd`.
    pub fn scratch(&self, name: &str) -> Result<File, Error> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = openat(&self.dir, name, flags, Mode::from_raw_mode(0o444))
            .map_err(|error| failed("create", &self.path.join(name), error))?;
        unlinkat(&self.dir, name, AtFlags::empty())
            .map_err(|error| failed("remove", &self.path.join(name), error))?;
        let file = File::from(file);
        // The umask does not count here: QEMU's user has to be able to read it.
        rustix::fs::fchmod(&file, Mode::from_raw_mode(0o444))
            .map_err(|error| failed("open up", &self.path.join(name), error))?;
        Ok(file)
    }

    fn create(&self, name: &str, flags: OFlags) -> Result<File, Error> {
        let flags = flags | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        openat(&self.dir, name, flags, Mode::from_raw_mode(0o600))
            .map(File::from)
            .map_err(|error| failed("create", &self.path.join(name), error))
    }

    fn read(&self, name: &str, most: u64) -> Result<Option<Vec<u8>>, Error> {
        let failed = |error| failed("read", &self.path.join(name), error);
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file = match openat(&self.dir, name, flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            Err(error) => return Err(failed(error.into())),
        };
        let mut bytes = Vec::new();
        file.take(most).read_to_end(&mut bytes).map_err(failed)?;
        Ok(Some(bytes))
    }

    /// Replaces a file by way of a temporary one.
    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let temporary = format!("{name}.tmp");
        let mut file = self.create(&temporary, OFlags::WRONLY | OFlags::TRUNC)?;
        let written = file.write_all(bytes).and_then(|()| file.sync_all());
        written.map_err(|error| failed("write", &self.path.join(name), error))?;
        renameat(&self.dir, &temporary, &self.dir, name)
            .and_then(|()| rustix::fs::fsync(&self.dir))
            .map_err(|error| failed("replace", &self.path.join(name), error))
    }

    pub fn keep_record(&self, record: &InstanceRecord) -> Result<(), Error> {
        let bytes = serde_json::to_vec_pretty(record)
            .map_err(|error| Error::caused(ErrorKind::Io, "cannot write the record of a machine", error))?;
        self.write(RECORD, &bytes)
    }

    pub fn keep_arguments(&self, arguments: &[String]) -> Result<(), Error> {
        let bytes = serde_json::to_vec_pretty(arguments).map_err(|error| {
            Error::caused(ErrorKind::Io, "cannot write the arguments of a machine", error)
        })?;
        self.write(ARGUMENTS, &bytes)
    }

    /// The record that the last start left, with the process that the child itself noted before it became QEMU.
    pub fn find(&self) -> Result<Option<InstanceRecord>, Error> {
        let Some(bytes) = self.read(RECORD, RECORD_MOST)? else { return Ok(None) };
        let record: Option<InstanceRecord> = serde_json::from_slice(&bytes).ok();
        let Some(mut record) = record else { return Ok(None) };
        let stat = self.read(PROCESS, RECORD_MOST)?.unwrap_or_default();
        let Some(Identity { pid, start_time, .. }) = parse_stat(&stat) else { return Ok(None) };
        record.pid = Some(pid);
        record.start_time = Some(start_time);
        Ok(Some(record))
    }

    /// The last lines of QEMU's standard error.
    pub fn stderr_tail(&self) -> String {
        let bytes = self.stderr_bytes(STDERR_TAIL).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        text.chars().filter(|c| !c.is_control() || *c == '\n').collect::<String>().trim().to_owned()
    }

    fn stderr_bytes(&self, most: u64) -> std::io::Result<Vec<u8>> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let mut file = File::from(openat(&self.dir, STDERR, flags, Mode::empty())?);
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(most)))?;
        let mut bytes = Vec::new();
        file.take(most).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Keeps only the end of the file when it has grown large. QEMU appends, so it goes on behind what is left.
    pub fn cut_stderr(&self) -> std::io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let mut file = File::from(openat(&self.dir, STDERR, flags, Mode::empty())?);
        if file.metadata()?.len() <= STDERR_MOST {
            return Ok(());
        }
        let tail = self.stderr_bytes(STDERR_TAIL)?;
        file.set_len(0)?;
        file.write_all(&tail)
    }

    /// Removes what must not be taken for a running machine.
    pub fn forget(&self) {
        for name in [RECORD, PROCESS, MONITOR, CONSOLE] {
            match unlinkat(&self.dir, name, AtFlags::empty()) {
                Ok(()) | Err(rustix::io::Errno::NOENT) => {}
                Err(error) => tracing::warn!(path = %self.path.join(name).display(), %error, "not removed"),
            }
        }
    }
}

/// The socket of the disk with this position in the machine.
pub(super) fn served_name(index: usize) -> String {
    format!("disk{index}.sock")
}

fn failed(verb: &str, path: &Path, error: impl Into<std::io::Error>) -> Error {
    Error::caused(ErrorKind::Io, format!("cannot {verb} {}", path.display()), error.into())
}

//! Processes: started with exactly the descriptors they need, watched through pidfds.

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, pidfd_open, pidfd_send_signal, waitid,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::accelerator::User;
use crate::{Error, ErrorKind};

/// Descriptors that a child inherits, under the numbers they have here.
#[derive(Default)]
pub(super) struct Inheritance(Vec<OwnedFd>);

impl Inheritance {
    /// The number that the descriptor will have in the child.
    pub fn add(&mut self, fd: impl Into<OwnedFd>) -> RawFd {
        let fd = fd.into();
        let number = fd.as_raw_fd();
        self.0.push(fd);
        number
    }
}

/// Which process it is: a pid is used again, its start time is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    pub pid: u32,
    /// Clock ticks since boot.
    pub start_time: u64,
    /// The process has ended and waits to be reaped.
    pub zombie: bool,
}

/// Reads a line of `/proc/PID/stat` (proc_pid_stat(5)): the command's name may hold anything, even parentheses.
pub(super) fn parse_stat(line: &[u8]) -> Option<Identity> {
    let text = String::from_utf8_lossy(line);
    let (pid, _) = text.split_once(' ')?;
    let (_, fields) = text.rsplit_once(") ")?;
    let mut fields = fields.split_ascii_whitespace();
    let state = fields.next()?;
    // State is field 3, the start time field 22.
    let start_time = fields.nth(18)?.parse().ok()?;
    Some(Identity { pid: pid.parse().ok()?, start_time, zombie: state == "Z" || state == "X" })
}

/// How a child was started.
pub(super) struct Child<'a> {
    pub program: &'a Path,
    pub arguments: &'a [String],
    pub user: Option<User>,
    pub stderr: File,
    /// The child writes its line of `/proc/self/stat` here before it becomes the program.
    pub process_file: File,
    /// Directory to run in; the root when absent.
    pub directory: Option<OwnedFd>,
}

/// A running process.
#[derive(Debug)]
pub(super) struct Process {
    pub identity: Identity,
    pidfd: AsyncFd<OwnedFd>,
}

/// How a process ended, as far as that can be known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Ending {
    pub code: Option<i32>,
    pub signal: Option<i32>,
}

/// Starts a child in a session of its own that outlives its parent. Blocks until it has become the program. Returns what
/// [`Process::of_child`] takes.
pub(super) fn spawn(child: Child<'_>, inheritance: Inheritance) -> io::Result<(Identity, OwnedFd)> {
    let mut command = Command::new(child.program);
    command
        .args(child.arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::from(child.stderr));
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("LC_ALL", "C");
    match &child.directory {
        // Entered by the child while it still has the daemon's rights.
        Some(directory) => command.current_dir(format!("/proc/self/fd/{}", directory.as_raw_fd())),
        None => command.current_dir("/"),
    };
    let numbers: Vec<RawFd> = inheritance.0.iter().map(AsRawFd::as_raw_fd).collect();
    let process_file = child.process_file.as_raw_fd();
    let user = child.user;
    // SAFETY: between fork and exec the closure only makes system calls that are async-signal-safe, on memory and
    // descriptors that were prepared before the fork.
    unsafe { command.pre_exec(move || enter(&numbers, process_file, user)) };
    let pid = command.spawn()?.id();
    // Neither reaped nor reusable: only this driver waits for it.
    let pidfd = open_pid(pid)?;
    let identity =
        read_identity(pid)?.ok_or_else(|| io::Error::other("the process cannot be found in /proc"))?;
    Ok((identity, pidfd))
}

/// Runs in the child. Privileges go last, after the process has noted itself in the daemon's file.
fn enter(numbers: &[RawFd], process_file: RawFd, user: Option<User>) -> io::Result<()> {
    const STAT: &CStr = c"/proc/self/stat";
    let check = |result: libc::c_long| if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) };
    // SAFETY: all are plain system calls on valid arguments; the buffer is written by read within its length.
    unsafe {
        check(libc::setsid().into())?;
        libc::umask(0o077);
        let stat = check(libc::open(STAT.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC).into())? as RawFd;
        let mut line = [0u8; 512];
        let length = check(libc::read(stat, line.as_mut_ptr().cast(), line.len()) as libc::c_long)?;
        check(libc::write(process_file, line.as_ptr().cast(), length as usize) as libc::c_long)?;
        // Whatever the daemon itself inherited stays out; then those that are meant are let in.
        let everything = (3 as libc::c_uint, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC);
        check(libc::syscall(libc::SYS_close_range, everything.0, everything.1, everything.2))?;
        for number in numbers {
            check(libc::fcntl(*number, libc::F_SETFD, 0).into())?;
        }
        if let Some(User { uid, gid }) = user {
            check(libc::setgroups(0, std::ptr::null()).into())?;
            check(libc::setgid(gid).into())?;
            check(libc::setuid(uid).into())?;
        }
    }
    Ok(())
}

fn open_pid(pid: u32) -> io::Result<OwnedFd> {
    let invalid = || io::Error::new(io::ErrorKind::InvalidData, "not a process id");
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or_else(invalid)?;
    Ok(pidfd_open(pid, PidfdFlags::empty())?)
}

fn read_identity(pid: u32) -> io::Result<Option<Identity>> {
    match std::fs::read(format!("/proc/{pid}/stat")) {
        Ok(line) => Ok(parse_stat(&line)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        // ESRCH: ended between open and read.
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(None),
        Err(error) => Err(error),
    }
}

impl Process {
    /// Watches what [`spawn`] returned.
    pub fn of_child(identity: Identity, pidfd: OwnedFd) -> io::Result<Self> {
        // SAFETY: an OwnedFd names the same open descriptor for as long as it lives.
        let pidfd = unsafe { AsyncFd::register_with_interest(pidfd, Interest::READABLE) }?;
        Ok(Self { identity, pidfd })
    }

    /// Finds a process that was started earlier; `None` when it has ended, though its pid may live on in another.
    pub fn find(pid: u32, start_time: u64) -> Result<Option<Self>, Error> {
        let failed = |error| Error::caused(ErrorKind::Io, format!("cannot look at process {pid}"), error);
        let pidfd = match open_pid(pid) {
            Ok(pidfd) => pidfd,
            Err(error) if matches!(error.raw_os_error(), Some(libc::ESRCH | libc::EINVAL)) => {
                return Ok(None);
            }
            Err(error) => return Err(failed(error)),
        };
        // Looked at after the pidfd was opened: if it is the right one now, the pidfd refers to it.
        match read_identity(pid).map_err(failed)? {
            Some(identity) if identity.start_time == start_time && !identity.zombie => {
                let process = Self::of_child(identity, pidfd).map_err(failed)?;
                Ok(Some(process))
            }
            _ => Ok(None),
        }
    }

    /// Waits until it has ended, and leaves it to be reaped.
    pub async fn exited(&self) {
        // A failure would mean that the descriptor cannot be polled, which was tried when it was registered.
        let _ready = self.pidfd.readable().await;
    }

    /// Waits until it has ended and reaps it, when it is a child of this process; only then it is known how it ended.
    pub async fn ended(&self) -> Ending {
        self.exited().await;
        match waitid(WaitId::PidFd(std::os::fd::AsFd::as_fd(self.pidfd.get_ref())), WaitIdOptions::EXITED) {
            Ok(Some(status)) => Ending { code: status.exit_status(), signal: status.terminating_signal() },
            _ => Ending::default(),
        }
    }

    pub fn has_ended(&self) -> bool {
        !matches!(read_identity(self.identity.pid), Ok(Some(now)) if now.start_time == self.identity.start_time && !now.zombie)
    }

    /// Ends it without asking. An ended process is no error.
    pub fn kill(&self) -> io::Result<()> {
        match pidfd_send_signal(self.pidfd.get_ref(), Signal::KILL) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Identity, parse_stat};

    #[test]
    fn reads_stat_lines() {
        let line = b"42 (a) b (c) S 1 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 3 0 987654 1 2 3\n";
        let expected = Identity { pid: 42, start_time: 987_654, zombie: false };
        assert_eq!(parse_stat(line), Some(expected));
        let line = b"7 (x) Z 1 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 3 0 5 1\n";
        assert!(parse_stat(line).unwrap().zombie);
        for bad in
            [&b""[..], b"42", b"42 (a) S", b"x (a) S 1 42 42 0 -1 4 1 2 3 4 5 6 7 8 20 0 3 0 5", b"\xff\xff"]
        {
            assert_eq!(parse_stat(bad), None);
        }
    }
}

//! The TPM emulator beside a machine.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::fs::{Mode, OFlags};

use super::QemuOptions;
use super::process::{Child, Inheritance, spawn};
use super::run_dir::RunDir;
use crate::accelerator::User;
use crate::{Error, ErrorKind};

/// Starts swtpm on the machine's TPM state and returns QEMU's end of the control channel. It ends with QEMU, whose end is
/// the only one.
pub(super) fn start(options: &QemuOptions, state: &Path, run_dir: &RunDir) -> Result<OwnedFd, Error> {
    let program = &options.swtpm;
    let failed = |what: &str, error| Error::caused(ErrorKind::Start, what.to_owned(), error);
    if let Err(error) = Command::new(program).arg("--version").stdin(Stdio::null()).output() {
        let message = format!("tpm: {} cannot be run; install the package swtpm", program.display());
        return Err(Error::caused(ErrorKind::Unsupported, message, error));
    }
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = rustix::fs::open(state, flags, Mode::empty()).map_err(|error| {
        failed(&format!("cannot open the TPM state in {}", state.display()), error.into())
    })?;
    if let Some(user) = options.user {
        give(&directory, user).map_err(|error| failed("cannot give the TPM state to QEMU's user", error))?;
    }
    let (ours, theirs) =
        UnixStream::pair().map_err(|error| failed("cannot make the TPM's channel", error))?;
    let mut inheritance = Inheritance::default();
    let channel = inheritance.add(theirs);
    let arguments = [
        "socket",
        "--tpm2",
        "--tpmstate",
        "dir=.,mode=0600",
        "--ctrl",
        &format!("type=unixio,clientfd={channel}"),
        "--terminate",
        "--seccomp",
        "action=kill",
    ]
    .map(str::to_owned);
    let child = Child {
        program,
        arguments: &arguments,
        user: options.user,
        stderr: run_dir.stderr_file()?,
        process_file: run_dir.process_file()?,
        directory: Some(directory),
    };
    let (identity, _pidfd) = spawn(child, inheritance)
        .map_err(|error| failed(&format!("cannot start {}", program.display()), error))?;
    reap(identity.pid);
    Ok(ours.into())
}

/// The directory and the files in it, which an earlier run may have made as another user.
fn give(directory: &OwnedFd, user: User) -> std::io::Result<()> {
    use rustix::fs::{AtFlags, Dir, Gid, Uid, chownat, fchown};

    let (owner, group) = (Some(Uid::from_raw(user.uid)), Some(Gid::from_raw(user.gid)));
    fchown(directory, owner, group)?;
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        if entry.file_name() != c"." && entry.file_name() != c".." {
            chownat(directory, entry.file_name(), owner, group, AtFlags::SYMLINK_NOFOLLOW)?;
        }
    }
    Ok(())
}

/// Waits for the emulator in a thread, so that it leaves no zombie.
fn reap(pid: u32) {
    let wait = move || {
        let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
        let _ended = rustix::process::waitpid(pid, rustix::process::WaitOptions::empty());
    };
    if let Err(error) = std::thread::Builder::new().name("swtpm-wait".to_owned()).spawn(wait) {
        tracing::warn!(%error, "swtpm will not be reaped");
    }
}

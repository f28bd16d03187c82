//! One daemon per state directory.

use std::io::{Read, Seek, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use cap_std::fs::{Dir, File, OpenOptions, OpenOptionsExt};
use rustix::fs::{FlockOperation, OFlags};
use rustix::io::Errno;

use crate::error::{Error, ErrorKind};

/// How long a lock may be held on. A daemon that was killed while it started a hypervisor leaves, for some milliseconds, a
/// child that has not yet become the hypervisor and still has all of its files open.
const PATIENCE: Duration = Duration::from_secs(2);

/// Held as long as it lives; the kernel lets go of it when the process ends.
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    pub(crate) fn take(root: &Dir, path: &Path) -> Result<Self, Error> {
        let failed = |error| Error::io(format!("cannot lock {}", path.join("lock").display()), error);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).mode(0o600);
        options.custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
        let mut file = root.open_with("lock", &options).map_err(failed)?;
        let deadline = Instant::now() + PATIENCE;
        while let Err(error) = rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            if error != Errno::WOULDBLOCK {
                return Err(failed(error.into()));
            }
            if Instant::now() >= deadline {
                return Err(held(&mut file, path));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        // For people only: what counts is the lock.
        file.set_len(0).map_err(failed)?;
        file.rewind().map_err(failed)?;
        writeln!(file, "{}", std::process::id()).map_err(failed)?;
        Ok(Self { _file: file })
    }
}

fn held(file: &mut File, path: &Path) -> Error {
    let mut text = String::new();
    let pid = file.take(32).read_to_string(&mut text).ok().and_then(|_| text.trim().parse::<u32>().ok());
    let holder =
        pid.map_or_else(|| "another daemon".to_owned(), |pid| format!("the daemon with process id {pid}"));
    let message = format!(
        "{} is in use by {holder}: stop that one first, or give this one a state directory of its own",
        path.display()
    );
    Error::new(ErrorKind::Locked, message)
}

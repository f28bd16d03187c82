//! The daemon's socket in the file system.

use std::fs::{File, Permissions};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use rustix::fs::{FlockOperation, flock};
use tokio::net::UnixListener;

use crate::config::Api;

/// The longest path of a socket: `sun_path` less its final zero (unix(7)).
const LONGEST_PATH: usize = 107;

/// A listening socket that is removed in the end.
pub struct Socket {
    /// To accept from.
    pub listener: UnixListener,
    path: PathBuf,
    /// Held as long as the socket is ours.
    _lock: File,
}

impl Socket {
    /// Binds, with the permissions in place before anyone can connect. A socket that a dead daemon left is replaced.
    ///
    /// # Errors
    /// When another daemon holds it, or the place cannot be used.
    pub fn bind(api: &Api) -> anyhow::Result<Self> {
        let path = &api.socket;
        let directory =
            path.parent().with_context(|| format!("{} is no path for a socket", path.display()))?;
        std::fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
        let lock = lock(path)?;
        if std::fs::symlink_metadata(path).is_ok_and(|found| !found.file_type().is_socket()) {
            bail!("{} exists and is no socket: remove it or set [api] socket", path.display());
        }
        let fresh = path.with_extension(format!("{}.new", std::process::id()));
        if fresh.as_os_str().len() > LONGEST_PATH {
            bail!("{} is too long for a socket: set a shorter [api] socket", path.display());
        }
        let _ = std::fs::remove_file(&fresh);
        let listener =
            UnixListener::bind(&fresh).with_context(|| format!("cannot bind {}", path.display()))?;
        let placed = set_owner(&fresh, api).and_then(|()| {
            std::fs::rename(&fresh, path).with_context(|| format!("cannot place {}", path.display()))
        });
        if let Err(error) = placed {
            let _ = std::fs::remove_file(&fresh);
            return Err(error);
        }
        Ok(Self { listener, path: path.clone(), _lock: lock })
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// One daemon for each socket, whatever the socket file looks like.
fn lock(path: &Path) -> anyhow::Result<File> {
    let name = path.with_extension("lock");
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&name)
        .with_context(|| format!("cannot open {}", name.display()))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => bail!(
            "another witvirt daemon serves on {}: stop it, or set another [api] socket and state-directory",
            path.display()
        ),
        Err(error) => Err(error).with_context(|| format!("cannot lock {}", name.display())),
    }
}

fn set_owner(path: &Path, api: &Api) -> anyhow::Result<()> {
    if let Some(group) = &api.socket_group {
        let gid = crate::accounts::group(group)
            .context("[api] socket-group: make the group (groupadd) or correct the name")?;
        std::os::unix::fs::chown(path, None, Some(gid))
            .with_context(|| format!("cannot give {} to group {group}", path.display()))?;
    }
    std::fs::set_permissions(path, Permissions::from_mode(api.socket_mode))
        .with_context(|| format!("cannot set the mode of {}", path.display()))
}

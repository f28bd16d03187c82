//! The image store.
//!
//! ```text
//! images/<digest>/disk.raw     what a guest sees; mode 0400
//! images/<digest>/image.json   the ImageRecord
//! images/<digest>/files/       what lay beside the disk in artifacts, by the digests of the files
//! images/<digest>/used         empty; its modification time is when the image was last opened
//! names/<name>                 a digest
//! users/<digest>/              who uses an image: see `users`
//! lazy/<id>/                   images that machines run from while they arrive
//! quarantine/<digest>/         images that were altered on disk
//! volumes/<name>.raw           raw disks that outlive machines
//! tmp/<unique>/                unfinished work, locked by its owner
//! tmp/partial-<key>/           the same, of an import that can be resumed: kept for a week
//! lock                         held while names and images change
//! ```
//!
//! A directory in `images/` is complete: it was made in `tmp/`, flushed and renamed. So a cut at any moment leaves images
//! or unfinished work, and [`Store::open`] removes the latter once its owner is dead.

mod collect;
mod data;
mod dirs;
mod disks;
mod firmware;
mod images;
mod import;
mod kept;
mod lazy;
mod overlay;
mod quarantine;
mod read;
mod temp;
mod users;
mod volumes;
mod write;

use std::fs::File;
use std::path::{Path, PathBuf};

use cap_std::fs::Dir;
use rustix::fs::{FlockOperation, Mode, OFlags};

use crate::error::{Doing, Error, ErrorKind, Result};
use crate::limits::Limits;

pub use collect::{CollectRules, Collected};
pub use lazy::{Lazily, LazyAccess, StoredDisk};
pub use users::ImageUser;

/// How a store works.
#[derive(Debug, Clone, Default)]
pub struct StoreOptions {
    /// Bounds on images.
    pub limits: Limits,
    /// Threads that copy and decode; 0: as many as there are processors, 2 to 8.
    pub threads: usize,
}

/// Images, volumes and the machines' disks over them. Share it in an `Arc`; several processes may open one directory.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    dir: Dir,
    images: Dir,
    names: Dir,
    volumes: Dir,
    quarantined: Dir,
    users: Dir,
    tmp: Dir,
    limits: Limits,
    threads: usize,
}

impl Store {
    /// Opens the store below the absolute path `path`, makes it where it is missing (mode 0700) and removes what dead
    /// processes left unfinished.
    ///
    /// # Errors
    /// When the directory cannot be made, read or locked.
    pub fn open(path: &Path, options: StoreOptions) -> Result<Self> {
        if !path.is_absolute() {
            let message =
                format!("the store's directory {} is not an absolute path", crate::source::show(path));
            return Err(Error::new(ErrorKind::InvalidInput, message));
        }
        let dir = open_root(path).map_err(|error| error.during(crate::source::show(path)))?;
        let threads = if options.threads == 0 { crate::copy::default_threads() } else { options.threads };
        let store = Self {
            path: path.to_owned(),
            images: dirs::subdir(&dir, "images")?,
            names: dirs::subdir(&dir, "names")?,
            volumes: dirs::subdir(&dir, "volumes")?,
            quarantined: dirs::subdir(&dir, "quarantine")?,
            users: dirs::subdir(&dir, "users")?,
            tmp: dirs::subdir(&dir, "tmp")?,
            dir,
            limits: options.limits,
            threads,
        };
        let _lock = store.lock(FlockOperation::LockExclusive)?;
        temp::clean(&store.tmp)?;
        store.clean_names()?;
        Ok(store)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Locks names and images, against other threads as well as other processes, until the file is dropped.
    fn lock(&self, operation: FlockOperation) -> Result<File> {
        let file = dirs::open(&self.dir, "lock", OFlags::RDWR | OFlags::CREATE)?;
        rustix::fs::flock(&file, operation).doing(|| "lock the store".into())?;
        Ok(file)
    }

    /// A place for work that the next attempt takes up where this one breaks off; empty, unless one did before. `None`
    /// while another thread or process is at the same work.
    fn resumable(&self, key: &str) -> Result<Option<temp::Temp>> {
        let _lock = self.lock(FlockOperation::LockShared)?;
        temp::Temp::resumable(&self.tmp, key)
    }

    /// A place for unfinished work.
    fn temp(&self) -> Result<temp::Temp> {
        let _lock = self.lock(FlockOperation::LockShared)?;
        temp::Temp::new(&self.tmp)
    }
}

fn open_root(path: &Path) -> Result<Dir> {
    std::fs::create_dir_all(path).doing(|| "make the store's directory".into())?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = rustix::fs::open(path, flags, Mode::empty()).doing(|| "open the store's directory".into())?;
    rustix::fs::fchmod(&fd, Mode::from_raw_mode(0o700))
        .doing(|| "close the store's directory to others".into())?;
    Ok(Dir::from_std_file(File::from(fd)))
}

/// Seconds since 1970.
fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |now| now.as_secs())
}

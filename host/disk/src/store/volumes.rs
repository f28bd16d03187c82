//! Raw disks that outlive machines.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use cap_std::fs::Dir;
use rustix::fs::{FlockOperation, OFlags};
use rustix::io::Errno;
use witvirt_core::Name;

use super::overlay::overlay_name;
use super::write::raw_name;
use super::{Store, dirs};
use crate::error::{Doing, Error, ErrorKind, Result};
use crate::request::{Access, DiskHandle};

/// How long a volume may be held on: by the process of a machine that is just ending, or a child of a killed daemon that has
/// not yet become a hypervisor.
const PATIENCE: Duration = Duration::from_secs(2);

/// A volume of the store.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Volume {
    /// Its name.
    pub name: Name,
    /// Bytes that a guest sees.
    pub size: u64,
    /// Bytes on the host.
    pub allocated: u64,
}

impl Store {
    /// Opens a volume for reading and writing; makes it when it is missing and a size (bytes) is given.
    ///
    /// # Errors
    /// `NotFound` without a size; `InvalidInput` when it exists with another size.
    pub fn volume(&self, name: &Name, size: Option<u64>) -> Result<File> {
        let _lock = self.lock(FlockOperation::LockExclusive)?;
        match (dirs::open(&self.volumes, &raw_name(name), OFlags::RDWR), size) {
            (Ok(file), Some(size)) => check_size(name, file, self.whole_sectors(size)?),
            (Err(error), Some(size)) if error.kind() == ErrorKind::NotFound => {
                self.blank(&self.volumes, &raw_name(name), size)
            }
            (Err(error), None) if error.kind() == ErrorKind::NotFound => {
                let message = format!("there is no volume \"{name}\"; give a size to make it");
                Err(Error::new(ErrorKind::NotFound, message))
            }
            (file, _) => file,
        }
    }

    /// Opens a volume for a machine, which holds it as long as it has the file open: alone when it writes, with other readers
    /// otherwise. The lock goes with the file, so that it outlives the daemon as the machine does.
    pub(super) fn use_volume(&self, name: &Name, size: Option<u64>, read_only: bool) -> Result<File> {
        let mut file = self.volume(name, size)?;
        if read_only {
            // QEMU is handed this very file, so that it has to be open for reading only.
            file = dirs::open(&self.volumes, &raw_name(name), OFlags::RDONLY)?;
        }
        let (lock, others) = match read_only {
            true => (FlockOperation::NonBlockingLockShared, "writes it"),
            false => (FlockOperation::NonBlockingLockExclusive, "uses it"),
        };
        let deadline = Instant::now() + PATIENCE;
        while let Err(errno) = rustix::fs::flock(&file, lock) {
            if errno != Errno::WOULDBLOCK {
                return Err(Error::io(format!("lock the volume {name}"), errno.into()));
            }
            if Instant::now() >= deadline {
                let message =
                    format!("the volume {name} is in use: another disk {others}; stop its machine first");
                return Err(Error::new(ErrorKind::InUse, message));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        // It may have been removed between being opened and being locked.
        let links = rustix::fs::fstat(&file).doing(|| format!("stat the volume {name}"))?.st_nlink;
        if links == 0 {
            return Err(Error::new(ErrorKind::NotFound, format!("the volume {name} has just been removed")));
        }
        Ok(file)
    }

    /// A disk over a volume that is gone when nobody has it open any more.
    pub(super) fn over_volume(
        &self,
        access: Access<'_>,
        dir: &Dir,
        disk: &Name,
        volume: &Name,
        read_only: bool,
    ) -> Result<DiskHandle> {
        let base = self.use_volume(volume, None, true)?;
        if read_only {
            return Ok(DiskHandle::Raw { file: base, read_only });
        }
        let size = base.metadata().doing(|| format!("stat the volume {volume}"))?.len();
        let named = self.path.join("volumes").join(raw_name(volume)).to_string_lossy().into_owned();
        let file = self.lay_out_overlay(access, dir, disk, named, size)?;
        // It needs no name: who runs the machine has it open.
        dirs::remove(dir, &overlay_name(disk))?;
        Ok(DiskHandle::Overlay { file, base })
    }

    /// The volumes, sorted by name.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn volumes(&self) -> Result<Vec<Volume>> {
        let mut volumes = Vec::new();
        for entry in dirs::entries(&self.volumes)? {
            let Some(name) = entry.strip_suffix(".raw").and_then(|name| Name::new(name).ok()) else {
                continue;
            };
            let file = dirs::open(&self.volumes, &entry, OFlags::RDONLY)?;
            let metadata = file.metadata().doing(|| format!("stat {entry}"))?;
            volumes.push(Volume { name, size: metadata.len(), allocated: metadata.blocks() * 512 });
        }
        volumes.sort();
        Ok(volumes)
    }

    /// Removes a volume and its content.
    ///
    /// # Errors
    /// `NotFound`; `InUse` while a machine has it open, of whichever process.
    pub fn remove_volume(&self, name: &Name) -> Result<()> {
        let _lock = self.lock(FlockOperation::LockExclusive)?;
        let file = match dirs::open(&self.volumes, &raw_name(name), OFlags::RDONLY) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(Error::new(ErrorKind::NotFound, format!("there is no volume \"{name}\"")));
            }
            file => file?,
        };
        if rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            let message = format!("the volume {name} is in use: stop the machine that has it first");
            return Err(Error::new(ErrorKind::InUse, message));
        }
        dirs::remove(&self.volumes, &raw_name(name))?;
        dirs::sync(&self.volumes)
    }

    /// Makes a raw disk of zeros.
    pub(super) fn blank(&self, dir: &Dir, name: &str, size: u64) -> Result<File> {
        let size = self.whole_sectors(size)?;
        let new = format!(".{name}.new");
        let file = dirs::create(dir, &new)?;
        file.set_len(size).doing(|| format!("make a disk of {size} bytes"))?;
        file.sync_all().doing(|| format!("flush {name}"))?;
        dirs::rename(dir, &new, name)?;
        Ok(file)
    }

    pub(super) fn whole_sectors(&self, size: u64) -> Result<u64> {
        if size == 0 || size > self.limits.max_virtual_size {
            let message =
                format!("a disk of {size} bytes: 1 to {} are possible", self.limits.max_virtual_size);
            return Err(Error::new(ErrorKind::InvalidInput, message));
        }
        Ok(size.next_multiple_of(512))
    }
}

fn check_size(name: &Name, file: File, size: u64) -> Result<File> {
    let actual = file.metadata().doing(|| format!("stat the volume {name}"))?.len();
    if actual == size {
        return Ok(file);
    }
    let message = format!("the volume {name} exists with {actual} bytes, not {size}");
    Err(Error::new(ErrorKind::InvalidInput, message))
}

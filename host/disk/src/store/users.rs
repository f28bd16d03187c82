//! Who uses an image: a mark in the store for each disk over it, whichever process made the disk.
//!
//! ```text
//! users/<digest>/<key>      a disk over an image
//! lazy/<id>/users/<key>     a disk over an image that arrives
//! ```
//!
//! Several processes share a store, and each knows only its own machines. So whoever makes a disk says so here first. A mark
//! holds the directory where the disk lies, with its inode, and the disk's name. It is entered under the store's shared
//! lock, after a look whether the image is there, and before the disk's record is written; its maker keeps it locked until
//! then. Whoever removes an image holds the exclusive lock and looks at each of its marks:
//!
//! - one that is locked: the disk is being made;
//! - else the disk's record decides, at the place that the mark names. Where it is over the image, the image is in use.
//!   Where the directory is that very one and has no such record, the maker was killed or the disk removed: the mark goes;
//! - everything else (the directory is not there, perhaps not mounted; the record is damaged): the image counts as used.
//!
//! So a kill leaves a mark too many, never one too few. Locks held by those who use an image would not do: disks outlive
//! processes. A mark whose directory is gone for good is seen as a user of the image, and goes with it when it is removed
//! by force.

use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use cap_std::fs::Dir;
use rustix::fs::{FlockOperation, OFlags};
use rustix::io::Errno;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use witvirt_core::{Digest, Name};

use super::firmware::firmware_records;
use super::overlay::read_disk_record;
use super::{Store, dirs};
use crate::error::{Doing, Error, ErrorKind, Result};
use crate::request::DiskKind;
use crate::source::show;
use crate::stream::hex;

/// Longest mark, in bytes: the longest path that the kernel takes, and a name.
const MAX_MARK: u64 = 8 << 10;

/// A disk over an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct ImageUser {
    /// The disk: the directory that it is in, and its name.
    pub disk: String,
    /// Why nobody can say whether the disk is still there, where that is so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doubt: Option<String>,
}

impl fmt::Display for ImageUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.doubt {
            None => f.write_str(&self.disk),
            Some(doubt) => write!(f, "{} ({doubt}; --force if it is gone for good)", self.disk),
        }
    }
}

/// Where a machine's disks lie.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    path: PathBuf,
    /// Of the directory: elsewhere the same path may be another one, in a container for example.
    inode: u64,
}

/// What a mark says.
struct Mark {
    place: Place,
    disk: Name,
}

/// A mark whose disk is being made: dropped once its record is written.
pub(super) struct Entered(#[expect(dead_code, reason = "held for its lock")] File);

/// What became of a marked disk.
enum Found {
    Used,
    Unused,
    Unknown(String),
}

/// Whether a disk's record is over the image that is looked at; `None` without a record.
type IsOver<'a> = &'a dyn Fn(&Dir, &Name) -> Result<Option<bool>>;

impl Store {
    /// The disks over an image, of whichever process.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn users(&self, digest: &Digest) -> Result<Vec<ImageUser>> {
        let _lock = self.lock(FlockOperation::LockExclusive)?;
        self.users_now(digest)
    }

    /// Marks the disks in a machine's directory as users of the images below them, where they are not: they may be older
    /// than marks, or the directory was moved.
    ///
    /// # Errors
    /// When the record of a disk cannot be read: nobody knows then what it needs.
    pub fn note_disks(&self, dir: &Dir) -> Result<()> {
        if let Some(firmware) = firmware_records(dir)? {
            self.note_records(&firmware)?;
        }
        self.note_records(dir)
    }

    fn note_records(&self, dir: &Dir) -> Result<()> {
        for entry in dirs::entries(dir)? {
            let Some(disk) = entry.strip_suffix(".json").and_then(|disk| Name::new(disk).ok()) else {
                continue;
            };
            let record = read_disk_record(dir, &disk)?.filter(|record| record.kind == DiskKind::Overlay);
            let Some(image) = record.and_then(|record| record.image) else { continue };
            match self.enter_image(&image, dir, &disk) {
                // Its image was removed by force.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                entered => drop(entered?),
            }
        }
        Ok(())
    }

    /// Removes the marks of all disks in a machine's directory, which is about to be deleted; returns the arriving images
    /// that nobody waits for any more.
    ///
    /// # Errors
    /// When a directory cannot be read or changed.
    pub fn release(&self, dir: &Dir) -> Result<Vec<String>> {
        let place = Place::of(dir)?;
        let firmware = firmware_records(dir)?.map(|records| Place::of(&records)).transpose()?;
        let _lock = self.lock(FlockOperation::LockExclusive)?;
        for image in dirs::entries(&self.users)? {
            let users = dirs::existing(&self.users, &image)?;
            leave(&users, &place, None)?;
            if let Some(firmware) = &firmware {
                leave(&users, firmware, None)?;
            }
        }
        let lazy = self.lazy_root()?;
        let mut unused = Vec::new();
        for id in dirs::entries(&lazy)? {
            leave(&self.lazy_users(&id)?, &place, None)?;
            if self.lazy_users_now(&id)?.is_empty() {
                unused.push(id);
            }
        }
        Ok(unused)
    }

    /// Marks a disk that is about to be made over an image.
    pub(super) fn enter_image(&self, digest: &Digest, dir: &Dir, disk: &Name) -> Result<Entered> {
        let _lock = self.lock(FlockOperation::LockShared)?;
        if !self.images.exists(digest.hex()) && !self.quarantined.exists(digest.hex()) {
            let message = format!("there is no image {digest} in the store any more");
            return Err(Error::new(ErrorKind::NotFound, message));
        }
        enter(&dirs::subdir(&self.users, &digest.hex())?, dir, disk)
    }

    /// Marks a disk that is about to be made over an image that arrives.
    pub(super) fn enter_lazy(&self, id: &str, dir: &Dir, disk: &Name) -> Result<Entered> {
        let _lock = self.lock(FlockOperation::LockShared)?;
        enter(&self.lazy_users(id)?, dir, disk)
    }

    /// Removes the marks of a disk that is gone.
    pub(super) fn leave_disk(&self, dir: &Dir, disk: &Name) -> Result<()> {
        let place = Place::of(dir)?;
        let _lock = self.lock(FlockOperation::LockExclusive)?;
        for image in dirs::entries(&self.users)? {
            leave(&dirs::existing(&self.users, &image)?, &place, Some(disk))?;
        }
        let lazy = self.lazy_root()?;
        for id in dirs::entries(&lazy)? {
            leave(&self.lazy_users(&id)?, &place, Some(disk))?;
        }
        Ok(())
    }

    /// Removes the mark of a disk that does not wait for an arriving image any more.
    pub(super) fn leave_lazy(&self, id: &str, dir: &Dir, disk: &Name) -> Result<()> {
        let place = Place::of(dir)?;
        let _lock = self.lock(FlockOperation::LockExclusive)?;
        match self.lazy_users(id) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            users => leave(&users?, &place, Some(disk)),
        }
    }

    /// The disks over an image, also those that still wait for it. The caller holds the store's exclusive lock.
    pub(super) fn users_now(&self, digest: &Digest) -> Result<Vec<ImageUser>> {
        let mut users = match dirs::existing(&self.users, &digest.hex()) {
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            marks => look(&marks?, &|dir, disk| {
                let record = read_disk_record(dir, disk)?;
                Ok(record.map(|record| record.kind == DiskKind::Overlay && record.image == Some(*digest)))
            })?,
        };
        for id in dirs::entries(&self.lazy_root()?)? {
            if self.arrived(&id)? == Some(*digest) {
                users.extend(self.lazy_users_now(&id)?);
            }
        }
        Ok(users)
    }

    /// The disks that wait for an arriving image. The caller holds the store's exclusive lock.
    pub(super) fn lazy_users_now(&self, id: &str) -> Result<Vec<ImageUser>> {
        look(&self.lazy_users(id)?, &|dir, disk| {
            let Some(_) = read_disk_record(dir, disk)? else { return Ok(None) };
            Ok(Some(self.lazy_of(dir, disk)?.as_deref() == Some(id)))
        })
    }

    /// Forgets who used an image that is removed. The caller holds the store's exclusive lock.
    pub(super) fn forget_users(&self, digest: &Digest) -> Result<()> {
        match self.users.remove_dir_all(digest.hex()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::io(format!("forget the users of image {digest}"), error))
            }
            _ => Ok(()),
        }
    }
}

impl Place {
    fn of(dir: &Dir) -> Result<Self> {
        let doing = || "find out where a machine's disks lie".into();
        let path = std::fs::read_link(format!("/proc/self/fd/{}", dir.as_raw_fd())).doing(doing)?;
        Ok(Self { path, inode: inode(dir).doing(doing)? })
    }
}

impl Mark {
    /// Names the mark's file.
    fn key(&self) -> String {
        hex(&Sha256::digest(self.text())[..16])
    }

    fn text(&self) -> Vec<u8> {
        let mut text = format!("{} {}\n", self.place.inode, self.disk).into_bytes();
        text.extend_from_slice(self.place.path.as_os_str().as_bytes());
        text
    }

    fn parse(text: &[u8]) -> Option<Self> {
        let end = text.iter().position(|byte| *byte == b'\n')?;
        let (head, path) = (std::str::from_utf8(&text[..end]).ok()?, &text[end + 1..]);
        let (inode, disk) = head.split_once(' ')?;
        let path = PathBuf::from(OsStr::from_bytes(path));
        let disk = Name::new(disk).ok()?;
        path.is_absolute().then_some(Self { place: Place { path, inode: inode.parse().ok()? }, disk })
    }

    /// What has become of the disk.
    fn find(&self, is_over: IsOver<'_>) -> Found {
        let dir = match Dir::open_ambient_dir(&self.place.path, cap_std::ambient_authority()) {
            Ok(dir) => dir,
            Err(error) => return Found::Unknown(format!("its directory cannot be looked at: {error}")),
        };
        match is_over(&dir, &self.disk) {
            Ok(Some(true)) => Found::Used,
            Ok(_) if inode(&dir).ok() == Some(self.place.inode) => Found::Unused,
            Ok(_) => Found::Unknown("another directory is there now".into()),
            Err(error) => Found::Unknown(error.to_string()),
        }
    }
}

/// Enters a mark, locked. The caller holds the store's shared lock.
fn enter(users: &Dir, dir: &Dir, disk: &Name) -> Result<Entered> {
    let mark = Mark { place: Place::of(dir)?, disk: disk.clone() };
    let (key, text) = (mark.key(), mark.text());
    let locked = |file: &File| {
        let taken = rustix::fs::flock(file, FlockOperation::LockShared);
        taken.doing(|| "lock the mark of an image's user".into())
    };
    if let Ok(file) = dirs::open(users, &key, OFlags::RDONLY)
        && read(&file).is_ok_and(|there| there == text)
    {
        locked(&file)?;
        return Ok(Entered(file));
    }
    let new = format!(".{key}.new");
    let mut file = dirs::create(users, &new)?;
    file.write_all(&text).doing(|| "mark an image as used".into())?;
    file.sync_all().doing(|| "mark an image as used".into())?;
    locked(&file)?;
    dirs::rename(users, &new, &key)?;
    Ok(Entered(file))
}

/// Removes the marks of a directory's disks, or of one of them. The caller holds the store's exclusive lock.
fn leave(users: &Dir, place: &Place, disk: Option<&Name>) -> Result<()> {
    for key in dirs::entries(users)? {
        let mark = dirs::open(users, &key, OFlags::RDONLY).and_then(|file| read(&file));
        let Some(mark) = mark.ok().and_then(|text| Mark::parse(&text)) else { continue };
        if mark.place == *place && disk.is_none_or(|disk| *disk == mark.disk) {
            dirs::remove(users, &key)?;
        }
    }
    Ok(())
}

/// Looks at every mark, and removes those of nobody. The caller holds the store's exclusive lock.
fn look(users: &Dir, is_over: IsOver<'_>) -> Result<Vec<ImageUser>> {
    let mut found = Vec::new();
    // Halves of marks begin with a dot; their makers have not begun with the disk.
    for key in dirs::entries(users)?.into_iter().filter(|key| !key.starts_with('.')) {
        let file = dirs::open(users, &key, OFlags::RDONLY)?;
        let Some(mark) = Mark::parse(&read(&file)?) else {
            let doubt = Some("it does not say where the disk is".to_owned());
            found.push(ImageUser { disk: format!("the mark {}", key.escape_debug()), doubt });
            continue;
        };
        let making = match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => false,
            Err(Errno::WOULDBLOCK) => true,
            Err(errno) => return Err(Error::io("lock the mark of an image's user", errno.into())),
        };
        let disk = show(&mark.place.path.join(mark.disk.as_str()));
        match if making { Found::Used } else { mark.find(is_over) } {
            Found::Used => found.push(ImageUser { disk, doubt: None }),
            Found::Unknown(doubt) => found.push(ImageUser { disk, doubt: Some(doubt) }),
            Found::Unused => {
                tracing::info!(disk, "the mark of a disk that is not there any more is removed");
                dirs::remove(users, &key)?;
            }
        }
    }
    Ok(found)
}

fn read(file: &File) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    file.take(MAX_MARK).read_to_end(&mut text).doing(|| "read the mark of an image's user".into())?;
    Ok(text)
}

fn inode(dir: &Dir) -> rustix::io::Result<u64> {
    rustix::fs::fstat(dir).map(|stat| stat.st_ino)
}

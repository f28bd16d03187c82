//! Writing a disk as a file for others.

use std::fs::File;
use std::path::Path;

use cap_std::fs::Dir;
use rustix::fs::{FlockOperation, Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use witvirt_core::Name;
use witvirt_core::format::CreateRequest;

use super::images::DISK;
use super::import::allocated;
use super::{Store, dirs};
use crate::copy::{Difference, LayoutTarget, Planner, RawTarget, Units, write_layout, write_raw};
use crate::error::{Doing, Error, ErrorKind, Result};
use crate::map::{Chain, Survey};
use crate::progress::Progress;
use crate::request::{Access, ConvertRequest, ConvertSource, Converted};
use crate::source::{FileSource, show};

impl Store {
    /// Writes a disk image as a new file. The file appears under its name when it is complete.
    ///
    /// # Errors
    /// Whatever is wrong with the source, a plugin or the disk; nothing is left behind then.
    pub fn convert(
        &self,
        access: Access<'_>,
        request: &ConvertRequest,
        progress: &Progress,
    ) -> Result<Converted> {
        let mut chain = self.chain_of(access, &request.source, progress)?;
        let mut below = match &request.backing {
            Some(backing) => Some(self.backing(access, backing, &request.target, progress)?),
            None => None,
        };
        let survey = chain.survey(progress, self.limits.max_data)?;
        let part = Part::create(access, &request.target, request.replace)?;
        dirs::check_space(&part.file, survey.data)?;
        progress.begin(survey.data);
        let size = match request.format.as_str() {
            "raw" if below.is_some() => {
                return Err(Error::new(ErrorKind::InvalidInput, "raw files have no backing image"));
            }
            "raw" => self.write_raw_file(&mut chain, survey, &part.file, request, progress)?,
            _ => self.write_format(
                access,
                (&mut chain, survey),
                below.as_mut(),
                &part.file,
                request,
                progress,
            )?,
        };
        chain.verify_unchanged()?;
        below.map_or(Ok(()), |below| below.chain.verify_unchanged())?;
        if request.sync {
            part.file.sync_all().doing(|| format!("flush {}", show(&request.target)))?;
        }
        let converted =
            Converted { virtual_size: chain.disk_size(), size, allocated: allocated(&part.file)? };
        part.publish(request.replace, request.sync)?;
        Ok(converted)
    }

    fn write_raw_file(
        &self,
        chain: &mut Chain,
        survey: Survey,
        file: &File,
        request: &ConvertRequest,
        progress: &Progress,
    ) -> Result<u64> {
        if request.options.as_object().is_some_and(|options| !options.is_empty()) {
            return Err(Error::new(ErrorKind::InvalidInput, "raw files have no options"));
        }
        let size = chain.disk_size();
        file.set_len(size).doing(|| format!("make a file of {size} bytes"))?;
        let target = RawTarget { file, hash: false, bounded: request.sync, observer: None };
        write_raw(Planner::new(chain, survey, progress), target, size, self.threads, progress)?;
        Ok(size)
    }

    fn write_format(
        &self,
        access: Access<'_>,
        (chain, survey): (&mut Chain, Survey),
        below: Option<&mut Backing>,
        file: &File,
        request: &ConvertRequest,
        progress: &Progress,
    ) -> Result<u64> {
        let virtual_size = chain.disk_size();
        let create = CreateRequest {
            format: request.format.clone(),
            virtual_size,
            options: request.options.clone(),
            backing: below.as_ref().map(|below| (below.name.clone(), below.format())),
        };
        let plugin = writer_for(access, &request.format)?;
        let mut writer = plugin.create(&create)?;
        let target = LayoutTarget {
            file,
            writer: &mut *writer,
            plugin: format!("plugin {} {}", plugin.plugin(), plugin.version()),
            max_size: max_file_size(virtual_size),
            sync: request.sync,
        };
        let disk = Planner::new(chain, survey, progress);
        let units = match below {
            None => Units::All(Box::new(disk)),
            Some(Backing { chain, .. }) => {
                let survey = chain.survey(progress, self.limits.max_data)?;
                Units::Difference(Box::new(Difference::new(disk, Planner::new(chain, survey, progress))))
            }
        };
        write_layout(units, target, self.threads, progress)
    }

    fn chain_of(&self, access: Access<'_>, source: &ConvertSource, progress: &Progress) -> Result<Chain> {
        match source {
            ConvertSource::File(file) => Chain::open(access, self, &self.limits, file),
            ConvertSource::Image(reference) => {
                let (file, _) = self.base(&self.resolve(reference)?, progress)?;
                let label = format!("image {reference}");
                Ok(Chain::raw(FileSource::unlocked(file, &label)?, &self.limits))
            }
        }
    }

    /// Opens what a new file is to be written over.
    fn backing(
        &self,
        access: Access<'_>,
        source: &ConvertSource,
        target: &Path,
        progress: &Progress,
    ) -> Result<Backing> {
        let chain = self.chain_of(access, source, progress)?;
        let path = match source {
            ConvertSource::File(file) => file.path.clone(),
            ConvertSource::Image(reference) => {
                self.path.join("images").join(self.resolve(reference)?.hex()).join(DISK)
            }
        };
        let beside = path.parent() == target.parent();
        let name = if beside { path.file_name().map(Path::new) } else { Some(path.as_path()) };
        let Some(name) = name.and_then(Path::to_str) else {
            let message = format!("the name of {} is not UTF-8, which images cannot hold", show(&path));
            return Err(Error::new(ErrorKind::InvalidInput, message));
        };
        let (dir, file) = access.allowed.open_parent(target)?;
        let replaced = rustix::fs::statat(&dir, &file, rustix::fs::AtFlags::SYMLINK_NOFOLLOW)
            .is_ok_and(|stat| chain.reads((stat.st_dev, stat.st_ino)));
        if replaced {
            let message = format!("{} is needed by what is to be written in its place", show(target));
            return Err(Error::new(ErrorKind::InvalidInput, message));
        }
        Ok(Backing { chain, name: name.to_owned() })
    }
}

/// What a new file is written over.
struct Backing {
    chain: Chain,
    /// What the new file calls it.
    name: String,
}

impl Backing {
    /// Its registry name.
    fn format(&self) -> String {
        self.chain.records().0.format
    }
}

/// The plugin that writes a format.
pub(super) fn writer_for(
    access: Access<'_>,
    format: &str,
) -> Result<std::sync::Arc<dyn witvirt_core::format::Format>> {
    let mut writers: Vec<_> = access.formats.all().into_iter().filter(|plugin| plugin.writes()).collect();
    if let Some(at) = writers.iter().position(|plugin| plugin.formats().iter().any(|name| name == format)) {
        return Ok(writers.swap_remove(at));
    }
    let mut names: Vec<String> = writers.iter().flat_map(|plugin| plugin.formats().to_vec()).collect();
    names.push("raw".to_owned());
    names.sort();
    let message = format!(
        "no plugin writes the format \"{}\" (there are: {})",
        format.escape_debug(),
        names.join(", ")
    );
    Err(Error::new(ErrorKind::Unsupported, message))
}

/// Where a laid out file must end: its data and a third of that again for its tables, which takes in the smallest clusters
/// that formats have, plus a gigabyte for the fixed parts.
pub(super) fn max_file_size(virtual_size: u64) -> u64 {
    virtual_size.saturating_add(virtual_size / 3).saturating_add(1 << 30)
}

/// A file in the making, `.NAME.part`, locked. Dropped before [`Part::publish`], it disappears; after a kill, the next
/// attempt at the same name takes it over.
struct Part {
    dir: Dir,
    name: String,
    part: String,
    file: File,
    published: bool,
}

impl Part {
    fn create(access: Access<'_>, target: &Path, replace: bool) -> Result<Self> {
        let (dir, name) = access.allowed.open_parent(target)?;
        if !replace && rustix::fs::statat(&dir, &name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).is_ok() {
            return Err(exists(target));
        }
        let part = format!(".{name}.part");
        let Some(file) = lock_part(&dir, &part)? else {
            let message = format!("{} is being written by another conversion", show(target));
            return Err(Error::new(ErrorKind::InUse, message));
        };
        let this = Self { dir, name, part, file, published: false };
        // Not without need: ext4 flushes a file that was truncated to nothing when it is closed.
        let length = this.file.metadata().doing(|| format!("stat {}", this.part))?.len();
        if length > 0 {
            this.file.set_len(0).doing(|| format!("empty {}", this.part))?;
        }
        Ok(this)
    }

    fn publish(mut self, replace: bool, sync: bool) -> Result<()> {
        // As umask would have left it: made 0600 while it was incomplete.
        rustix::fs::fchmod(&self.file, Mode::from_raw_mode(0o644))
            .doing(|| format!("finish {}", self.name))?;
        let flags = if replace { RenameFlags::empty() } else { RenameFlags::NOREPLACE };
        match rustix::fs::renameat_with(&self.dir, &self.part, &self.dir, &self.name, flags) {
            Ok(()) => {}
            Err(Errno::EXIST) => return Err(exists(Path::new(&self.name))),
            Err(errno) => return Err(Error::io(format!("name the new file {}", self.name), errno.into())),
        }
        self.published = true;
        // It would flush the data of the file as well, on filesystems that order the two.
        if sync { dirs::sync(&self.dir) } else { Ok(()) }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.published
            && let Err(error) = self.dir.remove_file(&self.part)
        {
            tracing::warn!(file = self.part, %error, "cannot remove an unfinished file");
        }
    }
}

/// Opens a file in the making, made where it is missing, and locks it; `None` when another one is at it.
fn lock_part(dir: &Dir, part: &str) -> Result<Option<File>> {
    let file = dirs::open(dir, part, OFlags::RDWR | OFlags::CREATE)?;
    lock_opened(dir, part, file)
}

/// Locks `file`, which was opened by the name `part`.
fn lock_opened(dir: &Dir, part: &str, file: File) -> Result<Option<File>> {
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => return Ok(None),
        Err(errno) => return Err(Error::io(format!("lock {part}"), errno.into())),
    }
    // Whoever had it may have published it before letting go: it is somebody's image then.
    let identity = |stat: rustix::fs::Stat| (stat.st_dev, stat.st_ino);
    let opened = rustix::fs::fstat(&file).map(identity).doing(|| format!("stat {part}"))?;
    let named = rustix::fs::statat(dir, part, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).map(identity);
    Ok((named == Ok(opened)).then_some(file))
}

fn exists(target: &Path) -> Error {
    Error::new(ErrorKind::AlreadyExists, format!("{} exists already", show(target)))
}

/// The file name of a volume or of a machine's raw disk.
pub(super) fn raw_name(name: &Name) -> String {
    format!("{name}.raw")
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::{Dir, FlockOperation, OFlags, dirs, lock_opened, lock_part};

    #[test]
    fn a_file_that_was_published_before_it_could_be_locked_is_left_alone() {
        let tmp = tempfile::tempdir().unwrap();
        let dir = Dir::open_ambient_dir(tmp.path(), cap_std::ambient_authority()).unwrap();
        let mut first = lock_part(&dir, ".a.part").unwrap().unwrap();
        first.write_all(b"an image").unwrap();
        let second = dirs::open(&dir, ".a.part", OFlags::RDWR | OFlags::CREATE).unwrap();
        assert!(lock_part(&dir, ".a.part").unwrap().is_none(), "the first is at it");
        dir.rename(".a.part", &dir, "a").unwrap();
        drop(first);
        assert!(lock_opened(&dir, ".a.part", second).unwrap().is_none());
        // The next one makes a file of its own.
        let third = lock_part(&dir, ".a.part").unwrap().unwrap();
        rustix::fs::flock(&third, FlockOperation::NonBlockingLockExclusive).unwrap();
        assert_eq!(std::fs::read(tmp.path().join("a")).unwrap(), b"an image");
    }
}

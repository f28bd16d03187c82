//! New volumes, empty or with the content of an image.

use std::fs::File;
use std::os::unix::fs::MetadataExt;

use rustix::fs::{FlockOperation, RenameFlags};
use witvirt_core::Name;
use witvirt_core::source::ByteSource;

use super::volumes::Volume;
use super::write::raw_name;
use super::{Store, dirs};
use crate::copy::write_nonzero;
use crate::error::{Doing, Error, ErrorKind, Result};
use crate::progress::Progress;
use crate::source::{FileSource, Source};
use crate::sys;

/// The name of a volume's file while it is filled, in its own place in `tmp/`.
const UNFINISHED: &str = "volume.raw";
/// Bytes that are copied at once.
const STEP: usize = 1 << 20;

impl Store {
    /// Makes a volume: of zeros, or with the content of an image (by name or digest), followed by zeros where `size` (bytes)
    /// is larger. It appears when it is complete, and shares the image's blocks where the filesystem can.
    ///
    /// # Errors
    /// `AlreadyExists`; `InvalidInput` without a size or an image, or when the image is larger than the size; what the
    /// image has.
    pub fn create_volume(
        &self,
        name: &Name,
        size: Option<u64>,
        image: Option<&str>,
        progress: &Progress,
    ) -> Result<Volume> {
        if dirs::exists(&self.volumes, &raw_name(name))? {
            return Err(taken(name));
        }
        let temp = self.temp()?;
        let file = match (image, size) {
            (Some(image), size) => self.filled(&temp.dir, image, size, progress)?,
            (None, Some(size)) => self.blank(&temp.dir, UNFINISHED, size)?,
            (None, None) => {
                let message = "a volume needs a size, or an image to be filled from";
                return Err(Error::new(ErrorKind::InvalidInput, message));
            }
        };
        let metadata = file.metadata().doing(|| format!("stat the volume {name}"))?;
        let _lock = self.lock(FlockOperation::LockExclusive)?;
        match rustix::fs::renameat_with(
            &temp.dir,
            UNFINISHED,
            &self.volumes,
            raw_name(name),
            RenameFlags::NOREPLACE,
        ) {
            Ok(()) => {}
            Err(rustix::io::Errno::EXIST) => return Err(taken(name)),
            Err(errno) => return Err(Error::io(format!("make the volume {name}"), errno.into())),
        }
        dirs::sync(&self.volumes)?;
        Ok(Volume { name: name.clone(), size: metadata.len(), allocated: metadata.blocks() * 512 })
    }

    /// A file with the content of an image.
    fn filled(
        &self,
        dir: &cap_std::fs::Dir,
        image: &str,
        size: Option<u64>,
        progress: &Progress,
    ) -> Result<File> {
        let digest = self.resolve(image)?;
        let (base, record) = self.base(&digest, progress)?;
        let content = record.virtual_size;
        let size = self.whole_sectors(size.unwrap_or(content))?;
        if size < content {
            let (size, content) = (witvirt_core::ByteSize(size), witvirt_core::ByteSize(content));
            let message = format!("the image {image} has {content}, more than the {size} of the volume");
            return Err(Error::new(ErrorKind::InvalidInput, message));
        }
        let file = dirs::create(dir, UNFINISHED)?;
        file.set_len(size).doing(|| format!("make a disk of {size} bytes"))?;
        if content > 0 && sys::clone_range(&base, 0, content, &file, 0).is_err() {
            copy(base, &file, progress)?;
        }
        file.sync_all().doing(|| "flush the volume".into())?;
        Ok(file)
    }
}

fn taken(name: &Name) -> Error {
    let message = format!("there is a volume \"{name}\" already: remove it, or choose another name");
    Error::new(ErrorKind::AlreadyExists, message)
}

/// Copies what is no hole.
fn copy(base: File, target: &File, progress: &Progress) -> Result<()> {
    let source = FileSource::unlocked(base, "the image")?;
    progress.begin(data_of(&source));
    dirs::check_space(target, progress.status().total)?;
    let mut buffer = vec![0; STEP];
    let mut at = source.next_data(0);
    while at < source.size() {
        let end = source.next_hole(at);
        while at < end {
            progress.check()?;
            let bytes = &mut buffer[..(end - at).min(STEP as u64) as usize];
            source.read_exact_at(bytes, at)?;
            write_nonzero(target, at, bytes)?;
            at += bytes.len() as u64;
            progress.advance(bytes.len() as u64);
        }
        at = source.next_data(at);
    }
    Ok(())
}

/// Bytes that are no holes.
fn data_of(source: &FileSource) -> u64 {
    let (mut data, mut at) = (0, source.next_data(0));
    while at < source.size() {
        let end = source.next_hole(at);
        data += end - at;
        at = source.next_data(end);
    }
    data
}

//! From a disk of a machine spec to open files.

use cap_std::fs::Dir;
use std::path::Path;
use witvirt_core::Name;
use witvirt_core::spec::DiskSource;

use super::overlay::{read_disk_record, write_disk_record};
use super::write::raw_name;
use super::{Store, data, dirs};
use crate::error::{Error, ErrorKind, Result};
use crate::progress::Progress;
use crate::request::{Access, DiskHandle, DiskKind, DiskRecord, ImportRequest, SourceFile};

impl Store {
    /// Opens the disk `disk` of a machine whose directory is `dir`, and makes it when it is not there yet. Idempotent:
    /// a restarted daemon gets the same disk again, whatever became of the image's name. `read_only` disks of images have
    /// no overlay.
    ///
    /// # Errors
    /// When the image, volume or file is missing, was altered, or the disk cannot be made.
    pub fn attach(
        &self,
        access: Access<'_>,
        dir: &Dir,
        disk: &Name,
        source: &DiskSource,
        read_only: bool,
        progress: &Progress,
    ) -> Result<DiskHandle> {
        match source {
            DiskSource::Volume { name, size } => {
                let file = self.use_volume(name, size.map(|size| size.get()), read_only)?;
                Ok(DiskHandle::Raw { file, read_only })
            }
            DiskSource::Overlay { volume } => self.over_volume(access, dir, disk, volume, read_only),
            DiskSource::Data { label, files } => {
                Ok(DiskHandle::Raw { file: data::disk(dir, disk, label, files, read_only)?, read_only })
            }
            DiskSource::File { path, format: Some(format) } if format == "raw" => {
                let file = access.allowed.open_disk(Path::new(path), read_only)?;
                Ok(DiskHandle::Raw { file, read_only })
            }
            DiskSource::Image(reference) if read_only => self.open_read_only(reference, progress),
            _ => match read_disk_record(dir, disk)? {
                Some(record) => self.reopen(dir, disk, &record, progress),
                None => self.create_disk(access, dir, disk, source, read_only, progress),
            },
        }
    }

    fn create_disk(
        &self,
        access: Access<'_>,
        dir: &Dir,
        disk: &Name,
        source: &DiskSource,
        read_only: bool,
        progress: &Progress,
    ) -> Result<DiskHandle> {
        match source {
            DiskSource::Blank { size } => {
                let file = self.blank(dir, &raw_name(disk), size.get())?;
                let virtual_size = size.get().next_multiple_of(512);
                let record = DiskRecord { schema: 1, kind: DiskKind::Raw, virtual_size, image: None };
                write_disk_record(dir, disk, &record)?;
                Ok(DiskHandle::Raw { file, read_only })
            }
            DiskSource::Image(reference) => {
                let image = self.resolve(reference)?;
                self.create_overlay(access, dir, disk, &image, progress)
            }
            DiskSource::File { path, format } => {
                let file = SourceFile { path: path.into(), format: format.clone(), backing_format: None };
                let image = self.import(access, &ImportRequest::new(file), progress)?.record.digest;
                if read_only {
                    return self.open_read_only(&image.hex(), progress);
                }
                self.create_overlay(access, dir, disk, &image, progress)
            }
            DiskSource::Remote { url, .. } => Err(Error::new(
                ErrorKind::InvalidInput,
                format!("{url} has to be imported before there is a disk over it"),
            )),
            DiskSource::Volume { .. } | DiskSource::Overlay { .. } | DiskSource::Data { .. } => {
                let message = format!("\"{disk}\" is no disk that is made once and kept");
                Err(Error::new(ErrorKind::InvalidInput, message))
            }
        }
    }

    fn open_read_only(&self, reference: &str, progress: &Progress) -> Result<DiskHandle> {
        let (file, _) = self.base(&self.resolve(reference)?, progress)?;
        Ok(DiskHandle::Raw { file, read_only: true })
    }

    /// The image that the disk `disk` in a machine's directory needs; `None` when it needs none, or does not exist.
    ///
    /// # Errors
    /// When its record cannot be read.
    pub fn image_of(&self, dir: &Dir, disk: &Name) -> Result<Option<witvirt_core::Digest>> {
        if let Some(id) = self.lazy_of(dir, disk)? {
            return self.arrived(&id);
        }
        let record = read_disk_record(dir, disk)?;
        Ok(record.filter(|record| record.kind == DiskKind::Overlay).and_then(|record| record.image))
    }

    /// Removes the disk `disk` from a machine's directory; nothing happens when it is not there.
    ///
    /// # Errors
    /// When a file of it cannot be removed.
    pub fn remove_disk(&self, dir: &Dir, disk: &Name) -> Result<()> {
        // The record first: without it the rest counts as unfinished.
        for name in ["json", "lazy", "raw", "qcow2", "iso"].map(|kind| format!("{disk}.{kind}")) {
            match dir.remove_file(&name) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Error::io(format!("remove {name}"), error));
                }
                _ => {}
            }
        }
        dirs::sync(dir)?;
        self.leave_disk(dir, disk)
    }
}

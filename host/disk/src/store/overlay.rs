//! A machine's own writable disk over an image.

use std::fs::File;

use cap_std::fs::Dir;
use rustix::fs::OFlags;
use witvirt_core::format::CreateRequest;
use witvirt_core::{Digest, Name};

use super::images::DISK;
use super::write::{max_file_size, raw_name, writer_for};
use super::{Store, dirs};
use crate::copy::{LayoutTarget, Units, write_layout};
use crate::error::{Doing, Error, ErrorKind, Result};
use crate::progress::Progress;
use crate::request::{Access, DiskHandle, DiskKind, DiskRecord};
use crate::sys;

const OVERLAY_FORMAT: &str = "qcow2";

impl Store {
    /// Makes a disk over an image: a reflink clone where the filesystem can, else a qcow2 overlay.
    pub(super) fn create_overlay(
        &self,
        access: Access<'_>,
        dir: &Dir,
        disk: &Name,
        image: &Digest,
        progress: &Progress,
    ) -> Result<DiskHandle> {
        let (base, record) = self.base(image, progress)?;
        let mut disk_record = DiskRecord {
            schema: 1,
            kind: DiskKind::Raw,
            virtual_size: record.virtual_size,
            image: Some(*image),
        };
        if let Some(file) = clone_of(&base, dir, disk, record.virtual_size)? {
            write_disk_record(dir, disk, &disk_record)?;
            return Ok(DiskHandle::Raw { file, read_only: false });
        }
        let _marked = self.enter_image(image, dir, disk)?;
        // For people with qemu-img; the hypervisor is handed the base itself.
        let named = self.path.join("images").join(image.hex()).join(DISK).to_string_lossy().into_owned();
        let file = self.lay_out_overlay(access, dir, disk, named, record.virtual_size)?;
        disk_record.kind = DiskKind::Overlay;
        write_disk_record(dir, disk, &disk_record)?;
        Ok(DiskHandle::Overlay { file, base })
    }

    /// Writes an empty overlay; `base` is what its header says to lie below.
    pub(super) fn lay_out_overlay(
        &self,
        access: Access<'_>,
        dir: &Dir,
        disk: &Name,
        base: String,
        virtual_size: u64,
    ) -> Result<File> {
        let plugin = writer_for(access, OVERLAY_FORMAT)?;
        let mut writer = plugin.create(&CreateRequest {
            format: OVERLAY_FORMAT.into(),
            virtual_size,
            options: serde_json::Value::Object(serde_json::Map::new()),
            backing: Some((base, "raw".into())),
        })?;
        let name = overlay_name(disk);
        let new = format!(".{name}.new");
        let file = dirs::create(dir, &new)?;
        let target = LayoutTarget {
            file: &file,
            writer: &mut *writer,
            plugin: format!("plugin {} {}", plugin.plugin(), plugin.version()),
            max_size: max_file_size(virtual_size),
            sync: true,
        };
        write_layout(Units::None, target, 1, &Progress::new())?;
        file.sync_all().doing(|| format!("flush {name}"))?;
        dirs::rename(dir, &new, &name)?;
        Ok(file)
    }

    /// Opens a disk that was made before.
    pub(super) fn reopen(
        &self,
        dir: &Dir,
        disk: &Name,
        record: &DiskRecord,
        progress: &Progress,
    ) -> Result<DiskHandle> {
        let missing = |error: Error| error.during(format!("the disk \"{disk}\" of this machine"));
        match (record.kind, &record.image) {
            (DiskKind::Raw, _) => {
                let file = dirs::open(dir, &raw_name(disk), OFlags::RDWR).map_err(missing)?;
                Ok(DiskHandle::Raw { file, read_only: false })
            }
            (DiskKind::Overlay, Some(image)) => {
                let file = dirs::open(dir, &overlay_name(disk), OFlags::RDWR).map_err(missing)?;
                let (base, _) = self.base(image, progress).map_err(missing)?;
                // It is there since it was made, unless that was before there were marks or in another directory.
                if let Err(error) = self.enter_image(image, dir, disk) {
                    tracing::warn!(%image, %disk, %error, "cannot mark an image as used");
                }
                Ok(DiskHandle::Overlay { file, base })
            }
            (DiskKind::Overlay, None) => {
                let message = format!("{disk}.json describes an overlay but names no image");
                Err(Error::new(ErrorKind::Corrupt, message))
            }
        }
    }
}

/// A clone of the base that shares its blocks; `None` where the filesystem cannot.
fn clone_of(base: &File, dir: &Dir, disk: &Name, size: u64) -> Result<Option<File>> {
    let name = raw_name(disk);
    let new = format!(".{name}.new");
    let file = dirs::create(dir, &new)?;
    file.set_len(size).doing(|| format!("make a disk of {size} bytes"))?;
    if size == 0 || sys::clone_range(base, 0, size, &file, 0).is_err() {
        dir.remove_file(&new).doing(|| format!("remove {new}"))?;
        return Ok(None);
    }
    file.sync_all().doing(|| format!("flush {name}"))?;
    dirs::rename(dir, &new, &name)?;
    Ok(Some(file))
}

pub(super) fn overlay_name(disk: &Name) -> String {
    format!("{disk}.qcow2")
}

fn record_name(disk: &Name) -> String {
    format!("{disk}.json")
}

pub(super) fn write_disk_record(dir: &Dir, disk: &Name, record: &DiskRecord) -> Result<()> {
    let json = serde_json::to_vec_pretty(record).map_err(|error| {
        Error::new(ErrorKind::InvalidInput, format!("cannot write a disk record: {error}"))
    })?;
    dirs::write(dir, &record_name(disk), &json)
}

/// The record of a disk; `None` when the disk was never completed.
pub(super) fn read_disk_record(dir: &Dir, disk: &Name) -> Result<Option<DiskRecord>> {
    let name = record_name(disk);
    let bytes = match dirs::read(dir, &name) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let bad = |why: String| Error::new(ErrorKind::Corrupt, format!("{name}: {why}"));
    let record: DiskRecord = serde_json::from_slice(&bytes).map_err(|error| bad(error.to_string()))?;
    if record.schema != 1 {
        return Err(bad(format!("revision {} is newer than this program", record.schema)));
    }
    Ok(Some(record))
}

//! Firmware that is an image of the store.
//!
//! A machine uses it as long as it lives, and always the same: `.firmware/<part>.json` in the directory of its disks records
//! the image as the record of an overlay does, and a mark in the store says so to other processes ([`super::users`]).

use std::fs::File;

use cap_std::fs::Dir;
use witvirt_core::{Digest, Name};

use super::overlay::{read_disk_record, write_disk_record};
use super::{Store, dirs};
use crate::error::{Error, ErrorKind, Result};
use crate::progress::Progress;
use crate::request::{DiskKind, DiskRecord};

/// No disk's name begins with a dot.
const FIRMWARE: &str = ".firmware";

/// A flash device consists of whole blocks.
const BLOCK: u64 = 4096;

/// The most that QEMU maps as flash below 4 GiB.
const MAX_FLASH: u64 = 8 << 20;

impl Store {
    /// Opens the firmware image `reference`, read only, as `part` ("code") of the machine whose disks are in `dir`. What was
    /// opened first is opened ever after, whatever became of the image's name.
    ///
    /// # Errors
    /// When there is no such image, it was altered, or it does not fit into a flash device.
    pub fn firmware(&self, dir: &Dir, part: &Name, reference: &str, progress: &Progress) -> Result<File> {
        let records = dirs::subdir(dir, FIRMWARE)?;
        let recorded = read_disk_record(&records, part)?.and_then(|record| record.image);
        let image = recorded.map_or_else(|| self.resolve(reference), Ok)?;
        let (file, record) = self.base(&image, progress)?;
        let size = record.virtual_size;
        if size == 0 || size % BLOCK != 0 || size > MAX_FLASH {
            let message = format!(
                "the image {reference} has {size} bytes, and a firmware 4096 to {MAX_FLASH} in blocks of {BLOCK}: \
                 import the .fd file with --format raw"
            );
            return Err(Error::new(ErrorKind::InvalidInput, message));
        }
        let _marked = self.enter_image(&image, &records, part)?;
        if recorded.is_none() {
            let kind = DiskKind::Overlay;
            let record = DiskRecord { schema: 1, kind, virtual_size: size, image: Some(image) };
            write_disk_record(&records, part, &record)?;
        }
        Ok(file)
    }

    /// The image that a part of a machine's firmware is, where it was opened before.
    ///
    /// # Errors
    /// When its record cannot be read.
    pub fn firmware_of(&self, dir: &Dir, part: &Name) -> Result<Option<Digest>> {
        match firmware_records(dir)? {
            Some(records) => Ok(read_disk_record(&records, part)?.and_then(|record| record.image)),
            None => Ok(None),
        }
    }
}

/// The directory of records below that of a machine's disks.
pub(super) fn firmware_records(dir: &Dir) -> Result<Option<Dir>> {
    match dirs::existing(dir, FIRMWARE) {
        Ok(records) => Ok(Some(records)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

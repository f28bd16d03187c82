//! Looking for what does not stop a reader: checksums.

use witvirt_sdk::core::extent::Finding;
use witvirt_sdk::disk::{MAX_READ, ReadAt, read_exact};

use crate::Error;
use crate::image::Image;
use crate::trailer::Checksum;

const ERROR: u8 = 1;
const WARNING: u8 = 2;
const INFORMATION: u8 = 3;

/// A longer data fork is not summed up: it would take longer than a call may.
const MAX_SUMMED: u64 = 4 << 30;

impl<R: ReadAt> Image<R> {
    /// Compares the checksums of the data fork and of the tables' checksums; worst findings first.
    ///
    /// # Errors
    /// What the source reports.
    pub(crate) fn findings(&self) -> Result<Vec<Finding>, Error> {
        let mut findings: Vec<Finding> = self.check_data()?.into_iter().chain(self.check_master()).collect();
        findings.extend(self.check_cover());
        findings.sort_by_key(|finding| finding.severity);
        Ok(findings)
    }

    fn check_data(&self) -> Result<Option<Finding>, Error> {
        let data = self.trailer.data;
        let wanted = match self.trailer.data_checksum {
            Checksum::None => return Ok(None),
            Checksum::Other(kind) => return Ok(Some(unknown("data", kind))),
            Checksum::Crc32(wanted) => wanted,
        };
        if data.length > MAX_SUMMED {
            let message = "the data fork is longer than 4 GiB; its checksum was not compared";
            return Ok(Some(finding(INFORMATION, "unchecked", message, Some(data.offset))));
        }
        if data.offset.checked_add(data.length).is_none_or(|end| end > self.source.size()) {
            let message = "the data fork ends past the end of the file";
            return Ok(Some(finding(WARNING, "data-fork", message, Some(data.offset))));
        }
        let mut sum = crc32fast::Hasher::new();
        let mut at = 0;
        while at < data.length {
            let length = (data.length - at).min(u64::from(MAX_READ));
            sum.update(&read_exact(&self.source, data.offset + at, length as usize, "the data fork")?);
            at += length;
        }
        let found = sum.finalize();
        let message = format!("the data fork has the checksum {found:08x} instead of {wanted:08x}");
        Ok((found != wanted).then(|| finding(ERROR, "data-checksum", &message, Some(data.offset))))
    }

    /// The sum over the sums of the tables, each as four bytes.
    fn check_master(&self) -> Option<Finding> {
        let wanted = match self.trailer.master_checksum {
            Checksum::None => return None,
            Checksum::Other(kind) => return Some(unknown("master", kind)),
            Checksum::Crc32(wanted) => wanted,
        };
        let mut sum = crc32fast::Hasher::new();
        for checksum in &self.checksums {
            // A table without one has zeros in its place.
            let value = match checksum {
                Checksum::Crc32(value) => *value,
                Checksum::None => 0,
                Checksum::Other(kind) => return Some(unknown("table", *kind)),
            };
            sum.update(&value.to_be_bytes());
        }
        let found = sum.finalize();
        let message = format!("the tables' checksums have the checksum {found:08x} instead of {wanted:08x}");
        (found != wanted).then(|| finding(WARNING, "master-checksum", &message, Some(self.trailer.offset)))
    }

    fn check_cover(&self) -> Option<Finding> {
        let mut at = 0;
        for run in &self.runs {
            if run.start > at {
                break;
            }
            at = run.start + run.length;
        }
        let message = format!("no run covers the sectors from byte {at} of the disk");
        (at < self.virtual_size()).then(|| finding(ERROR, "uncovered", &message, None))
    }
}

fn unknown(what: &str, kind: u32) -> Finding {
    let message = format!("the {what} checksum is of kind {kind}, which is not compared");
    finding(INFORMATION, "unchecked", &message, None)
}

fn finding(severity: u8, code: &str, message: &str, offset: Option<u64>) -> Finding {
    Finding { severity, code: code.to_owned(), message: message.to_owned(), offset }
}

//! Inconsistencies of an image file that do not stop a reader.

use witvirt_sdk::disk::{ERROR, Findings, ReadAt, WARNING, Window, hex, le32};

use crate::expanding::{Expanding, HEADER, InUse, PIECE, SECTOR};
use crate::extension;
use crate::{Error, ErrorKind};

/// Clusters of the file that are marked at a time, one bit each.
const SLOTS: u64 = 1 << 27;
/// Table entries that a check looks at in all.
const MAX_ENTRIES: u64 = 1 << 28;

/// Where findings go: those of a bundle's part name it, and have no offset, which would be in the primary file.
struct Report<'a> {
    name: Option<&'a str>,
    findings: &'a mut Findings,
}

impl Report<'_> {
    fn add(&mut self, severity: u8, code: &str, message: String, offset: Option<u64>) {
        match self.name {
            None => self.findings.add(severity, code, message, offset),
            Some(name) => {
                let offset = offset.map(|offset| format!(" at {}", hex(offset))).unwrap_or_default();
                let message = format!("{}{offset}: {message}", name.escape_debug());
                self.findings.add(severity, code, message, None);
            }
        }
    }
}

/// Looks at one image; `seen` counts the entries that were looked at in all.
pub(crate) fn check<R: ReadAt>(
    image: &Expanding<R>,
    name: Option<&str>,
    seen: &mut u64,
    findings: &mut Findings,
) -> Result<(), Error> {
    let mut report = Report { name, findings };
    flags(image, &mut report);
    let header = &image.header;
    // Bits for clusters that begin at any multiple of what places are aligned to.
    let slots = image.source.size().div_ceil(header.cluster_size);
    for first in (0..slots).step_by(SLOTS as usize) {
        spend(seen, u64::from(header.entries))?;
        check_slots(image, first, (slots - first).min(SLOTS), &mut report)?;
    }
    if header.extension != 0 {
        spend(seen, header.cluster_size / 8)?;
    }
    for (code, message) in extension::check(image)? {
        report.add(WARNING, code, message, Some(header.extension));
    }
    Ok(())
}

/// Counts what was looked at, in table entries or words.
fn spend(seen: &mut u64, words: u64) -> Result<(), Error> {
    *seen = seen.saturating_add(words);
    if *seen > MAX_ENTRIES {
        return Err(
            Error::new(ErrorKind::Limit, "there is too much to check in one call").with("limit", MAX_ENTRIES)
        );
    }
    Ok(())
}

fn flags<R: ReadAt>(image: &Expanding<R>, report: &mut Report<'_>) {
    match image.header.in_use {
        InUse::No => {}
        InUse::Yes => {
            let message = "the image was not closed: clusters may be lost".to_owned();
            report.add(WARNING, "in-use", message, Some(44));
        }
        InUse::Unknown(value) => {
            let message = format!("the flag of use is {}, which means nothing", hex(u64::from(value)));
            report.add(WARNING, "in-use", message, Some(44));
        }
    }
    let data = image.header.data_offset;
    let wrong = match image.header.extended {
        true => {
            data == 0 || !data.is_multiple_of(image.header.cluster_size) || data < image.header.table_end()
        }
        false => data != 0 && data < image.header.table_end().next_multiple_of(SECTOR),
    };
    if wrong {
        let message = format!("the data is to begin at {}, where it cannot", hex(data));
        report.add(WARNING, "data-offset", message, Some(48));
    }
}

/// Clusters are told apart by the slot in which they begin: two that begin in the same one overlap.
fn check_slots<R: ReadAt>(
    image: &Expanding<R>,
    first: u64,
    count: u64,
    report: &mut Report<'_>,
) -> Result<(), Error> {
    let header = &image.header;
    let mut used = vec![0u64; count.div_ceil(64) as usize];
    let mut allocated = false;
    each_entry(image, |index, at, entry| {
        if entry == 0 {
            return;
        }
        allocated = true;
        let place = header.place(entry);
        if first == 0 && (place < header.table_end() || place >= image.source.size()) {
            let message = format!("cluster {index} of the disk is at {}, where no data is", hex(place));
            report.add(ERROR, "cluster-place", message, Some(at));
        }
        let slot = place / header.cluster_size;
        let Some(bit) = slot.checked_sub(first).filter(|bit| *bit < count) else { return };
        let Some(word) = used.get_mut((bit / 64) as usize) else { return };
        if *word >> (bit % 64) & 1 == 1 {
            let message = format!("cluster {index} of the disk, at {}, overlaps another one", hex(place));
            report.add(ERROR, "overlapping-clusters", message, Some(at));
        }
        *word |= 1 << (bit % 64);
    })?;
    if first == 0 && allocated && header.empty {
        let message = "the image says that it is empty, and it is not".to_owned();
        report.add(WARNING, "empty-flag", message, Some(52));
    }
    Ok(())
}

/// Calls `each` with number, file offset and value of every entry.
fn each_entry<R: ReadAt>(image: &Expanding<R>, mut each: impl FnMut(u64, u64, u32)) -> Result<(), Error> {
    let mut window = Window::default();
    let length = image.header.table_bytes();
    for piece in (0..length).step_by(PIECE as usize) {
        let want = (length - piece).min(PIECE) as usize;
        let bytes = window.get(&image.source, HEADER + piece, want, "the table")?;
        for at in (0..want).step_by(4) {
            each((piece + at as u64) / 4, HEADER + piece + at as u64, le32(bytes, at).unwrap_or(0));
        }
    }
    Ok(())
}

//! Inconsistencies that do not stop a reader: blocks that are used twice or lie outside, a wrong count.

use witvirt_sdk::core::extent::Finding;
use witvirt_sdk::disk::{ERROR, Findings, ReadAt, WARNING, Window, le32};

use crate::header::ZERO;
use crate::image::{Image, MAP_PIECE};
use crate::{Error, ErrorKind};

/// Blocks of the file that are marked at a time, one bit each.
const SLOTS: u64 = 1 << 27;
/// Map entries that a check looks at in all.
const MAX_ENTRIES: u64 = 1 << 28;

impl<R: ReadAt> Image<R> {
    /// At most 1,000 findings, worst first.
    ///
    /// # Errors
    /// `limit` when the image is too large to check in one call, or what the source reports.
    pub(crate) fn findings(&self) -> Result<Vec<Finding>, Error> {
        let mut findings = Findings::default();
        let slots = self.slots();
        let passes = slots.div_ceil(SLOTS).max(1);
        if passes.saturating_mul(u64::from(self.header.blocks)) > MAX_ENTRIES {
            return Err(Error::new(ErrorKind::Limit, "the image has too many blocks to check in one call")
                .with("blocks", self.header.blocks)
                .with("limit", MAX_ENTRIES));
        }
        for pass in 0..passes {
            let first = pass * SLOTS;
            self.check_slots(first, (slots - first).min(SLOTS), slots, &mut findings)?;
        }
        Ok(findings.into_sorted())
    }

    /// Blocks that fit into the file, the last one perhaps in part.
    fn slots(&self) -> u64 {
        let data = self.source.size().saturating_sub(self.header.data_offset);
        data.div_ceil(self.header.stride()).min(u64::from(ZERO))
    }

    /// Looks for blocks of the file from `first` on that are used more than once; the first pass also counts and looks for
    /// blocks that are not in the file.
    fn check_slots(&self, first: u64, count: u64, slots: u64, findings: &mut Findings) -> Result<(), Error> {
        let mut used = vec![0u64; count.div_ceil(64) as usize];
        let mut allocated = 0u32;
        self.each_entry(|index, at, entry| {
            if entry >= ZERO {
                return;
            }
            allocated += 1;
            let slot = u64::from(entry);
            if first == 0 && slot >= slots {
                let message = format!("block {index} of the disk is block {entry} of the file, past its end");
                findings.add(ERROR, "past-end", message, Some(at));
            } else if first == 0 && entry >= self.header.blocks {
                let message = format!(
                    "block {index} of the disk is block {entry} of the file, which is to have {} blocks",
                    self.header.blocks
                );
                findings.add(WARNING, "block-number", message, Some(at));
            }
            let Some(bit) = slot.checked_sub(first).filter(|bit| *bit < count) else { return };
            let Some(word) = used.get_mut((bit / 64) as usize) else { return };
            if *word >> (bit % 64) & 1 == 1 {
                let message =
                    format!("block {entry} of the file is used again for block {index} of the disk");
                findings.add(ERROR, "overlapping-blocks", message, Some(at));
            }
            *word |= 1 << (bit % 64);
        })?;
        if first == 0 && allocated != self.header.allocated {
            let message = format!("the header counts {} blocks, the map {allocated}", self.header.allocated);
            findings.add(WARNING, "allocated-count", message, None);
        }
        Ok(())
    }

    /// Calls `each` with number, file offset and value of every entry.
    fn each_entry(&self, mut each: impl FnMut(u64, u64, u32)) -> Result<(), Error> {
        let mut window = Window::default();
        let length = self.header.map_length();
        for piece in (0..length).step_by(MAP_PIECE as usize) {
            let offset = self.header.map_offset + piece;
            let want = (length - piece).min(MAP_PIECE) as usize;
            let bytes = window.get(&self.source, offset, want, "the map of blocks")?;
            for at in (0..want).step_by(4) {
                each((piece + at as u64) / 4, offset + at as u64, le32(bytes, at).unwrap_or(ZERO));
            }
        }
        Ok(())
    }
}

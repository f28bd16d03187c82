//! Inconsistencies that do not stop a reader: a log, lost copies, blocks that share bytes or lie outside.

use witvirt_sdk::core::extent::Finding;
use witvirt_sdk::disk::{ERROR, Findings, ReadAt, WARNING, Window, le64};

use crate::bat::{Payload, bitmap_offset};
use crate::image::{BAT_PIECE, Image};
use crate::{Error, ErrorKind, MIB, header, region};

/// Blocks that are remembered, at 24 bytes each.
const MAX_BLOCKS: usize = 2 << 20;

/// A block in the file: offset and length in bytes, and its entry in the table.
type Placed = (u64, u64, u64);

impl<R: ReadAt> Image<R> {
    /// At most 1,000 findings, worst first.
    ///
    /// # Errors
    /// `limit` when the image has too many blocks to check in one call, or what the source reports.
    pub(crate) fn findings(&self) -> Result<Vec<Finding>, Error> {
        let mut findings = Findings::default();
        let copies = [
            ("header", header::OFFSETS, self.front.sound),
            ("table of regions", region::OFFSETS, self.regions.sound),
        ];
        for (what, offsets, sound) in copies {
            for (offset, _) in offsets.into_iter().zip(sound).filter(|(_, sound)| !sound) {
                let message = format!("one of the two copies of the {what} is not sound");
                findings.add(WARNING, "lost-copy", message, Some(offset));
            }
        }
        if self.file.entries > 0 {
            let message = format!(
                "the image was not closed: {} log entries were replayed in memory",
                self.file.entries
            );
            findings.add(WARNING, "log", message, Some(self.front.header.log_offset));
        }
        let mut blocks = self.placed(&mut findings)?;
        blocks.sort_unstable();
        for pair in blocks.windows(2) {
            let [(first, length, one), (second, _, other)] = *pair else { continue };
            if second < first.saturating_add(length) {
                let message = format!("the blocks of entries {one} and {other} share bytes of the file");
                findings.add(ERROR, "overlapping-blocks", message, Some(second));
            }
        }
        Ok(findings.into_sorted())
    }

    /// The blocks that lie where a block may lie; what is wrong with the others goes to `findings`.
    fn placed(&self, findings: &mut Findings) -> Result<Vec<Placed>, Error> {
        let mut placed = Vec::new();
        let mut window = Window::default();
        let table = self.shape.entries() * 8;
        for piece in (0..table).step_by(BAT_PIECE as usize) {
            let at = self.regions.bat.offset + piece;
            let length = (table - piece).min(BAT_PIECE) as usize;
            let bytes = window.get(&self.file, at, length, "the block allocation table")?;
            for byte in (0..length).step_by(8) {
                let index = (piece + byte as u64) / 8;
                let entry = le64(bytes, byte).unwrap_or_default();
                match self.place(index, entry) {
                    Ok(None) => {}
                    Ok(Some(_)) if placed.len() >= MAX_BLOCKS => {
                        let message = "the image has too many blocks to check in one call";
                        return Err(Error::new(ErrorKind::Limit, message).with("limit", MAX_BLOCKS));
                    }
                    Ok(Some((offset, length))) => placed.push((offset, length, index)),
                    Err((code, message)) => {
                        let message = format!("entry {index}: {message}");
                        findings.add(ERROR, code, message, Some(at + byte as u64));
                    }
                }
            }
        }
        Ok(placed)
    }

    /// Offset and length of what an entry places, if anything.
    fn place(&self, index: u64, entry: u64) -> Result<Option<(u64, u64)>, (&'static str, &'static str)> {
        let group = self.shape.ratio + 1;
        if index % group == self.shape.ratio {
            return match bitmap_offset(entry) {
                Some(offset) if self.parent.is_some() => Ok(Some((offset, MIB))),
                _ => Ok(None),
            };
        }
        let block = index - index / group;
        let offset = match Payload::parse(entry) {
            None => return Err(("invalid-state", "the state does not exist")),
            Some(Payload::Partial(_)) if self.parent.is_none() => {
                return Err(("invalid-state", "partially present, and there is no parent"));
            }
            Some(Payload::Present(offset) | Payload::Partial(offset)) if block < self.shape.blocks => offset,
            Some(_) => return Ok(None),
        };
        match self.misplaced(block, offset) {
            Some(found) => Err(found),
            None => Ok(Some((offset, self.shape.block_size))),
        }
    }
}

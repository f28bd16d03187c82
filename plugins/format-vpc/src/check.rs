//! Inconsistencies that do not stop a reader: blocks that share bytes or lie outside, a lost footer.

use witvirt_sdk::core::extent::Finding;
use witvirt_sdk::disk::{ERROR, Findings, ReadAt, WARNING, Window, be32};

use crate::geometry::SECTOR;
use crate::header::{Header, UNUSED};
use crate::image::{Image, TABLE_PIECE};
use crate::{Error, ErrorKind};

/// Blocks that are remembered, at 8 bytes each: four times those of a disk of 2040 GiB in blocks of the usual size.
const MAX_BLOCKS: usize = 4 << 20;

/// A block in the file: its first sector, and which of the disk it is.
type Placed = (u32, u32);

impl<R: ReadAt> Image<R> {
    /// At most 1,000 findings, worst first.
    ///
    /// # Errors
    /// `limit` when the image has too many blocks to check in one call, or what the source reports.
    pub(crate) fn findings(&self) -> Result<Vec<Finding>, Error> {
        let mut findings = Findings::default();
        if !self.footers.at_end {
            let message = "the footer at the end of the file is missing; its copy at the start was taken";
            findings.add(WARNING, "footer-missing", message.to_owned(), Some(self.footers.end));
        }
        if let Some(header) = &self.header {
            let mut blocks = self.placed(header, &mut findings)?;
            blocks.sort_unstable();
            overlaps(header, &blocks, &mut findings);
        }
        Ok(findings.into_sorted())
    }

    /// The blocks that lie where a block may lie; what is wrong with the others goes to `findings`.
    fn placed(&self, header: &Header, findings: &mut Findings) -> Result<Vec<Placed>, Error> {
        let blocks = self.footer().virtual_size().div_ceil(u64::from(header.block_size));
        let mut placed = Vec::new();
        let mut window = Window::default();
        let table = blocks * 4;
        for piece in (0..table).step_by(TABLE_PIECE as usize) {
            let at = header.table_offset + piece;
            let length = (table - piece).min(TABLE_PIECE) as usize;
            let bytes = window.get(&self.source, at, length, "the table of blocks")?;
            for byte in (0..length).step_by(4) {
                let entry = be32(bytes, byte).unwrap_or(UNUSED);
                if entry == UNUSED {
                    continue;
                }
                let index = (piece + byte as u64) / 4;
                if let Some((code, message)) = self.misplaced(header, index, entry) {
                    findings.add(ERROR, code, message, Some(at + byte as u64));
                } else if placed.len() < MAX_BLOCKS {
                    // A disk has fewer than 2^32 blocks: each has a sector or more.
                    placed.push((entry, index as u32));
                } else {
                    return Err(Error::new(
                        ErrorKind::Limit,
                        "the image has too many blocks to check in one call",
                    )
                    .with("limit", MAX_BLOCKS));
                }
            }
        }
        Ok(placed)
    }

    fn misplaced(&self, header: &Header, index: u64, entry: u32) -> Option<(&'static str, String)> {
        let offset = u64::from(entry) * SECTOR;
        let length = self.block_length(header, index);
        if offset + length > self.footers.end {
            return Some((
                "past-end",
                format!("block {index} of the disk lies past the end of the file's data"),
            ));
        }
        let what = self.overlapped(header, offset, length)?;
        Some(("overlapping-metadata", format!("block {index} of the disk lies on {what}")))
    }
}

/// Blocks that begin before the one before them ends, in the order of the file.
fn overlaps(header: &Header, blocks: &[Placed], findings: &mut Findings) {
    let taken = (header.bitmap_length() + u64::from(header.block_size)) / SECTOR;
    for pair in blocks.windows(2) {
        let [(first, one), (second, other)] = *pair else { continue };
        if u64::from(second) - u64::from(first) < taken {
            let message = format!("blocks {one} and {other} of the disk share bytes of the file");
            findings.add(ERROR, "overlapping-blocks", message, Some(u64::from(second) * SECTOR));
        }
    }
}

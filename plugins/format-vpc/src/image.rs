//! An opened image.

use witvirt_sdk::core::extent::{ExtentKind, Finding, Geometry, Page, Reference};
use witvirt_sdk::disk::{ImageReader, ReadAt, Runs, Window, be32, hex};

use crate::footer::{self, Footer, Footers, Kind};
use crate::geometry::SECTOR;
use crate::header::{self, Header, UNUSED};
use crate::{Error, ErrorKind, FORMAT, facts, parent};

/// Reference id of the parent.
pub const PARENT: u32 = 1;

/// Table entries that one page looks at, so that no call takes long.
const MAX_ENTRIES: u64 = 1 << 20;
/// What a bitmap costs of them: it is a read of its own.
const BITMAP_COST: u64 = 64;
/// The table is read in pieces of at most this many bytes.
pub(crate) const TABLE_PIECE: u64 = 128 << 10;

/// An image whose footer and header are sound; table entries are checked where they are met.
#[derive(Debug)]
pub struct Image<R> {
    pub(crate) source: R,
    pub(crate) footers: Footers,
    /// `None` in a fixed image.
    pub(crate) header: Option<Header>,
    parent: Option<String>,
    table: Window,
    bitmap: Window,
}

impl<R: ReadAt> ImageReader for Image<R> {
    type Source = R;

    /// Checks footer and header.
    ///
    /// # Errors
    /// `invalid-input` when it is no VHD, `unsupported` with what is not known, `corrupt` with what is wrong and where, or
    /// what the source reports.
    fn open(source: R) -> Result<Self, Error> {
        let footers = Footers::read(&source)?;
        let footer = &footers.footer;
        let header = match footer.kind {
            Kind::Fixed => {
                check_fixed(&footers)?;
                None
            }
            Kind::Dynamic | Kind::Differencing => Some(Header::read(&source, footer)?),
        };
        let parent = match &header {
            Some(header) if footer.kind == Kind::Differencing => Some(parent::name(&source, header)?),
            _ => None,
        };
        let (table, bitmap) = (Window::default(), Window::default());
        Ok(Self { source, footers, header, parent, table, bitmap })
    }

    fn geometry(&self) -> Geometry {
        Geometry {
            virtual_size: self.footer().virtual_size(),
            cluster_size: self.header.as_ref().map_or(0, |header| header.block_size),
            logical_sector: SECTOR as u32,
        }
    }

    fn facts(&self) -> Vec<(String, String)> {
        facts::facts(self)
    }

    /// The files that the image names: at most a parent.
    fn references(&self) -> Vec<Reference> {
        let parent = self.parent.as_ref().map(|name| Reference {
            id: PARENT,
            role: "parent".to_owned(),
            name: name.clone(),
            format_hint: Some(FORMAT.to_owned()),
            required: true,
        });
        parent.into_iter().collect()
    }

    fn extents(&mut self, start: u64, length: u64, max: u32) -> Result<Page, Error> {
        let end = start.saturating_add(length).min(self.footer().virtual_size());
        let mut runs = Runs::new(start, max);
        if start < end {
            match self.header.clone() {
                None => {
                    runs.push(end - start, ExtentKind::Data { source: 0, offset: start });
                }
                Some(header) => self.blocks(&header, &mut runs, end)?,
            }
        }
        Ok(runs.into_page(end))
    }

    fn check(&mut self) -> Result<Vec<Finding>, Error> {
        self.findings()
    }
}

impl<R: ReadAt> Image<R> {
    /// The footer that counts.
    pub fn footer(&self) -> &Footer {
        &self.footers.footer
    }

    fn blocks(&mut self, header: &Header, runs: &mut Runs, end: u64) -> Result<(), Error> {
        let block_size = u64::from(header.block_size);
        let mut seen = 0;
        while runs.position() < end && seen < MAX_ENTRIES {
            let index = runs.position() / block_size;
            let stop = ((index + 1) * block_size).min(end);
            let more = match self.entry(header, index)? {
                UNUSED => runs.push(stop - runs.position(), self.below()),
                entry => {
                    let offset = self.check_block(header, index, entry)?;
                    let data = offset + header.bitmap_length();
                    if self.parent.is_some() {
                        seen += BITMAP_COST;
                        self.sectors(header, runs, index, offset, stop)?
                    } else {
                        let offset = data + runs.position() % block_size;
                        runs.push(stop - runs.position(), ExtentKind::Data { source: 0, offset })
                    }
                }
            };
            if !more {
                break;
            }
            seen += 1;
        }
        Ok(())
    }

    /// What lies where this image has nothing.
    fn below(&self) -> ExtentKind {
        if self.parent.is_some() { ExtentKind::Parent } else { ExtentKind::Unallocated }
    }

    fn entry(&mut self, header: &Header, index: u64) -> Result<u32, Error> {
        let byte = index * 4;
        let piece = byte / TABLE_PIECE * TABLE_PIECE;
        let length = header.table_length().saturating_sub(piece).min(TABLE_PIECE) as usize;
        let bytes =
            self.table.get(&self.source, header.table_offset + piece, length, "the table of blocks")?;
        be32(bytes, (byte - piece) as usize).ok_or_else(|| {
            Error::new(ErrorKind::Corrupt, "the table of blocks ends before the disk").with("block", index)
        })
    }

    /// The parts of a block from the current position up to `stop` that are this image's, and its parent's. Returns false
    /// when the page is full.
    fn sectors(
        &mut self,
        header: &Header,
        runs: &mut Runs,
        index: u64,
        offset: u64,
        stop: u64,
    ) -> Result<bool, Error> {
        let block = index * u64::from(header.block_size);
        let data = offset + header.bitmap_length();
        let length = header.bitmap_length() as usize;
        let bitmap = self.bitmap.get(&self.source, offset, length, "the bitmap of a block")?;
        while runs.position() < stop {
            let from = runs.position() - block;
            let (present, sectors) = run(bitmap, from / SECTOR, (stop - block).div_ceil(SECTOR));
            let until = (block + (from / SECTOR + sectors) * SECTOR).min(stop);
            let kind = match present {
                true => ExtentKind::Data { source: 0, offset: data + from },
                false => ExtentKind::Parent,
            };
            if !runs.push(until - runs.position(), kind) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The offset of a block that an entry names, with room for what the disk needs of it.
    fn check_block(&self, header: &Header, index: u64, entry: u32) -> Result<u64, Error> {
        let offset = u64::from(entry) * SECTOR;
        let length = self.block_length(header, index);
        let bad = |message: String| {
            Error::new(ErrorKind::Corrupt, message)
                .with("block", index)
                .with("offset", hex(offset))
                .with("file-size", hex(self.source.size()))
        };
        if offset + length > self.footers.end {
            let what = if self.footers.at_end { "footer" } else { "end of the file" };
            return Err(bad(format!("a block lies past the {what}; the file may be cut short")));
        }
        match self.overlapped(header, offset, length) {
            Some(what) => Err(bad(format!("a block lies on {what}"))),
            None => Ok(offset),
        }
    }

    /// Bytes of the file that a block takes at least: bitmap, and data up to the end of the disk.
    pub(crate) fn block_length(&self, header: &Header, index: u64) -> u64 {
        let block_size = u64::from(header.block_size);
        let rest = self.footer().virtual_size().saturating_sub(index * block_size);
        header.bitmap_length() + rest.min(block_size).next_multiple_of(SECTOR)
    }

    /// Which structure lies in a range of the file.
    pub(crate) fn overlapped(&self, header: &Header, offset: u64, length: u64) -> Option<&'static str> {
        let fixed = [
            ("the copy of the footer", 0, footer::LENGTH),
            ("the header", header.offset, header::LENGTH),
            ("the table of blocks", header.table_offset, header.table_length()),
        ];
        let end = offset.saturating_add(length);
        fixed
            .into_iter()
            .find(|(_, start, size)| offset < start.saturating_add(*size) && *start < end)
            .map(|(what, ..)| what)
    }
}

fn check_fixed(footers: &Footers) -> Result<(), Error> {
    let size = footers.footer.virtual_size();
    if size > footers.end {
        return Err(Error::new(ErrorKind::Corrupt, "the file is smaller than the disk; it may be cut short")
            .with("virtual-size", size)
            .with("file-size", hex(footers.end)));
    }
    Ok(())
}

/// Whether bit `from` is set, the highest of a byte being the first, and how many bits up to `end` are like it.
fn run(bitmap: &[u8], from: u64, end: u64) -> (bool, u64) {
    let byte = |bit: u64| bitmap.get((bit / 8) as usize).copied().unwrap_or_default();
    let is_set = |bit: u64| byte(bit) >> (7 - bit % 8) & 1 == 1;
    let first = is_set(from);
    let whole = if first { 0xff } else { 0 };
    let mut at = from + 1;
    while at < end {
        if at.is_multiple_of(8) && byte(at) == whole {
            at += 8;
        } else if is_set(at) == first {
            at += 1;
        } else {
            break;
        }
    }
    (first, at.min(end) - from)
}

#[cfg(test)]
mod tests {
    use super::run;

    #[test]
    fn runs_of_bits() {
        let bitmap = [0b1110_0000, 0xff, 0xff, 0b1000_0001, 0];
        let expected =
            [(0, true, 3), (3, false, 5), (8, true, 17), (25, false, 6), (31, true, 1), (32, false, 8)];
        for (from, set, length) in expected {
            assert_eq!(run(&bitmap, from, 40), (set, length), "from {from}");
        }
        assert_eq!(run(&bitmap, 10, 14), (true, 4), "cut");
        assert_eq!(run(&bitmap, 9, 40), (true, 16), "from inside");
    }
}

//! An opened image.

use witvirt_sdk::core::extent::{ExtentKind, Finding, Geometry, Page, Reference};
use witvirt_sdk::disk::{ImageReader, ReadAt, Runs, Window, hex, le64, read_exact};

use crate::bat::{Payload, Shape, bitmap_offset};
use crate::header::Front;
use crate::log::{Piece, Replayed};
use crate::metadata::Metadata;
use crate::parent::Parent;
use crate::region::{Range, Regions};
use crate::{Error, FORMAT, MIB, corrupt, facts};

/// Reference id of the parent.
pub const PARENT: u32 = 1;

/// Table entries that one page looks at, so that no call takes long.
const MAX_ENTRIES: u64 = 1 << 21;
/// What a bitmap costs of them: it is a read of its own.
const BITMAP_COST: u64 = 64;
/// Bytes out of the log in one page; the contract's bound is 8 MiB.
const MAX_LITERAL: u64 = 1 << 20;
/// The table is read in pieces of at most this many bytes: a disk of 64 TiB may have 512 MiB of it.
pub(crate) const BAT_PIECE: u64 = 128 << 10;

/// An image whose headers, regions and metadata are sound; table entries are checked where they are met.
#[derive(Debug)]
pub struct Image<R> {
    pub(crate) file: Replayed<R>,
    pub(crate) front: Front,
    pub(crate) regions: Regions,
    pub(crate) metadata: Metadata,
    pub(crate) shape: Shape,
    pub(crate) parent: Option<Parent>,
    bat: Window,
    bitmap: Window,
}

impl<R: ReadAt> ImageReader for Image<R> {
    type Source = R;

    /// Checks headers, log, regions and metadata.
    ///
    /// # Errors
    /// `invalid-input` when it is no VHDX, `unsupported` with what is not known, `corrupt` with what is wrong and where,
    /// `limit` for a log that is too long, or what the source reports.
    fn open(source: R) -> Result<Self, Error> {
        let front = Front::read(&source)?;
        let file = Replayed::new(source, &front.header)?;
        let regions = Regions::read(&file, &front.header)?;
        let metadata = Metadata::read(&file, regions.metadata)?;
        let shape = Shape::new(&metadata, regions.bat.length)?;
        let parent = metadata.locator.as_deref().map(Parent::parse).transpose()?;
        let (bat, bitmap) = (Window::default(), Window::default());
        Ok(Self { file, front, regions, metadata, shape, parent, bat, bitmap })
    }

    fn geometry(&self) -> Geometry {
        Geometry {
            virtual_size: self.metadata.virtual_size,
            cluster_size: self.metadata.block_size as u32,
            logical_sector: self.metadata.logical_sector,
        }
    }

    fn facts(&self) -> Vec<(String, String)> {
        facts::facts(self)
    }

    /// The files that the image names: at most a parent.
    fn references(&self) -> Vec<Reference> {
        let parent = self.parent.as_ref().map(|parent| Reference {
            id: PARENT,
            role: "parent".to_owned(),
            name: parent.name.clone(),
            format_hint: Some(FORMAT.to_owned()),
            required: true,
        });
        parent.into_iter().collect()
    }

    fn extents(&mut self, start: u64, length: u64, max: u32) -> Result<Page, Error> {
        let end = start.saturating_add(length).min(self.metadata.virtual_size);
        let mut filling = Filling { runs: Runs::new(start, max), literal: 0 };
        let mut seen = 0;
        while filling.runs.position() < end && seen < MAX_ENTRIES {
            let block = filling.runs.position() / self.shape.block_size;
            let stop = ((block + 1) * self.shape.block_size).min(end);
            seen += 1;
            if !self.block(block, stop, &mut filling, &mut seen)? {
                break;
            }
        }
        Ok(filling.runs.into_page(end))
    }

    fn check(&mut self) -> Result<Vec<Finding>, Error> {
        self.findings()
    }
}

impl<R: ReadAt> Image<R> {
    /// The metadata items.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Adds a block from the current position up to `stop`. Returns false when the page is full.
    fn block(&mut self, block: u64, stop: u64, filling: &mut Filling, seen: &mut u64) -> Result<bool, Error> {
        let start = filling.runs.position();
        let entry = self.entry(self.shape.payload_index(block))?;
        let bad = |message: &str| corrupt(message).with("block", block).with("entry", hex(entry));
        match Payload::parse(entry) {
            None => Err(bad("a block has a state that does not exist")),
            Some(Payload::Absent) => {
                let below = if self.parent.is_some() { ExtentKind::Parent } else { ExtentKind::Unallocated };
                Ok(filling.runs.push(stop - start, below))
            }
            Some(Payload::Zero) => Ok(filling.runs.push(stop - start, ExtentKind::Zero)),
            Some(Payload::Present(offset)) => {
                self.check_block(block, offset)?;
                filling.stored(&self.file, offset + start % self.shape.block_size, stop - start)
            }
            Some(Payload::Partial(_)) if self.parent.is_none() => {
                Err(bad("a block is partially present in an image that has no parent"))
            }
            Some(Payload::Partial(offset)) => {
                self.check_block(block, offset)?;
                *seen += BITMAP_COST;
                self.sectors(block, offset, stop, filling)
            }
        }
    }

    fn entry(&mut self, index: u64) -> Result<u64, Error> {
        let byte = index * 8;
        let piece = byte / BAT_PIECE * BAT_PIECE;
        let length = self.regions.bat.length.saturating_sub(piece).min(BAT_PIECE) as usize;
        let bytes = self.bat.get(
            &self.file,
            self.regions.bat.offset + piece,
            length,
            "the block allocation table",
        )?;
        le64(bytes, (byte - piece) as usize)
            .ok_or_else(|| corrupt("the block allocation table ends before the disk").with("index", index))
    }

    /// Whether a block lies in the file, with what the disk needs of it, and not where something else is.
    fn check_block(&self, block: u64, offset: u64) -> Result<(), Error> {
        match self.misplaced(block, offset) {
            None => Ok(()),
            Some((_, message)) => Err(corrupt(message)
                .with("block", block)
                .with("offset", hex(offset))
                .with("file-size", hex(self.file.size()))),
        }
    }

    /// What is wrong with the place of a block, as a word and a sentence.
    pub(crate) fn misplaced(&self, block: u64, offset: u64) -> Option<(&'static str, &'static str)> {
        let rest = self.metadata.virtual_size.saturating_sub(block * self.shape.block_size);
        let range = Range { offset, length: rest.min(self.shape.block_size) };
        if offset.checked_add(range.length).is_none_or(|end| end > self.file.size()) {
            return Some(("past-end", "a block lies past the end of the file; it may be cut short"));
        }
        self.regions
            .takes(range)
            .then_some(("overlapping-metadata", "a block lies on the headers, the log or a region"))
    }

    /// The parts of a block from the current position up to `stop` that are this image's, and its parent's.
    fn sectors(&mut self, block: u64, offset: u64, stop: u64, filling: &mut Filling) -> Result<bool, Error> {
        let index = self.shape.bitmap_index(block);
        let entry = self.entry(index)?;
        let missing = || corrupt("the sector bitmap of a block is not there").with("block", block);
        let bitmaps = bitmap_offset(entry).ok_or_else(missing)?;
        let taken = Range { offset: bitmaps, length: MIB };
        if self.regions.takes(taken) || bitmaps.checked_add(MIB).is_none_or(|end| end > self.file.size()) {
            return Err(corrupt("a sector bitmap lies outside the file or on a region")
                .with("block", block)
                .with("offset", hex(bitmaps))
                .with("file-size", hex(self.file.size())));
        }
        let (at, length) = self.shape.bits(block);
        let bits = self.bitmap.get(&self.file, bitmaps + at, length as usize, "a sector bitmap")?;
        let begin = block * self.shape.block_size;
        let sector = self.shape.sector;
        while filling.runs.position() < stop {
            let from = filling.runs.position() - begin;
            let (present, sectors) = run(bits, from / sector, (stop - begin).div_ceil(sector));
            let until = ((from / sector + sectors) * sector).min(stop - begin);
            let more = match present {
                true => filling.stored(&self.file, offset + from, until - from)?,
                false => filling.runs.push(until - from, ExtentKind::Parent),
            };
            if !more {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// A page in the making.
struct Filling {
    runs: Runs,
    /// Bytes out of the log.
    literal: u64,
}

impl Filling {
    /// Adds `length` bytes at `offset` of the replayed file. Returns false when the page is full.
    fn stored<R: ReadAt>(&mut self, file: &Replayed<R>, offset: u64, length: u64) -> Result<bool, Error> {
        let end = offset + length;
        let mut at = offset;
        while at < end {
            let (until, piece) = file.piece(at, end);
            let kind = match piece {
                Piece::Stored => ExtentKind::Data { source: 0, offset: at },
                Piece::Zero => ExtentKind::Zero,
                Piece::Patched => {
                    self.literal += until - at;
                    if self.literal > MAX_LITERAL {
                        return Ok(false);
                    }
                    ExtentKind::Literal(read_exact(file, at, (until - at) as usize, "the log")?)
                }
            };
            if !self.runs.push(until - at, kind) {
                return Ok(false);
            }
            at = until;
        }
        Ok(true)
    }
}

/// Whether bit `from` is set, the lowest of a byte being the first, and how many bits up to `end` are like it.
fn run(bits: &[u8], from: u64, end: u64) -> (bool, u64) {
    let byte = |bit: u64| bits.get((bit / 8) as usize).copied().unwrap_or_default();
    let is_set = |bit: u64| byte(bit) >> (bit % 8) & 1 == 1;
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
        let bits = [0b0000_0111, 0xff, 0xff, 0b1000_0001, 0];
        let expected =
            [(0, true, 3), (3, false, 5), (8, true, 17), (25, false, 6), (31, true, 1), (32, false, 8)];
        for (from, set, length) in expected {
            assert_eq!(run(&bits, from, 40), (set, length), "from {from}");
        }
        assert_eq!(run(&bits, 10, 14), (true, 4), "cut");
    }
}

//! One entry of the log.

use witvirt_sdk::disk::{ReadAt, hex, le32, le64};

use super::patches::{Patch, Patches};
use super::{PAGE, Ring};
use crate::crc32c::Crc32c;
use crate::guid::Guid;
use crate::{Error, corrupt};

const SIGNATURE: &[u8; 4] = b"loge";
const HEADER: u64 = 64;
const DESCRIPTOR: u64 = 32;
/// Bytes that are read at a time.
const STEP: u64 = 1 << 20;

/// The header of a sound entry. Positions are bytes of the ring, sizes and offsets bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub position: u64,
    pub length: u64,
    /// Where the oldest entry is that was not yet written when this one was.
    pub tail: u64,
    pub sequence: u64,
    descriptors: u64,
    /// Length of the file that was safe when the entry was written.
    pub flushed: u64,
    /// Length that the file has to have.
    pub last: u64,
}

/// The entry at a position of the ring, if there is a whole one of this log. Takes what it reads out of `budget`.
pub(super) fn read<R: ReadAt>(
    ring: &Ring<'_, R>,
    position: u64,
    budget: &mut u64,
) -> Result<Option<Entry>, Error> {
    let first = ring.read(position, PAGE)?;
    let Some(entry) = parse(&first, position, ring) else { return Ok(None) };
    *budget = budget.checked_sub(entry.length).ok_or_else(|| {
        corrupt("the entries of the log overlap so much that it was made to be slow to read")
            .with("position", hex(position))
    })?;
    let mut crc = Crc32c::default();
    for at in (0..entry.length).step_by(STEP as usize) {
        let length = (entry.length - at).min(STEP);
        let mut bytes = ring.read(ring.after(position, at), length)?;
        if at == 0
            && let Some(checksum) = bytes.get_mut(4..8)
        {
            checksum.fill(0);
        }
        crc.update(&bytes);
    }
    Ok((le32(&first, 4) == Some(crc.finish())).then_some(entry))
}

fn parse<R>(bytes: &[u8], position: u64, ring: &Ring<'_, R>) -> Option<Entry> {
    let entry = Entry {
        position,
        length: le32(bytes, 8)?.into(),
        tail: le32(bytes, 12)?.into(),
        sequence: le64(bytes, 16)?,
        descriptors: le32(bytes, 24)?.into(),
        flushed: le64(bytes, 48)?,
        last: le64(bytes, 56)?,
    };
    let own = bytes.starts_with(SIGNATURE) && Guid::at(bytes, 32)? == ring.id && entry.sequence > 0;
    let fits = entry.length.is_multiple_of(PAGE)
        && entry.length <= ring.length
        && entry.descriptor_bytes() <= entry.length
        && entry.length > 0;
    let tail = entry.tail.is_multiple_of(PAGE) && entry.tail < ring.length;
    (own && fits && tail).then_some(entry)
}

impl Entry {
    /// Header and descriptors, in whole pages: the data sectors come behind them.
    fn descriptor_bytes(self) -> u64 {
        (HEADER + self.descriptors * DESCRIPTOR).next_multiple_of(PAGE)
    }
}

/// Puts what an entry writes over `patches`; the file has `size` bytes.
pub(super) fn apply<R: ReadAt>(
    ring: &Ring<'_, R>,
    entry: &Entry,
    size: u64,
    patches: &mut Patches,
) -> Result<(), Error> {
    let bad = |message: &str| {
        corrupt(format!("the log: {message}"))
            .with("position", hex(entry.position))
            .with("sequence", entry.sequence)
    };
    let area = entry.descriptor_bytes();
    let mut sector = area;
    let mut done = 0;
    for at in (0..area).step_by(STEP as usize) {
        let bytes = ring.read(ring.after(entry.position, at), (area - at).min(STEP))?;
        let skip = if at == 0 { HEADER } else { 0 };
        for descriptor in bytes.get(skip as usize..).unwrap_or_default().chunks_exact(DESCRIPTOR as usize) {
            if done == entry.descriptors {
                break;
            }
            done += 1;
            let fields = (le64(descriptor, 8), le64(descriptor, 16), le64(descriptor, 24));
            let (Some(second), Some(offset), Some(sequence)) = fields else { continue };
            if sequence != entry.sequence {
                return Err(bad("a descriptor is of another entry"));
            }
            let (length, patch) = match descriptor.get(..4) {
                Some(b"zero") => (second, Patch::Zero),
                Some(b"desc") => {
                    if sector >= entry.length {
                        return Err(bad("an entry has fewer sectors of data than descriptors of them"));
                    }
                    let patch = data(ring, entry, sector, descriptor)
                        .ok_or_else(|| bad("a descriptor is cut short"))?;
                    check_sector(ring, entry, sector)?;
                    sector += PAGE;
                    (PAGE, patch)
                }
                _ => return Err(bad("a descriptor of an unknown kind")),
            };
            let end = offset.checked_add(length);
            let Some(end) = end.filter(|end| *end <= size.next_multiple_of(PAGE)) else {
                return Err(bad("it writes past the end of the file")
                    .with("offset", hex(offset))
                    .with("length", length)
                    .with("file-size", hex(size)));
            };
            if !offset.is_multiple_of(PAGE) || !length.is_multiple_of(PAGE) {
                return Err(bad("what it writes is not aligned").with("offset", hex(offset)));
            }
            patches.insert(offset, end, patch)?;
        }
    }
    Ok(())
}

fn data<R>(ring: &Ring<'_, R>, entry: &Entry, sector: u64, descriptor: &[u8]) -> Option<Patch> {
    Some(Patch::Page {
        log_offset: ring.offset + (entry.position + sector) % ring.length,
        leading: descriptor.get(8..16)?.try_into().ok()?,
        trailing: descriptor.get(4..8)?.try_into().ok()?,
    })
}

/// A data sector repeats the entry's sequence number, the high half in front and the low half at its end.
fn check_sector<R: ReadAt>(ring: &Ring<'_, R>, entry: &Entry, sector: u64) -> Result<(), Error> {
    let bytes = ring.read(ring.after(entry.position, sector), PAGE)?;
    let halves = le32(&bytes, 4).zip(le32(&bytes, PAGE as usize - 4));
    let sequence = halves.map(|(high, low)| u64::from(high) << 32 | u64::from(low));
    if bytes.starts_with(b"data") && sequence == Some(entry.sequence) {
        return Ok(());
    }
    Err(corrupt("the log: a sector of data is of another entry")
        .with("position", hex(entry.position))
        .with("sequence", entry.sequence))
}

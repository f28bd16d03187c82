//! Which bands are stored, and where.

use witvirt_sdk::disk::{ReadAt, be32, be64, hex, read_exact};

use crate::header::{BANDS, Header, MAGIC, NODE};
use crate::{Error, ErrorKind};

/// The most bands that are kept track of: 64 MiB of memory.
const MAX_BANDS: usize = 1 << 22;

/// Where the header and an index node name the next node, and where the node's band numbers start.
const NEXT_IN_HEADER: usize = 20;
const NEXT_IN_NODE: usize = 12;
const BANDS_IN_NODE: usize = 56;
/// Band numbers of an index node.
const SLOTS: u64 = 1010;

/// A band that is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Stored {
    /// Its place on the disk, from 0.
    pub band: u32,
    /// Its offset in the file.
    pub offset: u64,
}

/// All stored bands, in the order of the disk.
///
/// # Errors
/// `corrupt` with what is wrong and where, `limit` for too many bands, or what the source reports.
pub(crate) fn read<R: ReadAt>(source: &R, header: &Header, first: &[u8]) -> Result<Vec<Stored>, Error> {
    let mut stored = Vec::new();
    collect(source.size(), header, 0, first.get(BANDS..).unwrap_or_default(), &mut stored)?;
    let mut next = be64(first, NEXT_IN_HEADER).unwrap_or_default();
    let mut last = 0;
    // A node is only added when those before are full, so more than this make no sense.
    let mut left = header.bands() / SLOTS + 2;
    while next != 0 {
        let at = |error: Error| error.with("node", hex(next));
        let corrupt = |message: &str| at(Error::new(ErrorKind::Corrupt, message));
        if next < last + NODE as u64 || left == 0 {
            return Err(corrupt("the index nodes run in circles"));
        }
        let node = read_exact(source, next, NODE, "an index node")?;
        if !node.starts_with(MAGIC) {
            return Err(corrupt("an index node has no signature"));
        }
        collect(source.size(), header, next, node.get(BANDS_IN_NODE..).unwrap_or_default(), &mut stored)?;
        (last, left) = (next, left - 1);
        next = be64(&node, NEXT_IN_NODE).unwrap_or_default();
    }
    stored.sort_unstable();
    if let Some(pair) = stored.windows(2).find(|pair| pair[0].band == pair[1].band) {
        return Err(Error::new(ErrorKind::Corrupt, "a band is stored twice")
            .with("band", pair[0].band)
            .with("offset", hex(pair[0].offset))
            .with("other-offset", hex(pair[1].offset)));
    }
    Ok(stored)
}

/// Adds the bands that the node at `node` lists.
fn collect(
    file_size: u64,
    header: &Header,
    node: u64,
    slots: &[u8],
    stored: &mut Vec<Stored>,
) -> Result<(), Error> {
    for (slot, number) in slots.chunks_exact(4).enumerate() {
        let Some(band) = be32(number, 0).and_then(|number| number.checked_sub(1)) else { continue };
        let corrupt = |message: &str| Error::new(ErrorKind::Corrupt, message).with("band", band);
        let start = u64::from(band).checked_mul(header.band_size).filter(|start| *start < header.disk_size);
        let start =
            start.ok_or_else(|| corrupt("a band lies past the end of the disk").with("node", hex(node)))?;
        let offset = (slot as u64).checked_mul(header.band_size);
        let offset = offset.and_then(|offset| offset.checked_add(node)?.checked_add(NODE as u64));
        // The last band of the disk may be shorter.
        let length = header.band_size.min(header.disk_size - start);
        let offset = offset.filter(|offset| offset.checked_add(length).is_some_and(|end| end <= file_size));
        let offset = offset.ok_or_else(|| {
            corrupt("a band is stored past the end of the file; it may be cut short")
                .with("node", hex(node))
                .with("slot", slot)
                .with("file-size", hex(file_size))
        })?;
        if stored.len() == MAX_BANDS {
            return Err(Error::new(ErrorKind::Limit, format!("more than {MAX_BANDS} bands are stored")));
        }
        stored.push(Stored { band, offset });
    }
    Ok(())
}

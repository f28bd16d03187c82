//! COWD: the sparse files of ESX on VMFS (vmfsSparse).
//!
//! Little-endian words: magic "COWD", version 1, flags, capacity, sectors of a grain, sector and entries of the grain
//! directory, next free sector. Grain tables have 4,096 entries. Source: libyal's description, QEMU's driver.

use witvirt_sdk::disk::{ReadAt, le32, read_exact};

use crate::sector::SECTOR;
use crate::{Error, ErrorKind};

use super::grain::Compression;
use super::tables::{Area, Entries, Shape, Tables};
use super::{check_directory, corrupt};

/// "COWD".
pub(crate) const MAGIC: &[u8; 4] = b"COWD";
const HEADER: usize = 2048;
const TABLE_ENTRIES: u64 = 4096;
/// Sectors of a grain, as QEMU bounds them.
const MAX_GRAIN: u32 = 1 << 21;

/// Checks the header and the grain directory.
pub(super) fn open<R: ReadAt>(source: &R) -> Result<Tables, Error> {
    let head = read_exact(source, 0, HEADER, "the header of a COWD extent")?;
    if !head.starts_with(MAGIC) {
        return Err(Error::new(ErrorKind::InvalidInput, "not a COWD extent: the signature is missing"));
    }
    let word = |offset| le32(&head, offset).unwrap_or_default();
    let (version, capacity, grain) = (word(4), word(12), word(16));
    let (directory, entries) = (word(20), word(24));
    if version != 1 {
        let message = format!("COWD extents of version {version} are not supported");
        return Err(Error::new(ErrorKind::Unsupported, message));
    }
    if !grain.is_power_of_two() || grain > MAX_GRAIN {
        return Err(corrupt("the size of a grain has to be a power of two").with("grain-sectors", grain));
    }
    if capacity == 0 {
        return Err(corrupt("the capacity of the extent is 0"));
    }
    let grain = u64::from(grain) * SECTOR;
    let shape = Shape {
        entries: Entries::Sectors { zeroed: false },
        capacity: u64::from(capacity) * SECTOR,
        grain,
        table_entries: TABLE_ENTRIES,
        directory: u64::from(directory) * SECTOR,
        fixed: vec![("the header", Area { offset: 0, length: HEADER as u64 })],
        compression: Compression::None,
    };
    let needed = shape.capacity.div_ceil(grain * TABLE_ENTRIES);
    if u64::from(entries) < needed {
        return Err(corrupt("the grain directory is too small for the disk")
            .with("entries", entries)
            .with("needed", needed));
    }
    check_directory(needed * 4)?;
    Tables::new(source, shape)
}

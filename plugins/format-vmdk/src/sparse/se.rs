//! Space-efficient sparse files (seSparse): snapshots of ESXi on VMFS 6.
//!
//! A constant header of little-endian numbers of 8 bytes, a volatile one elsewhere, and areas of their own for the grain
//! directory, the grain tables and the grains, which entries name by number. Undocumented; the facts are those that QEMU's
//! driver goes by, and as there everything else is refused.

use witvirt_sdk::disk::{ReadAt, le64, read_exact};

use crate::sector::{SECTOR, bytes_of};
use crate::{Error, ErrorKind};

use super::grain::Compression;
use super::tables::{Area, Entries, Shape, Tables, check_apart};
use super::{area, check_directory, corrupt};

/// First number of the constant header.
pub(crate) const MAGIC: u64 = 0xcafe_babe;
/// First number of the volatile header.
const VOLATILE_MAGIC: u64 = 0xcafe_cafe;
/// Major 2, minor 1.
pub(crate) const VERSION: u64 = 0x2_0000_0001;
/// Sectors of a grain.
const GRAIN: u64 = 8;
/// Sectors of a grain table, which has 4,096 entries.
const TABLE: u64 = 64;
/// Bytes of the constant header that mean something.
const MEANT: usize = 208;

/// Checks both headers and the grain directory.
pub(super) fn open<R: ReadAt>(source: &R) -> Result<Tables, Error> {
    let head = read_exact(source, 0, SECTOR as usize, "the header of an seSparse extent")?;
    let field = |index: usize| le64(&head, index * 8).unwrap_or_default();
    check_constant(&head)?;
    check_volatile(source, field(10))?;
    let capacity = bytes_of(field(2)).filter(|capacity| *capacity > 0);
    let capacity =
        capacity.ok_or_else(|| corrupt("the capacity makes no sense").with("sectors", field(2)))?;
    let directory = area("the grain directory", field(16), field(17))?;
    let tables = area("the grain tables", field(18), field(19))?;
    let grains = area("the grains", field(24), field(25))?;
    let fixed = fixed(&field, tables, grains)?;
    let shape = Shape {
        entries: Entries::SeSparse { tables, grains },
        capacity,
        grain: GRAIN * SECTOR,
        table_entries: TABLE * SECTOR / 8,
        directory: directory.offset,
        fixed,
        compression: Compression::None,
    };
    let needed = capacity.div_ceil(shape.grain * shape.table_entries) * 8;
    if directory.length < needed {
        return Err(corrupt("the grain directory is too small for the disk")
            .with("length", directory.length)
            .with("needed", needed));
    }
    check_directory(needed)?;
    let all = [&shape.fixed[..], &[("the grain directory", directory)]].concat();
    check_apart("the area of the grain tables", tables, &all)?;
    check_apart("the area of the grains", grains, &[&all[..], &[("the grain tables", tables)]].concat())?;
    Tables::new(source, shape)
}

fn check_constant(head: &[u8]) -> Result<(), Error> {
    let field = |index: usize| le64(head, index * 8).unwrap_or_default();
    if field(0) != MAGIC {
        return Err(Error::new(ErrorKind::InvalidInput, "not an seSparse extent: the signature is missing"));
    }
    let unsupported = |what: &str, value: u64| {
        let message = format!("seSparse extents with {what} {value:#x} are not supported");
        Err(Error::new(ErrorKind::Unsupported, message))
    };
    let known =
        [("version", 1, VERSION), ("grains of", 3, GRAIN), ("grain tables of", 4, TABLE), ("flags", 5, 0)];
    for (what, index, value) in known {
        if field(index) != value {
            return unsupported(what, field(index));
        }
    }
    let reserved = (6..10).map(field).find(|value| *value != 0);
    match reserved.or(head.iter().skip(MEANT).find(|byte| **byte != 0).map(|byte| u64::from(*byte))) {
        Some(value) => unsupported("reserved bits", value),
        None => Ok(()),
    }
}

fn check_volatile<R: ReadAt>(source: &R, sector: u64) -> Result<(), Error> {
    let offset =
        bytes_of(sector).ok_or_else(|| corrupt("the place of the volatile header makes no sense"))?;
    let head = read_exact(source, offset, SECTOR as usize, "the volatile header")?;
    if le64(&head, 0) != Some(VOLATILE_MAGIC) {
        return Err(corrupt("the signature of the volatile header is missing"));
    }
    if le64(&head, 24) != Some(0) {
        let message = "the extent has a journal to replay, which is not supported: open it in ESXi once";
        return Err(Error::new(ErrorKind::Unsupported, message));
    }
    Ok(())
}

fn fixed(
    field: &impl Fn(usize) -> u64,
    tables: Area,
    grains: Area,
) -> Result<Vec<(&'static str, Area)>, Error> {
    let mut fixed = vec![("the header", Area { offset: 0, length: SECTOR })];
    let areas = [
        ("the volatile header", 10),
        ("the journal's header", 12),
        ("the journal", 14),
        ("the free bitmap", 20),
        ("the back map", 22),
    ];
    for (what, index) in areas {
        let area = area(what, field(index), field(index + 1))?;
        if area.length > 0 {
            check_apart(what, area, &fixed)?;
            fixed.push((what, area));
        }
    }
    for (what, area) in [("the grain tables", tables), ("the grains", grains)] {
        if area.length == 0 {
            return Err(corrupt(format!("there is no room for {what}")));
        }
    }
    Ok(fixed)
}

//! The unit of VMDK files.

/// Bytes in a sector, the unit of all offsets and lengths in VMDK files.
pub const SECTOR: u64 = 512;

/// Sectors of the file as bytes; `None` where there are no such files.
pub(crate) fn bytes_of(sectors: u64) -> Option<u64> {
    sectors.checked_mul(SECTOR).filter(|bytes| i64::try_from(*bytes).is_ok())
}

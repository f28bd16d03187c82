//! Footer and header as bytes.

use crate::footer::{self, Kind, checksum};
use crate::geometry::Geometry;
use crate::header;
use crate::identity::Identity;

const VERSION: u32 = 0x1_0000;
/// Bit 1 is reserved and always set.
const FEATURES: u32 = 2;
const CREATOR: &[u8; 4] = b"qem2";
const CREATOR_SYSTEM: &[u8; 4] = b"Wi2k";

/// `size` and `header_offset` are bytes. There is no clock: the time is the format's beginning, 2000-01-01.
pub(super) fn footer(kind: Kind, header_offset: u64, size: u64, geometry: Geometry, id: Identity) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(footer::LENGTH as usize);
    bytes.extend(footer::SIGNATURE);
    bytes.extend(FEATURES.to_be_bytes());
    bytes.extend(VERSION.to_be_bytes());
    bytes.extend(header_offset.to_be_bytes());
    bytes.extend([0; 4]);
    bytes.extend(CREATOR);
    bytes.extend(VERSION.to_be_bytes());
    bytes.extend(CREATOR_SYSTEM);
    bytes.extend(size.to_be_bytes());
    bytes.extend(size.to_be_bytes());
    bytes.extend(geometry.cylinders.to_be_bytes());
    bytes.extend([geometry.heads, geometry.sectors]);
    bytes.extend(kind.number().to_be_bytes());
    bytes.extend([0; 4]);
    bytes.extend(id.0);
    sealed(bytes, footer::LENGTH, footer::CHECKSUM_OFFSET)
}

/// The header of a dynamic image. `table_offset` and `block_size` are bytes.
pub(super) fn header(table_offset: u64, entries: u32, block_size: u32) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(header::LENGTH as usize);
    bytes.extend(header::SIGNATURE);
    bytes.extend(u64::MAX.to_be_bytes());
    bytes.extend(table_offset.to_be_bytes());
    bytes.extend(VERSION.to_be_bytes());
    bytes.extend(entries.to_be_bytes());
    bytes.extend(block_size.to_be_bytes());
    sealed(bytes, header::LENGTH, header::CHECKSUM_OFFSET)
}

/// Filled up with zeros, and with the checksum in its place.
fn sealed(mut bytes: Vec<u8>, length: u64, checksum_offset: usize) -> Vec<u8> {
    bytes.resize(length as usize, 0);
    let sum = checksum(&bytes, checksum_offset);
    if let Some(place) = bytes.get_mut(checksum_offset..checksum_offset + 4) {
        place.copy_from_slice(&sum.to_be_bytes());
    }
    bytes
}

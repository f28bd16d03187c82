//! Signature, headers, tables of regions and metadata as bytes.

use crate::crc32c;
use crate::guid::Guid;
use crate::metadata::{self, DISK_ID, DISK_SIZE, FILE_PARAMETERS, LOGICAL_SECTOR, PHYSICAL_SECTOR, REQUIRED};
use crate::region::{self, Range};
use crate::{MIB, header};

/// Metadata is about the disk, not the file.
const IS_DISK: u32 = 2;
const CREATOR: &str = "witvirt";
const LOGICAL: u32 = 512;
const PHYSICAL: u32 = 4096;

pub(super) fn signature() -> Vec<u8> {
    let mut bytes = header::SIGNATURE.to_vec();
    bytes.extend(CREATOR.encode_utf16().flat_map(u16::to_le_bytes));
    bytes.resize(520, 0);
    bytes
}

pub(super) fn header(sequence: u64, file_write_id: Guid, data_write_id: Guid, log: Range) -> Vec<u8> {
    let mut bytes = header::HEADER_SIGNATURE.to_vec();
    bytes.extend([0; 4]);
    bytes.extend(sequence.to_le_bytes());
    for guid in [file_write_id, data_write_id, Guid::ZERO] {
        bytes.extend(guid.0);
    }
    // Versions of the log and of the format.
    bytes.extend(0u16.to_le_bytes());
    bytes.extend(1u16.to_le_bytes());
    bytes.extend((log.length as u32).to_le_bytes());
    bytes.extend(log.offset.to_le_bytes());
    sealed(bytes, header::LENGTH)
}

pub(super) fn regions(bat: Range, metadata: Range) -> Vec<u8> {
    let mut bytes = region::SIGNATURE.to_vec();
    bytes.extend([0; 4]);
    bytes.extend(2u32.to_le_bytes());
    bytes.extend([0; 4]);
    for (guid, range) in [(region::BAT, bat), (region::METADATA, metadata)] {
        bytes.extend(guid.0);
        bytes.extend(range.offset.to_le_bytes());
        bytes.extend((range.length as u32).to_le_bytes());
        // Required.
        bytes.extend(1u32.to_le_bytes());
    }
    sealed(bytes, region::LENGTH)
}

/// What the metadata says; sizes in bytes.
pub(super) struct Metadata {
    pub block_size: u64,
    pub virtual_size: u64,
    pub disk_id: Guid,
}

pub(super) fn metadata(content: &Metadata) -> Vec<u8> {
    let mut parameters = (content.block_size as u32).to_le_bytes().to_vec();
    parameters.extend([0; 4]);
    let items = [
        (FILE_PARAMETERS, parameters, REQUIRED),
        (DISK_SIZE, content.virtual_size.to_le_bytes().to_vec(), REQUIRED | IS_DISK),
        (DISK_ID, content.disk_id.0.to_vec(), REQUIRED | IS_DISK),
        (LOGICAL_SECTOR, LOGICAL.to_le_bytes().to_vec(), REQUIRED | IS_DISK),
        (PHYSICAL_SECTOR, PHYSICAL.to_le_bytes().to_vec(), REQUIRED | IS_DISK),
    ];
    let mut table = metadata::SIGNATURE.to_vec();
    table.extend([0; 2]);
    table.extend((items.len() as u16).to_le_bytes());
    table.resize(metadata::ENTRY, 0);
    let mut values = Vec::new();
    for (guid, value, flags) in items {
        table.extend(guid.0);
        table.extend((metadata::TABLE as u32 + values.len() as u32).to_le_bytes());
        table.extend((value.len() as u32).to_le_bytes());
        table.extend(flags.to_le_bytes());
        table.extend([0; 4]);
        values.extend(value);
    }
    table.resize(metadata::TABLE as usize, 0);
    table.extend(values);
    debug_assert!((table.len() as u64) < MIB);
    table
}

/// Filled up with zeros, and with the checksum in its place.
fn sealed(mut bytes: Vec<u8>, length: u64) -> Vec<u8> {
    bytes.resize(length as usize, 0);
    let crc = crc32c::of_structure(&bytes);
    if let Some(place) = bytes.get_mut(4..8) {
        place.copy_from_slice(&crc.to_le_bytes());
    }
    bytes
}

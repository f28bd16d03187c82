//! Headers, markers and the descriptor of a new image.

use super::{AdapterType, DESCRIPTOR, DESCRIPTOR_SIZE, GRAIN, Subformat, TABLE_ENTRIES, Target};
use crate::sector::SECTOR;
use crate::sparse::hosted::{
    COMPRESSED, DIRECTORY_AT_END, MAGIC, MARKERS, NEWLINE_TEST, NEWLINES, REDUNDANT,
};

/// A header of one sector; the offset of the directory is in sectors.
pub(super) fn header(target: &Target, directory: u64) -> Vec<u8> {
    let stream = target.subformat == Subformat::StreamOptimized;
    let (version, flags, redundant) = match stream {
        true => (3u32, NEWLINE_TEST | COMPRESSED | MARKERS, 0),
        false => (1, NEWLINE_TEST | REDUNDANT, target.redundant()),
    };
    let mut bytes = MAGIC.to_vec();
    bytes.extend(version.to_le_bytes());
    bytes.extend(flags.to_le_bytes());
    for number in [target.virtual_size / SECTOR, GRAIN, DESCRIPTOR, DESCRIPTOR_SIZE] {
        bytes.extend(number.to_le_bytes());
    }
    bytes.extend((TABLE_ENTRIES as u32).to_le_bytes());
    for number in [redundant, directory, target.overhead()] {
        bytes.extend(number.to_le_bytes());
    }
    bytes.push(0);
    bytes.extend(NEWLINES);
    bytes.extend(u16::from(stream).to_le_bytes());
    bytes.resize(SECTOR as usize, 0);
    bytes
}

/// The first sector of the file, and the descriptor behind it.
pub(super) fn front(target: &Target, cid: u32) -> Vec<u8> {
    let directory = match target.subformat {
        Subformat::MonolithicSparse => target.primary(),
        Subformat::StreamOptimized => DIRECTORY_AT_END,
    };
    let mut bytes = header(target, directory);
    bytes.extend(descriptor(target, cid).into_bytes());
    bytes.resize(((DESCRIPTOR + DESCRIPTOR_SIZE) * SECTOR) as usize, 0);
    bytes
}

/// A marker of metadata: how many sectors of which type follow.
pub(super) fn marker(sectors: u64, kind: u32) -> Vec<u8> {
    let mut bytes = sectors.to_le_bytes().to_vec();
    bytes.extend(0u32.to_le_bytes());
    bytes.extend(kind.to_le_bytes());
    bytes.resize(SECTOR as usize, 0);
    bytes
}

/// The descriptor. The extent's name is that of no file: readers take the file that the descriptor is in.
fn descriptor(target: &Target, cid: u32) -> String {
    let sectors = target.virtual_size / SECTOR;
    let (create_type, access) = match target.subformat {
        Subformat::MonolithicSparse => ("monolithicSparse", "RW"),
        Subformat::StreamOptimized => ("streamOptimized", "RDONLY"),
    };
    let (adapter, heads, per_track, most) = match target.adapter_type {
        AdapterType::Ide => ("ide", 16, 63, 16383),
        AdapterType::Buslogic => ("buslogic", 255, 63, 65535),
        AdapterType::Lsilogic => ("lsilogic", 255, 63, 65535),
    };
    let cylinders = (sectors / (heads * per_track)).clamp(1, most);
    format!(
        "# Disk DescriptorFile\nversion=1\nCID={cid:08x}\nparentCID=ffffffff\ncreateType=\"{create_type}\"\n\n\
         # Extent description\n{access} {sectors} SPARSE \"disk.vmdk\"\n\n\
         # The Disk Data Base\n#DDB\n\nddb.virtualHWVersion = \"{}\"\nddb.geometry.cylinders = \"{cylinders}\"\n\
         ddb.geometry.heads = \"{heads}\"\nddb.geometry.sectors = \"{per_track}\"\nddb.adapterType = \"{adapter}\"\n",
        target.hardware_version
    )
}

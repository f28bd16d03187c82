//! Volume descriptors.

use super::{SECTOR, both16, both32};

/// What both descriptors say of their tree.
pub(super) struct Volume {
    /// Of all.
    pub sectors: u32,
    /// The root's directory record.
    pub root: Vec<u8>,
    /// Bytes of a path table.
    pub table_size: usize,
    /// Sectors of the path tables in little and big endian.
    pub tables: (u32, u32),
}

/// A date that is not given.
const NO_DATE: [u8; 17] = *b"0000000000000000\0";

/// The first descriptor, in ASCII.
pub(super) fn primary(label: &str, volume: &Volume) -> Vec<u8> {
    descriptor(1, [0; 32], label.as_bytes(), &|text| text.as_bytes().to_vec(), volume)
}

/// The second one, in UTF-16 of level 3. Of the label it has room for 16 characters.
pub(super) fn joliet(label: &str, volume: &Volume) -> Vec<u8> {
    let mut escape = [0; 32];
    escape[..3].copy_from_slice(b"%/E");
    let wide = |text: &str| text.encode_utf16().flat_map(u16::to_be_bytes).collect::<Vec<u8>>();
    descriptor(2, escape, &wide(&label[..label.len().min(16)]), &wide, volume)
}

/// The end of the list.
pub(super) fn end() -> Vec<u8> {
    vec![255, b'C', b'D', b'0', b'0', b'1', 1]
}

fn descriptor(
    kind: u8,
    escape: [u8; 32],
    label: &[u8],
    encode: &dyn Fn(&str) -> Vec<u8>,
    volume: &Volume,
) -> Vec<u8> {
    let blank = encode(" ");
    let text = |text: &[u8], room: usize| {
        let mut field: Vec<u8> =
            text.iter().copied().chain(blank.iter().copied().cycle()).take(room).collect();
        // An odd field of UTF-16 ends in half a character.
        if !room.is_multiple_of(blank.len()) {
            field[room - 1] = 0;
        }
        field
    };
    let mut bytes = Vec::with_capacity(SECTOR);
    bytes.push(kind);
    bytes.extend_from_slice(b"CD001\x01\x00");
    bytes.extend(text(&[], 32));
    bytes.extend(text(label, 32));
    bytes.extend_from_slice(&[0; 8]);
    bytes.extend_from_slice(&both32(volume.sectors));
    bytes.extend_from_slice(&escape);
    bytes.extend_from_slice(&both16(1));
    bytes.extend_from_slice(&both16(1));
    bytes.extend_from_slice(&both16(SECTOR as u16));
    bytes.extend_from_slice(&both32(volume.table_size as u32));
    bytes.extend_from_slice(&volume.tables.0.to_le_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&volume.tables.1.to_be_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&volume.root);
    // Set, publisher, preparer, application; then copyright, abstract and bibliographic files.
    for room in [128, 128, 128] {
        bytes.extend(text(&[], room));
    }
    bytes.extend(text(&encode("WITVIRT"), 128));
    for room in [37, 37, 37] {
        bytes.extend(text(&[], room));
    }
    for _created_modified_expires_effective in 0..4 {
        bytes.extend_from_slice(&NO_DATE);
    }
    bytes.extend_from_slice(&[1, 0]);
    bytes.resize(SECTOR, 0);
    bytes
}

//! System use entries: SUSP's own and Rock Ridge's.

use super::{SECTOR, both32};

const DIRECTORY: u32 = 0o040_555;
const FILE: u32 = 0o100_444;

/// An entry: signature, length, version 1, and what it says.
fn entry(signature: [u8; 2], content: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(4 + content.len());
    bytes.extend_from_slice(&signature);
    bytes.extend_from_slice(&[(4 + content.len()) as u8, 1]);
    bytes.extend_from_slice(content);
    bytes
}

/// Says in the root's first record that there are such entries.
pub(super) fn indicator() -> Vec<u8> {
    entry(*b"SP", &[0xbe, 0xef, 0])
}

/// Kind, rights, links; user and group are root.
pub(super) fn attributes(directory: bool, links: u32) -> Vec<u8> {
    let mode = if directory { DIRECTORY } else { FILE };
    entry(*b"PX", &[both32(mode), both32(links), both32(0), both32(0)].concat())
}

/// The real name.
pub(super) fn name(name: &str) -> Vec<u8> {
    entry(*b"NM", &[&[0], name.as_bytes()].concat())
}

/// The entries go on in a sector of their own.
pub(super) fn continued(sector: u32) -> Vec<u8> {
    let length = extension_reference().len() as u32;
    entry(*b"CE", &[both32(sector), both32(0), both32(length)].concat())
}

/// Which extension it is: for that sector.
pub(super) fn extension_reference() -> Vec<u8> {
    const IDENTIFIER: &[u8] = b"RRIP_1991A";
    const DESCRIPTION: &[u8] =
        b"THE ROCK RIDGE INTERCHANGE PROTOCOL PROVIDES SUPPORT FOR POSIX FILE SYSTEM SEMANTICS";
    const SOURCE: &[u8] = b"PLEASE CONTACT DISC PUBLISHER FOR SPECIFICATION SOURCE.  \
        SEE PUBLISHER IDENTIFIER IN PRIMARY VOLUME DESCRIPTOR FOR CONTACT INFORMATION.";
    let lengths = [IDENTIFIER.len() as u8, DESCRIPTION.len() as u8, SOURCE.len() as u8, 1];
    let bytes = entry(*b"ER", &[&lengths, IDENTIFIER, DESCRIPTION, SOURCE].concat());
    debug_assert!(bytes.len() < SECTOR);
    bytes
}

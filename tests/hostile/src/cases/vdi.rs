//! VDI: one map of blocks.

use witvirt_disk::ErrorKind::{Corrupt, InvalidInput, NotFound, Unsupported};

use super::{Row, patched, table};
use crate::bytes::Bytes;
use crate::case::{Case, Content, Entry};

/// 2 MiB in two blocks of 1 MiB, the first stored at 1 MiB.
pub fn image() -> Vec<u8> {
    Bytes::new(2 << 20)
        .put(0, b"<<< Oracle VM VirtualBox Disk Image >>>\n")
        .le32(64, 0xbeda_107f)
        .le32(68, 0x1_0001)
        .le32(72, 0x190)
        .le32(76, 1)
        .le32(340, 512)
        .le32(344, 1 << 20)
        .le32(360, 512)
        .le64(368, 2 << 20)
        .le32(376, 1 << 20)
        .le32(384, 2)
        .le32(388, 1)
        .put(392, &[1; 16])
        .le32(516, u32::MAX)
        .put(1 << 20, &[7; 1 << 20])
        .into()
}

pub fn cases() -> Vec<Case> {
    let rows: Vec<Row> = vec![
        ("signature", vec![(64, &[0])], InvalidInput, "signature"),
        ("version-2", vec![(70, &[2])], Unsupported, "version 2.1"),
        ("header-length", vec![(72, &[0, 0])], Corrupt, "header's length"),
        ("undo", vec![(76, &[3])], Unsupported, "undo image"),
        ("differs-from-nothing", vec![(76, &[4])], Corrupt, "does not say what it differs from"),
        ("sector-4096", vec![(360, &[0, 16])], Unsupported, "sectors of 4096 bytes"),
        ("map-on-header", vec![(340, &[0; 4])], Corrupt, "overlaps the header"),
        ("map-far", vec![(340, &[0, 0xfe, 0xff, 0xff])], Corrupt, "map of blocks lies past the end"),
        ("data-on-map", vec![(344, &[0; 4])], Corrupt, "data begins inside the map"),
        ("block-0", vec![(376, &[0; 4])], Corrupt, "no power of two"),
        ("size-2-62", vec![(368, &[0, 0, 0, 0, 0, 0, 0, 0x40])], Corrupt, "fewer blocks than the disk needs"),
        ("size-2-64", vec![(368, &[0xff; 8])], Corrupt, "fewer blocks than the disk needs"),
        ("blocks-2-32", vec![(384, &[0xff; 4])], Corrupt, "map of blocks lies past the end"),
        ("block-far", vec![(512, &[0xfd, 0xff, 0xff, 0xff])], Corrupt, "a block lies past the end"),
        ("prefix-2-32", vec![(380, &[0xff; 4])], Corrupt, "a block lies past the end"),
    ];
    let mut cases = table("vdi", "vdi", &image(), &rows);
    // Identity at 392, of the last change at 408, of the parent at 424.
    let orphan = patched(&image(), &[(76, &[4]), (424, &[9; 16])]);
    let itself = patched(&image(), &[(76, &[4]), (424, &[1; 16])]);
    let twice = patched(&image(), &[(516, &[0; 4])]);
    cases.extend([
        Case::new("vdi-orphan.vdi", "vdi", orphan.clone()).refused([NotFound], "none of the 0 other files"),
        Case::new("vdi-parent-of-itself.vdi", "vdi", itself).refused([NotFound], "none of the 0 other files"),
        // Not one of these is the parent, and none of them is opened twice to find that out.
        (0..1100).fold(
            Case::new("vdi-1100-beside.vdi", "vdi", orphan)
                .refused([witvirt_disk::ErrorKind::Limit], "1000 files"),
            |case, index| case.with(&format!("beside-{index}"), Entry::bytes([])),
        ),
        Case::new("vdi-block-twice.vdi", "vdi", twice).confined(Content::Bytes(vec![7; 2 << 20])),
    ]);
    cases
}

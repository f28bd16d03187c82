//! QED: an early sketch of qcow2, with two levels of tables.

use witvirt_disk::ErrorKind::{Corrupt, InvalidInput, Unsupported};

use super::{Row, patched, table};
use crate::bytes::Bytes;
use crate::case::{Case, Place};

/// Clusters of 64 KiB: header, L1 table at 64 KiB (one cluster), L2 table at 128 KiB, one data cluster at 192 KiB.
pub fn image() -> Vec<u8> {
    Bytes::new(4 << 16)
        .put(0, b"QED\0")
        .le32(4, 1 << 16)
        .le32(8, 1)
        .le32(12, 1)
        .le64(40, 1 << 16)
        .le64(48, 1 << 20)
        .le64(1 << 16, 2 << 16)
        .le64(2 << 16, 3 << 16)
        .put(3 << 16, &[7; 512])
        .into()
}

fn backed(name: &str) -> Vec<u8> {
    // Feature bits: there is a backing file, and it is not to be probed.
    patched(
        &image(),
        &[
            (16, &[5]),
            (56, &64u32.to_le_bytes()),
            (60, &(name.len() as u32).to_le_bytes()),
            (64, name.as_bytes()),
        ],
    )
}

pub fn cases(place: &Place) -> Vec<Case> {
    let rows: Vec<Row> = vec![
        ("signature", vec![(0, b"QEE")], InvalidInput, "signature"),
        ("cluster-2-31", vec![(4, &[0, 0, 0, 0x80])], Corrupt, "cluster size"),
        ("table-0", vec![(8, &[0; 4])], Corrupt, "table size"),
        ("header-2-32", vec![(12, &[0xff; 4])], Corrupt, "regular cluster"),
        ("feature-63", vec![(23, &[0x80])], Unsupported, "feature bit 63"),
        ("l1-far", vec![(40, &[0, 0, 0, 0, 0, 0, 4, 0])], Corrupt, "L1 table lies past the end"),
        (
            "size-2-64",
            vec![(48, &[0, 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff])],
            Corrupt,
            "larger than its tables",
        ),
        ("l1-names-itself", vec![(1 << 16, &[0, 0, 1])], Corrupt, "overlaps the L1 table"),
        ("l2-past-end", vec![(2 << 16, &[0, 0, 0xff])], Corrupt, "past the end"),
        ("l2-unaligned", vec![(2 << 16, &[0, 2, 3])], Corrupt, "not at a cluster"),
    ];
    let mut cases = table("qed", "qed", &image(), &rows);
    let named = |name: &str, of: &str| Case::new(&format!("qed-{name}.qed"), "qed", backed(of));
    cases.extend([
        named("backing-absolute", &place.canary()).denied("outside the allowed directories"),
        named("backing-nbd", "nbd:127.0.0.1:1").denied("names a protocol"),
        named("backing-control", "a\nb").corrupt("control characters"),
    ]);
    cases
}

use super::{COMPRESSED, COPIED, Cluster, Fault, Shape, l1_entry, l2_entry};

const PLAIN: Shape = Shape { cluster_bits: 16, extended: false, version: 3, data_file: false };
const EXTENDED: Shape = Shape { extended: true, ..PLAIN };
const EXTERNAL: Shape = Shape { data_file: true, ..PLAIN };
const V2: Shape = Shape { version: 2, ..PLAIN };

#[test]
fn l1_entries() {
    assert_eq!(l1_entry(0, PLAIN), Ok(None));
    assert_eq!(l1_entry(COPIED | 0x40000, PLAIN), Ok(Some(0x40000)));
    assert_eq!(l1_entry(0x40000, PLAIN), Ok(Some(0x40000)));
    assert_eq!(l1_entry(0x40200, PLAIN), Err(Fault::Unaligned));
    assert_eq!(l1_entry(0x40001, PLAIN), Err(Fault::Reserved));
    assert_eq!(l1_entry(1 << 62 | 0x40000, PLAIN), Err(Fault::Reserved));
    assert_eq!(l1_entry(1 << 56, PLAIN), Err(Fault::Reserved));
}

#[test]
fn standard_entries() {
    assert_eq!(l2_entry(0, 0, PLAIN), Ok(Cluster::Unallocated));
    assert_eq!(l2_entry(COPIED, 0, PLAIN), Ok(Cluster::Unallocated));
    assert_eq!(l2_entry(COPIED | 0x50000, 0, PLAIN), Ok(Cluster::Data(0x50000)));
    assert_eq!(l2_entry(1, 0, PLAIN), Ok(Cluster::Zero(None)));
    assert_eq!(l2_entry(COPIED | 0x50001, 0, PLAIN), Ok(Cluster::Zero(Some(0x50000))));
    assert_eq!(l2_entry(0x50200, 0, PLAIN), Err(Fault::Unaligned));
    for bit in (1..9).chain(56..62) {
        assert_eq!(l2_entry(0x50000 | 1 << bit, 0, PLAIN), Err(Fault::Reserved), "bit {bit}");
    }
    assert_eq!(l2_entry(1, 0, V2), Err(Fault::ZeroInVersion2));
    assert_eq!(l2_entry(0x50000, 0, V2), Ok(Cluster::Data(0x50000)));
}

#[test]
fn external_data_starts_at_zero() {
    assert_eq!(l2_entry(COPIED, 0, EXTERNAL), Ok(Cluster::Data(0)));
    assert_eq!(l2_entry(0, 0, EXTERNAL), Ok(Cluster::Unallocated));
    assert_eq!(l2_entry(COMPRESSED | 0x50000, 0, EXTERNAL), Err(Fault::CompressedWithDataFile));
}

#[test]
fn compressed_entries_for_each_cluster_size() {
    for cluster_bits in 9..=21 {
        let shape = Shape { cluster_bits, ..PLAIN };
        let shift = 62 - (cluster_bits - 8);
        let most = (1 << (cluster_bits - 8)) - 1;
        let raw = COMPRESSED | most << shift | 0x50123;
        let length = (most + 1) * 512 - 0x123;
        assert_eq!(
            l2_entry(raw, 0, shape),
            Ok(Cluster::Compressed { offset: 0x50123, length }),
            "{cluster_bits}"
        );
        let raw = COMPRESSED | 0x50200;
        assert_eq!(l2_entry(raw, 0, shape), Ok(Cluster::Compressed { offset: 0x50200, length: 512 }));
    }
}

#[test]
fn subclusters() {
    let host = COPIED | 0x50000;
    let zeros = |bits: u32| u64::from(bits) << 32;
    assert_eq!(l2_entry(0, 0, EXTENDED), Ok(Cluster::Unallocated));
    assert_eq!(l2_entry(host, u64::from(u32::MAX), EXTENDED), Ok(Cluster::Data(0x50000)));
    assert_eq!(l2_entry(0, zeros(u32::MAX), EXTENDED), Ok(Cluster::Zero(None)));
    assert_eq!(l2_entry(host, zeros(u32::MAX), EXTENDED), Ok(Cluster::Zero(Some(0x50000))));
    let mixed = l2_entry(host, zeros(0xf0) | 0x0f, EXTENDED);
    assert_eq!(mixed, Ok(Cluster::Split { host: Some(0x50000), data: 0x0f, zero: 0xf0 }));
    assert_eq!(l2_entry(host, 0, EXTENDED), Ok(Cluster::Split { host: Some(0x50000), data: 0, zero: 0 }));
    assert_eq!(l2_entry(host, zeros(1) | 1, EXTENDED), Err(Fault::BitmapContradiction));
    assert_eq!(l2_entry(0, 1, EXTENDED), Err(Fault::BitmapContradiction));
    assert_eq!(l2_entry(host | 1, 0, EXTENDED), Err(Fault::Reserved), "the zero flag is in the bitmap");
    assert_eq!(l2_entry(COMPRESSED | 0x50000, 1, EXTENDED), Err(Fault::BitmapOfCompressed));
}

use std::collections::BTreeMap;

use proptest::prelude::*;
use witvirt_core::extent::{Encoded, Extent, ExtentKind, Page};

use super::{Validator, Violation};
use crate::limits::Limits;

const DISK: u64 = 1 << 20;
const FILE: u64 = 300_000;

fn validator(has_backing: bool) -> Validator {
    Validator::new("lying", "6.6.6", DISK, BTreeMap::from([(0, FILE), (3, 4096)]), has_backing)
}

fn extent(start: u64, length: u64, kind: ExtentKind) -> Extent {
    Extent { start, length, kind }
}

fn data(start: u64, length: u64, source: u32, offset: u64) -> Extent {
    extent(start, length, ExtentKind::Data { source, offset })
}

fn encoded(start: u64, length: u64, change: impl FnOnce(&mut Encoded)) -> Extent {
    let codec = "zlib".to_owned();
    let mut encoded = Encoded { codec, source: 0, offset: 0, length: 100, decoded_length: 65536, skip: 0 };
    change(&mut encoded);
    extent(start, length, ExtentKind::Encoded(encoded))
}

fn check(extents: Vec<Extent>, next: Option<u64>) -> Result<(), Violation> {
    validator(false).check(0, DISK, 8, &Page { extents, next })
}

#[test]
fn accepts_what_the_contract_allows() {
    check(vec![extent(0, DISK, ExtentKind::Zero)], None).unwrap();
    let whole = FILE - FILE % 512;
    check(vec![data(0, whole, 0, 0), extent(whole, DISK - whole, ExtentKind::Unallocated)], None).unwrap();
    check(vec![data(0, 4096, 3, 0), extent(4096, 512, ExtentKind::Literal(vec![1; 512]))], Some(4608))
        .unwrap();
    check(vec![encoded(0, 65536, |_| ()), encoded(65536, 512, |run| run.skip = 65024)], Some(66048)).unwrap();
    let slack = |run: &mut Encoded| (run.offset, run.length) = (FILE - 1, 512);
    check(vec![encoded(0, 65536, slack)], Some(65536)).unwrap();
    let page = Page { extents: vec![extent(0, DISK, ExtentKind::Parent)], next: None };
    validator(true).check(0, DISK, 8, &page).unwrap();
    // A file that ends inside its last sector.
    let last = [extent(0, DISK - 100, ExtentKind::Zero), extent(DISK - 100, 100, ExtentKind::Unallocated)];
    check(last.to_vec(), None).unwrap();
    let page = Page { extents: vec![extent(DISK - 512, 512, ExtentKind::Zero)], next: None };
    validator(false).check(DISK - 512, u64::MAX, 8, &page).unwrap();
}

#[test]
fn names_each_lie_and_the_liar() {
    let zero = |start, length| extent(start, length, ExtentKind::Zero);
    for (extents, next, offset, word) in [
        (vec![], None, 0, "empty"),
        (vec![zero(0, 1); 9], None, 0, "at most 8"),
        (vec![zero(512, 512)], Some(1024), 0, "starts at 512"),
        (vec![zero(0, 512), zero(1024, 512)], None, 512, "starts at 1024"),
        (vec![zero(0, 512), zero(0, 512)], None, 512, "starts at 0"),
        (vec![zero(0, 0)], Some(0), 0, "length 0"),
        (vec![zero(0, DISK + 1)], None, 0, "past the end"),
        (vec![zero(0, u64::MAX)], None, 0, "past the end"),
        (vec![zero(0, 512)], None, 512, "ends here"),
        (vec![zero(0, 512)], Some(0), 512, "said to start at 0"),
        (vec![zero(0, 512)], Some(1024), 512, "said to start at 1024"),
        (vec![zero(0, DISK)], Some(DISK), DISK, "past the end"),
        (vec![data(0, 512, 1, 0)], Some(512), 0, "source 1"),
        (vec![data(0, 512, 0, FILE - 511)], Some(512), 0, "ends at 300000"),
        (vec![data(0, 512, 0, u64::MAX)], Some(512), 0, "512 bytes at 18446744073709551615"),
        (vec![extent(0, 512, ExtentKind::Literal(vec![1]))], Some(512), 0, "literal"),
        (vec![zero(0, 511)], Some(511), 0, "inside a sector"),
        (vec![zero(0, DISK - 513), zero(DISK - 513, 513)], None, 0, "inside a sector"),
        (vec![zero(0, 512), zero(512, 513)], Some(1025), 512, "inside a sector"),
        (vec![extent(0, 66048, ExtentKind::Literal(vec![1; 66048]))], Some(66048), 0, "more than 65536"),
        (vec![extent(0, 512, ExtentKind::Parent)], Some(512), 0, "there is none"),
        (vec![encoded(0, 65536, |run| run.skip = 1)], Some(65536), 0, "decodes to 65536"),
        (vec![encoded(0, 512, |run| run.skip = u32::MAX)], Some(512), 0, "decodes to 65536"),
        (vec![encoded(0, 512, |run| run.length = 0)], Some(512), 0, "0 bytes"),
        (vec![encoded(0, 512, |run| run.length = u64::MAX)], Some(512), 0, "are possible"),
        (vec![encoded(0, 512, |run| run.decoded_length = u32::MAX)], Some(512), 0, "more than 67108864"),
        (vec![encoded(0, 512, |run| run.offset = FILE)], Some(512), 0, "ends at 300000"),
        (
            vec![encoded(0, 512, |run| (run.offset, run.length) = (FILE - 1, 513))],
            Some(512),
            0,
            "ends at 300000",
        ),
        (vec![encoded(0, 512, |run| run.length = 3 * 65536 + 1)], Some(512), 0, "that decodes to 65536"),
        (vec![encoded(0, 512, |run| run.source = 9)], Some(512), 0, "source 9"),
    ] {
        let shown = format!("{extents:?}");
        let violation = check(extents, next).expect_err(&shown);
        assert_eq!(violation.offset, offset, "{shown}: {violation}");
        let message = violation.to_string();
        assert!(message.contains(word) && message.contains("lying 6.6.6"), "{shown}: {message}");
    }
}

#[test]
fn keeps_totals_over_pages() {
    let limits = Limits { max_extents: 3, max_data: 1200, ..Limits::default() };
    let page = |at: u64| Page { extents: vec![data(at, 512, 0, 0)], next: Some(at + 512) };
    let mut validator = validator(false).with_limits(&limits);
    validator.check(0, DISK, 8, &page(0)).unwrap();
    validator.check(512, DISK, 8, &page(512)).unwrap();
    let violation = validator.check(1024, DISK, 8, &page(1024)).unwrap_err();
    assert!(violation.what.contains("1200 bytes of data"), "{violation}");
    validator.restart();
    validator.check(0, DISK, 8, &page(0)).unwrap();

    let zeros =
        Page { extents: (0..4).map(|n| extent(n * 512, 512, ExtentKind::Zero)).collect(), next: Some(2048) };
    validator.restart();
    assert!(validator.check(0, DISK, 8, &zeros).unwrap_err().what.contains("more than 3 extents"));
}

#[test]
fn refuses_maps_that_decode_without_end() {
    let mut validator = validator(false);
    let runs = (0..100).map(|n| encoded(n * 512, 512, |run| (run.offset, run.decoded_length) = (n, 1 << 20)));
    let page = Page { extents: runs.collect(), next: Some(51_200) };
    let violation = validator.check(0, DISK, 200, &page).unwrap_err();
    assert!(violation.what.contains("to decode"), "{violation}");
}

#[test]
fn refuses_maps_that_read_without_end() {
    let disk = 8 * DISK;
    let mut validator = Validator::new("greedy", "1.0.0", disk, BTreeMap::from([(0, FILE)]), false);
    let mut run = |n: u64| {
        let run = encoded(n * 512, 512, |run| {
            (run.offset, run.length, run.decoded_length) = (n, 66_560, 512);
        });
        validator.check(n * 512, 512, 1, &Page { extents: vec![run], next: None })
    };
    let violation =
        (0..disk / 512).find_map(|n| run(n).err()).expect("130 bytes are read for each byte of the disk");
    assert!(violation.what.contains("encoded bytes"), "{violation}");
}

fn any_kind() -> impl Strategy<Value = ExtentKind> {
    let number = prop_oneof![0..5u64, 0..2 * FILE, any::<u64>()];
    prop_oneof![
        Just(ExtentKind::Zero),
        Just(ExtentKind::Parent),
        Just(ExtentKind::Unallocated),
        (0..4u32, number.clone()).prop_map(|(source, offset)| ExtentKind::Data { source, offset }),
        (0..4u32, number.clone(), number, any::<u32>(), any::<u32>()).prop_map(
            |(source, offset, length, decoded_length, skip)| ExtentKind::Encoded(Encoded {
                codec: "zstd".into(),
                source,
                offset,
                length,
                decoded_length,
                skip,
            })
        ),
        prop_oneof![Just(512), Just(1024), 0..600usize]
            .prop_map(|length| ExtentKind::Literal(vec![7; length])),
    ]
}

proptest! {
    /// Whatever passes can be acted on without another check: that is what the movers rely on.
    #[test]
    fn whatever_passes_is_safe(
        start in prop_oneof![(0..DISK / 512).prop_map(|sector| sector * 512), 0..DISK],
        length in 1..2 * DISK,
        lengths in proptest::collection::vec((prop_oneof![Just(512u64), Just(1024), 1..700u64, any::<u64>()], any_kind()), 0..6),
        finish in any::<bool>(),
        shift in prop_oneof![4 => Just(0u64), 1 => 0..3u64],
    ) {
        let mut at = start;
        let mut extents = Vec::new();
        for (length, kind) in lengths {
            let length = if let ExtentKind::Literal(bytes) = &kind { bytes.len() as u64 } else { length };
            extents.push(extent(at.saturating_add(shift), length, kind));
            at = at.saturating_add(length);
        }
        let page = Page { extents, next: (!finish).then_some(at) };
        if validator(true).check(start, length, 5, &page).is_ok() {
            let mut at = start;
            for extent in &page.extents {
                prop_assert_eq!(extent.start, at);
                prop_assert!(extent.length > 0);
                at += extent.length;
                match &extent.kind {
                    ExtentKind::Data { source, offset } => {
                        let size = if *source == 0 { FILE } else { 4096 };
                        prop_assert!(*source == 0 || *source == 3);
                        prop_assert!(offset + extent.length <= size);
                    }
                    ExtentKind::Encoded(run) => {
                        let size = if run.source == 0 { FILE } else { 4096 };
                        prop_assert!(run.offset < size && run.offset + run.length < size + 512);
                        prop_assert!(u64::from(run.skip) + extent.length <= u64::from(run.decoded_length));
                        prop_assert!(run.decoded_length <= 64 << 20);
                    }
                    ExtentKind::Literal(bytes) => prop_assert_eq!(bytes.len() as u64, extent.length),
                    _ => {}
                }
            }
            prop_assert!(at <= DISK.min(start + length));
            prop_assert!(page.extents.len() <= 5);
            prop_assert_eq!(page.next.is_none(), at == DISK.min(start + length));
        }
    }
}

//! Images that qemu-img writes, and images made by hand.

use format_vhdx::guid::Guid;
use format_vhdx::image::Image;
use witvirt_sdk::core::extent::{Extent, ExtentKind};
use witvirt_sdk::disk::ImageReader;
use witvirt_testkit::{have_qemu, islands, map};

use crate::Scratch;
use crate::build::{LOG, MIB, Made, log_entry};

const SIZE: usize = (21 << 20) + 3 * 512;

#[test]
fn what_qemu_img_writes() {
    if !have_qemu() {
        return;
    }
    let scratch = Scratch::new();
    let content = islands(SIZE);
    scratch.write("disk.raw", &content);
    for options in [
        "subformat=dynamic",
        "subformat=fixed",
        "block_size=1M",
        "block_size=8M",
        "block_size=256M",
        "block_state_zero=off",
        "log_size=4M",
    ] {
        scratch.qemu_img(&format!("convert -f raw -O vhdx -o {options} disk.raw disk.vhdx"));
        let mut disk = scratch.open("disk.vhdx").unwrap();
        assert_eq!(disk.size(), SIZE as u64, "{options}");
        assert!(disk.content().unwrap() == content, "{options}");
        assert_eq!(disk.image.check().unwrap(), [], "{options}");
    }
}

#[test]
fn contiguous_blocks_are_one_extent() {
    let mut made = Made::new();
    made.entries = vec![(0, 5 * MIB + 6), (1, 6 * MIB + 6), (2, 4 * MIB + 6), (3, 2), (4, 3), (5, 1), (6, 5)];
    let map = map(&mut Image::open(made.build()).unwrap(), 10).unwrap();
    let at = |start: u64, length: u64, kind| Extent { start: start * MIB, length: length * MIB, kind };
    assert_eq!(
        map,
        [
            at(0, 2, ExtentKind::Data { source: 0, offset: 5 * MIB }),
            at(2, 1, ExtentKind::Data { source: 0, offset: 4 * MIB }),
            at(3, 4, ExtentKind::Zero),
            at(7, 1, ExtentKind::Unallocated),
        ]
    );
}

#[test]
fn both_sector_sizes() {
    let mut made = Made::new();
    made.sector = 4096;
    let image = Image::open(made.build()).unwrap();
    assert_eq!(image.geometry().logical_sector, 4096);
    made.size += 512;
    let error = Image::open(made.build()).map(drop).unwrap_err();
    assert!(error.message.contains("number of sectors"), "{error:?}");
}

#[test]
fn the_newer_header_counts() {
    let mut made = Made::new();
    let mut file = made.build();
    made.data_write_id = Guid([0xaa; 16]);
    let newer = made.build();
    let id = |file: &[u8]| {
        let image = Image::open(file.to_vec()).map_err(|error| error.message)?;
        let facts = image.facts();
        Ok::<_, String>(facts.into_iter().find(|(name, _)| name == "id").unwrap().1[..8].to_owned())
    };
    // Two is the newer one.
    file[131_072..131_072 + 4096].copy_from_slice(&newer[131_072..131_072 + 4096]);
    assert_eq!(id(&file).unwrap(), "aaaaaaaa");
    let mut broken = file.clone();
    broken[131_072 + 100] = 1;
    assert_eq!(id(&broken).unwrap(), "02020202", "the other one where it is not sound");
    assert_eq!(Image::open(broken.clone()).unwrap().check().unwrap()[0].code, "lost-copy");
    broken[65536 + 100] = 1;
    assert!(id(&broken).unwrap_err().contains("neither header"));
    // Two with one number have to be equal.
    file[131_072..131_072 + 4096].copy_from_slice(&newer[65536..65536 + 4096]);
    assert!(id(&file).unwrap_err().contains("same sequence number"));
    // The second table of regions stands in for the first.
    let mut file = made.build();
    file[3 << 16] = 0;
    let findings = Image::open(file.clone()).unwrap().check().unwrap();
    assert_eq!((findings[0].code.as_str(), findings[0].offset), ("lost-copy", Some(3 << 16)));
    file[4 << 16] = 0;
    assert!(id(&file).unwrap_err().contains("neither table"));
}

#[test]
fn a_log_over_tables_and_payload() {
    let id = Guid([9; 16]);
    let mut made = Made::new();
    made.log = Some(id);
    made.entries = vec![(0, 5 * MIB + 6)];
    made.patches = vec![(5 * MIB, vec![1; 2 * MIB as usize])];
    // The log places the first and the second block anew: its bytes are the entry's, repeated.
    let entry = log_entry(id, &[(5 * MIB + 8192, 7)], 8 * MIB);
    made.patches.push((LOG, entry));
    let file = made.build();
    let before = file.clone();
    let mut image = Image::open(file.clone()).unwrap();
    let map = map(&mut image, 3).unwrap();
    let literal = Extent { start: 8192, length: 4096, kind: ExtentKind::Literal(vec![7; 4096]) };
    assert_eq!(map[1], literal);
    assert_eq!(map[0].kind, ExtentKind::Data { source: 0, offset: 5 * MIB });
    assert_eq!(
        (map[2].start, &map[2].kind),
        (12288, &ExtentKind::Data { source: 0, offset: 5 * MIB + 12288 })
    );
    assert_eq!(map[3].kind, ExtentKind::Unallocated);
    assert!(file == before, "the source is never written to");
    let findings = image.check().unwrap();
    assert_eq!((findings[0].code.as_str(), findings[0].severity), ("log", 2));
    // A part of a page.
    let page = image.extents(9000, 100, 5).unwrap();
    assert_eq!(page.extents, [Extent { start: 9000, length: 100, kind: ExtentKind::Literal(vec![7; 100]) }]);
    // As many as a log of 1 MiB holds, and a page of the table.
    let pages: Vec<(u64, u8)> =
        (0..240).map(|page| (5 * MIB + page * 4096, 9)).chain([(BAT_TAIL, 0x46)]).collect();
    made.patches[1].1 = log_entry(id, &pages, 8 * MIB);
    let mut image = Image::open(made.build()).unwrap();
    let map = witvirt_testkit::map(&mut image, 1000).unwrap();
    assert_eq!(map.iter().filter(|extent| matches!(extent.kind, ExtentKind::Literal(_))).count(), 240);
}

/// A page of the table behind the entries of the disk.
const BAT_TAIL: u64 = crate::build::BAT + 65536;

#[test]
fn a_log_that_places_blocks() {
    let id = Guid([9; 16]);
    let mut made = Made::new();
    made.log = Some(id);
    // 0x0000_0000_0060_0006, eight times: a page of the table with every block at 6 MiB. The log's pages are one byte
    // repeated, so this one is put together by hand.
    let mut entry = log_entry(id, &[(crate::build::BAT, 0)], 8 * MIB);
    let word = (6 * MIB + 6).to_le_bytes();
    entry[72..80].copy_from_slice(&word);
    for at in (8..4088).step_by(8) {
        entry[4096 + at..4096 + at + 8].copy_from_slice(&word);
    }
    crate::build::seal(&mut entry);
    made.patches = vec![(LOG, entry)];
    let map = map(&mut Image::open(made.build()).unwrap(), 100).unwrap();
    assert_eq!(map.len(), 8);
    assert!(map.iter().all(|extent| extent.kind == ExtentKind::Data { source: 0, offset: 6 * MIB }));
}

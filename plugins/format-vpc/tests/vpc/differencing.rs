//! Differencing images. No program at hand writes them, and qemu-img does not read them right: they are made here from the
//! specification's words.

use format_vpc::Vpc;
use format_vpc::footer::checksum;
use format_vpc::image::Image;
use format_vpc::{Error, ErrorKind};
use witvirt_sdk::core::extent::{Extent, ExtentKind};
use witvirt_sdk::disk::ImageReader;
use witvirt_testkit::{Noise, islands, map, write_image};

use crate::Scratch;

pub const BLOCK: u64 = 512 << 10;

/// A differencing image in the making: 2 MiB in blocks of 512 KiB, whose bitmaps have 128 bytes and take a sector.
pub struct Child {
    /// Platform and content of each locator.
    pub locators: Vec<([u8; 4], Vec<u8>)>,
    /// In the header.
    pub name: String,
    pub parent_id: [u8; 16],
    /// Sectors that the child has, and the byte they are filled with.
    pub sectors: Vec<(u64, u8)>,
    pub size: u64,
}

impl Child {
    pub fn of(name: &str) -> Self {
        let locators = vec![(*b"W2ru", utf16(&format!(".\\{name}")))];
        Self { locators, name: String::new(), parent_id: [7; 16], sectors: Vec::new(), size: 2 << 20 }
    }

    pub fn build(&self) -> Vec<u8> {
        let mut footer = vec![0; 512];
        footer[..8].copy_from_slice(b"conectix");
        footer[11] = 2;
        footer[13] = 1;
        footer[16..24].copy_from_slice(&512u64.to_be_bytes());
        footer[28..32].copy_from_slice(b"win ");
        footer[40..48].copy_from_slice(&self.size.to_be_bytes());
        footer[48..56].copy_from_slice(&self.size.to_be_bytes());
        footer[63] = 4;
        footer[68..84].copy_from_slice(&[9; 16]);
        seal(&mut footer, 64);
        let blocks = self.size.div_ceil(BLOCK);
        let mut header = vec![0; 1024];
        header[..8].copy_from_slice(b"cxsparse");
        header[8..16].fill(0xff);
        header[16..24].copy_from_slice(&1536u64.to_be_bytes());
        header[25] = 1;
        header[28..32].copy_from_slice(&(blocks as u32).to_be_bytes());
        header[32..36].copy_from_slice(&(BLOCK as u32).to_be_bytes());
        header[40..56].copy_from_slice(&self.parent_id);
        for (index, word) in self.name.encode_utf16().enumerate() {
            header[64 + 2 * index..66 + 2 * index].copy_from_slice(&word.to_be_bytes());
        }
        let table = blocks * 4;
        let mut paths = Vec::new();
        let paths_offset = (1536 + table).next_multiple_of(512);
        for (index, (platform, path)) in self.locators.iter().enumerate() {
            let entry = &mut header[576 + 24 * index..600 + 24 * index];
            entry[..4].copy_from_slice(platform);
            entry[4..8].copy_from_slice(&512u32.to_be_bytes());
            entry[8..12].copy_from_slice(&(path.len() as u32).to_be_bytes());
            entry[16..24].copy_from_slice(&(paths_offset + paths.len() as u64).to_be_bytes());
            paths.extend_from_slice(path);
            paths.resize(paths.len().next_multiple_of(512), 0);
        }
        seal(&mut header, 36);
        let mut file = [&footer[..], &header].concat();
        file.resize(1536 + table as usize, 0xff);
        file.resize(paths_offset as usize, 0xff);
        file.extend(paths);
        for &(sector, byte) in &self.sectors {
            let (block, bit) = (sector / 1024, (sector % 1024) as usize);
            let at = 1536 + 4 * block as usize;
            let mut entry = u32::from_be_bytes(file[at..at + 4].try_into().unwrap());
            if entry == u32::MAX {
                entry = (file.len() / 512) as u32;
                file[at..at + 4].copy_from_slice(&entry.to_be_bytes());
                file.resize(file.len() + 512 + BLOCK as usize, 0);
            }
            let start = entry as usize * 512;
            file[start + bit / 8] |= 0x80 >> (bit % 8);
            file[start + 512 + bit * 512..][..512].fill(byte);
        }
        file.extend(footer);
        file
    }
}

pub fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

pub fn seal(bytes: &mut [u8], at: usize) {
    let sum = checksum(bytes, at);
    bytes[at..at + 4].copy_from_slice(&sum.to_be_bytes());
}

fn opened(child: &Child) -> Result<Image<Vec<u8>>, Error> {
    Image::open(child.build())
}

fn parent_name(child: &Child) -> String {
    let references = opened(child).unwrap().references();
    assert_eq!(references.len(), 1);
    assert_eq!(references[0].format_hint.as_deref(), Some("vpc"));
    references[0].name.clone()
}

#[test]
fn bits_say_whose_sector_it_is() {
    let mut child = Child::of("base.vhd");
    // Block 0: sectors 0 and 1, 7 to 16, the last. Block 2: one in the middle.
    child.sectors = [0, 1, 1023, 2048 + 500].into_iter().chain(7..17).map(|sector| (sector, 1)).collect();
    let mut image = opened(&child).unwrap();
    assert_eq!(image.check().unwrap(), []);
    let start = 1536 + 512 + 512 + 512;
    let data = |from: u64, length: u64, block: u64| Extent {
        start: from * 512,
        length: length * 512,
        kind: ExtentKind::Data { source: 0, offset: start + block * (BLOCK + 512) + (from % 1024) * 512 },
    };
    let parent =
        |from: u64, length: u64| Extent { start: from * 512, length: length * 512, kind: ExtentKind::Parent };
    let expected = vec![
        data(0, 2, 0),
        parent(2, 5),
        data(7, 10, 0),
        parent(17, 1006),
        data(1023, 1, 0),
        parent(1024, 1024 + 500),
        data(2548, 1, 1),
        parent(2549, 4096 - 2549),
    ];
    for max in [1, 2, 3, 100] {
        assert_eq!(map(&mut image, max).unwrap().len(), if max == 100 { 8 } else { expected.len() });
    }
    assert_eq!(map(&mut image, 100).unwrap(), expected);
    // Asked for a range that begins and ends inside sectors.
    let page = image.extents(7 * 512 + 100, 300, 10).unwrap();
    let kind = ExtentKind::Data { source: 0, offset: start + 7 * 512 + 100 };
    assert_eq!(page.extents, [Extent { start: 7 * 512 + 100, length: 300, kind }]);
    let facts = image.facts();
    let fact = |name: &str| facts.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    assert_eq!(fact("id"), Some("09090909-0909-0909-0909-090909090909"));
    assert_eq!(fact("parent-id"), Some("07070707-0707-0707-0707-070707070707"));
}

#[test]
fn chains_read_through() {
    let scratch = Scratch::new();
    let mut expected = islands(2 << 20);
    let id = "{\"id\": \"07070707-0707-0707-0707-070707070707\"}";
    write_image::<Vpc>(&scratch.path("base.vhd"), &expected, id, None);
    let mut noise = Noise::new(11);
    let mut below = "base.vhd".to_owned();
    for level in 1..=3u8 {
        let mut child = Child::of(&below);
        if level > 1 {
            // As all children here are called.
            child.parent_id = [9; 16];
        }
        child.sectors = (0..300).map(|_| (noise.below(4096), level)).collect();
        for (sector, byte) in &child.sectors {
            expected[*sector as usize * 512..][..512].fill(*byte);
        }
        below = format!("level-{level}.vhd");
        scratch.write(&below, &child.build());
    }
    assert!(scratch.open(&below).unwrap().content().unwrap() == expected);
}

#[test]
fn a_block_at_the_end_of_a_disk_may_be_short() {
    let mut child = Child::of("base.vhd");
    child.size = BLOCK + 512 * 3;
    child.sectors = vec![(1025, 5)];
    let map = map(&mut opened(&child).unwrap(), 10).unwrap();
    let lengths: Vec<u64> = map.iter().map(|extent| extent.length).collect();
    assert_eq!(lengths, [BLOCK + 512, 512, 512]);
}

#[test]
fn the_best_of_the_parents_paths() {
    let mut child = Child::of("base.vhd");
    assert_eq!(parent_name(&child), "base.vhd");
    child.locators = vec![
        (*b"W2ku", utf16("C:\\disks\\base.vhd")),
        (*b"MacX", b"file:///Disks/my%20base.vhd".to_vec()),
        (*b"W2ru", utf16("sub\\base.vhd")),
    ];
    assert_eq!(parent_name(&child), "sub/base.vhd", "the relative one");
    child.locators.pop();
    assert_eq!(parent_name(&child), "C:/disks/base.vhd", "which the host refuses, by that name");
    child.locators.remove(0);
    assert_eq!(parent_name(&child), "/Disks/my base.vhd");
    child.name = "old.vhd".to_owned();
    child.locators = vec![(*b"Wi2r", b".\\ansi.vhd".to_vec())];
    assert_eq!(parent_name(&child), "old.vhd", "nobody knows which code page the other is in");
}

#[test]
fn parents_that_are_not_named_well() {
    let mut child = Child::of("x\ny");
    let error = |child: &Child| opened(child).map(drop).unwrap_err();
    assert_eq!(error(&child).kind, ErrorKind::Unsupported);
    child.locators = vec![(*b"W2ru", vec![0, 0xd8])];
    assert!(error(&child).message.contains("Unicode"));
    child.locators.clear();
    assert!(error(&child).message.contains("does not name it"));
    let mut file = Child::of("base.vhd").build();
    for (offset, value, part) in [(512 + 592, 0xff, "past the end"), (512 + 584, 0xff, "too long")] {
        let mut file = file.clone();
        file[offset] = value;
        seal(&mut file[512..1536], 36);
        let error = Image::open(file).map(drop).unwrap_err();
        assert!(error.message.contains(part), "{error:?}");
    }
    // A dynamic image has no parent, whatever its header says.
    let length = file.len();
    file[63] = 3;
    seal(&mut file[..512], 64);
    file[length - 512 + 63] = 3;
    seal(&mut file[length - 512..], 64);
    assert_eq!(Image::open(file).unwrap().references(), []);
}

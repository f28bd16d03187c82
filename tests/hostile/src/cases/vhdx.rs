//! VHDX: regions, metadata, a table, and a log that is replayed before anything else is believed.

use uuid::Uuid;
use witvirt_disk::ErrorKind::{Corrupt, InvalidInput, Limit, Unsupported};

use crate::bytes::Bytes;
use crate::case::{Case, Content, Place};
use crate::crc32c::crc32c;

const MIB: usize = 1 << 20;
const LOG: usize = MIB;
const METADATA: usize = 2 * MIB;
/// Where the table of blocks is.
pub const TABLE: usize = 3 * MIB;

fn guid(text: &str) -> [u8; 16] {
    Uuid::parse_str(text).expect("a constant").to_bytes_le()
}

/// Puts the checksum of a structure into its bytes 4 to 8.
fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes[4..8].fill(0);
    let sum = crc32c(&bytes);
    bytes[4..8].copy_from_slice(&sum.to_le_bytes());
    bytes
}

/// What is said of an image.
pub struct Made {
    /// Bytes of the disk.
    pub size: u64,
    block: u32,
    sector: u32,
    table_length: u32,
    /// The first entry of the table.
    entry: u64,
    log_id: [u8; 16],
    log: Vec<u8>,
    /// Where its parent is.
    pub locator: Option<Vec<u8>>,
    /// An item that nobody knows, marked required.
    unknown: bool,
}

impl Default for Made {
    /// An empty disk of 1 MiB.
    fn default() -> Self {
        Self {
            size: 1 << 20,
            block: 1 << 20,
            sector: 512,
            table_length: 1 << 20,
            entry: 0,
            log_id: [0; 16],
            log: Vec::new(),
            locator: None,
            unknown: false,
        }
    }
}

impl Made {
    /// The image: 4 MiB.
    pub fn build(self) -> Vec<u8> {
        let mut file = Bytes::new(4 * MIB).put(0, b"vhdxfile");
        for (offset, sequence) in [(0x1_0000, 1), (0x2_0000, 2)] {
            let header = Bytes::new(4096)
                .put(0, b"head")
                .le64(8, sequence)
                .put(16, &[1; 16])
                .put(32, &[2; 16])
                .put(48, &self.log_id)
                .le16(66, 1)
                .le32(68, MIB as u32)
                .le64(72, LOG as u64);
            file = file.put(offset, &sealed(header.0));
        }
        let regions = Bytes::new(0x1_0000)
            .put(0, b"regi")
            .le32(8, 2)
            .put(16, &guid("2DC27766-F623-4200-9D64-115E9BFD4A08"))
            .le64(32, TABLE as u64)
            .le32(40, self.table_length)
            .le32(44, 1)
            .put(48, &guid("8B7CA206-4790-4B9A-B8FE-575F050F886E"))
            .le64(64, METADATA as u64)
            .le32(72, MIB as u32)
            .le32(76, 1);
        let regions = sealed(regions.0);
        file = file.put(0x3_0000, &regions).put(0x4_0000, &regions);
        file = file.put(METADATA, &self.metadata()).le64(TABLE, self.entry);
        file.put(LOG, &self.log).into()
    }

    fn metadata(&self) -> Vec<u8> {
        let parameters = [self.block.to_le_bytes(), [u8::from(self.locator.is_some()) * 2, 0, 0, 0]].concat();
        let mut items = vec![
            ("CAA16737-FA36-4D43-B3B6-33F0AA44E76B", parameters, 4),
            ("2FA54224-CD1B-4876-B211-5DBED83BF4B8", self.size.to_le_bytes().to_vec(), 6),
            ("8141BF1D-A96F-4709-BA47-F233A8FAAB5F", self.sector.to_le_bytes().to_vec(), 6),
            ("CDA348C7-445D-4471-9CC9-E9885251C556", 512u32.to_le_bytes().to_vec(), 6),
            ("BECA12AB-B2E6-4523-93EF-C309E000C746", vec![3; 16], 6),
        ];
        items.extend(self.locator.clone().map(|bytes| ("A8D35F2D-B30B-454D-ABF7-D3D84834AB0C", bytes, 4)));
        items.extend(self.unknown.then(|| ("00000000-1111-2222-3333-444444444444", vec![0; 8], 4)));
        let mut region = Bytes::new(MIB).put(0, b"metadata").le16(10, items.len() as u16);
        for (index, (id, bytes, flags)) in items.iter().enumerate() {
            let (entry, at) = (32 + 32 * index, 0x1_0000 + 4096 * index);
            region = region
                .put(entry, &guid(id))
                .le32(entry + 16, at as u32)
                .le32(entry + 20, bytes.len() as u32)
                .le32(entry + 24, *flags)
                .put(at, bytes);
        }
        region.into()
    }
}

/// A locator of a parent with these pairs of texts.
pub fn locator(pairs: &[(&str, &str)]) -> Vec<u8> {
    let wide = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    let mut bytes = Bytes::new(20 + 12 * pairs.len())
        .put(0, &guid("B04AEFB7-D19E-4A81-B789-25B8E9445913"))
        .le16(18, pairs.len() as u16);
    for (index, (key, value)) in pairs.iter().enumerate() {
        let (key, value, entry) = (wide(key), wide(value), 20 + 12 * index);
        let at = bytes.0.len();
        bytes = bytes
            .le32(entry, at as u32)
            .le32(entry + 4, (at + key.len()) as u32)
            .le16(entry + 8, key.len() as u16)
            .le16(entry + 10, value.len() as u16)
            .put(at, &key)
            .put(at + key.len(), &value);
    }
    bytes.into()
}

const LINKAGE: (&str, &str) = ("parent_linkage", "{03030303-0303-0303-0303-030303030303}");

const LOG_ID: [u8; 16] = [9; 16];

/// An entry of the log, of a sector of descriptors and one of data: where it says it began, and one descriptor.
fn entry(sequence: u64, tail: u32, flushed: u64, last: u64, descriptor: &[u8]) -> Vec<u8> {
    let low = sequence as u32;
    let bytes = Bytes::new(8192)
        .put(0, b"loge")
        .le32(8, 8192)
        .le32(12, tail)
        .le64(16, sequence)
        .le32(24, 1)
        .put(32, &LOG_ID)
        .le64(48, flushed)
        .le64(56, last)
        .put(64, descriptor)
        .put(4096, b"data")
        .le32(4100, (sequence >> 32) as u32)
        .le32(8188, low);
    sealed(bytes.0)
}

fn data(offset: u64, sequence: u64) -> Vec<u8> {
    Bytes::new(32).put(0, b"desc").le64(16, offset).le64(24, sequence).into()
}

fn zeros(offset: u64, length: u64, sequence: u64) -> Vec<u8> {
    Bytes::new(32).put(0, b"zero").le64(8, length).le64(16, offset).le64(24, sequence).into()
}

fn logged(name: &str, log: Vec<u8>) -> Case {
    Case::new(
        &format!("vhdx-log-{name}.vhdx"),
        "vhdx",
        Made { log_id: LOG_ID, log, ..Made::default() }.build(),
    )
}

/// Those of VHDX.
pub fn cases(place: &Place) -> Vec<Case> {
    [metadata(), logs(), parents(place)].concat()
}

fn metadata() -> Vec<Case> {
    let case = |name: &str, made: Made| Case::new(&format!("vhdx-{name}.vhdx"), "vhdx", made.build());
    let mut signature = Made::default().build();
    signature[0] = b'V';
    let mut headers = Made::default().build();
    headers[0x1_0100] = 1;
    headers[0x2_0100] = 1;
    let mut regions = Made::default().build();
    regions[0x3_0100] = 1;
    regions[0x4_0100] = 1;
    vec![
        case("sound", Made::default()).confined(Content::Hole(1 << 20)),
        case("size-2-62", Made { size: 1 << 62, ..Made::default() }).corrupt("64 TiB"),
        case("size-2-64", Made { size: u64::MAX - 511, ..Made::default() }).corrupt("64 TiB"),
        case("block-3-mib", Made { block: 3 << 20, ..Made::default() }).corrupt("block size"),
        case("block-0", Made { block: 0, ..Made::default() }).corrupt("block size"),
        case("sector-1", Made { sector: 1, ..Made::default() }).corrupt("logical sector size"),
        case("table-too-small", Made { size: 64 << 40, ..Made::default() }).corrupt("too small for the disk"),
        case("table-4-gib", Made { table_length: 0xfff0_0000, ..Made::default() }).corrupt("past the end"),
        case("block-far", Made { entry: 1 << 50 | 6, ..Made::default() }).corrupt("past the end"),
        case("block-on-log", Made { entry: LOG as u64 | 6, ..Made::default() }).corrupt("on the headers"),
        case("block-on-header", Made { entry: 6, ..Made::default() }).corrupt("on the headers"),
        case("block-state-4", Made { entry: 4, ..Made::default() }).corrupt("does not exist"),
        case("block-partial-alone", Made { entry: 3 << 20 | 7, ..Made::default() }).corrupt("no parent"),
        case("needs-unknown", Made { unknown: true, ..Made::default() })
            .refused([Unsupported], "metadata item"),
        Case::new("vhdx-signature.vhdx", "vhdx", signature).refused([InvalidInput], "signature"),
        Case::new("vhdx-headers-damaged.vhdx", "vhdx", headers).corrupt("neither header"),
        Case::new("vhdx-regions-damaged.vhdx", "vhdx", regions).corrupt("neither table of regions"),
        Case::new("vhdx-cut.vhdx", "vhdx", &Made::default().build()[..MIB + 100]).corrupt(""),
    ]
}

fn logs() -> Vec<Case> {
    let end = 4 * MIB as u64;
    // Two entries that each say that the other one is where the sequence began.
    let crossed = [entry(1, 8192, end, end, &data(end, 1)), entry(2, 0, end, end, &data(end, 2))].concat();
    // Entry after entry, the last of which leads back over the end of the log to the first: no sequence has an end.
    let ring: Vec<u8> = (0..MIB as u64 / 8192)
        .flat_map(|index| {
            entry(index + 1, ((index + 1) * 8192 % MIB as u64) as u32, end, end, &data(end, index + 1))
        })
        .collect();
    let mut long = entry(1, 0, end, end, &data(end, 1));
    long[8..12].copy_from_slice(&0xffff_f000u32.to_le_bytes());
    let mut many = entry(1, 0, end, end, &data(end, 1));
    many[24..28].copy_from_slice(&u32::MAX.to_le_bytes());
    // As many descriptors as fit, each for the same places.
    let slow = slow();
    vec![
        logged("empty", Vec::new()).corrupt("no valid entries"),
        logged("crossed", crossed).refused([Corrupt], "log"),
        logged("ring", ring).refused([Corrupt], "log"),
        logged("entry-4-gib", sealed(long)).corrupt("no valid entries"),
        logged("descriptors-2-32", sealed(many)).corrupt("no valid entries"),
        logged("tail-outside", entry(1, 0x7fff_f000, end, end, &data(end, 1))).corrupt("no valid entries"),
        logged("writes-at-512-tib", entry(1, 0, end, 1 << 50, &data(1 << 49, 1))).corrupt("log"),
        logged("zeroes-2-62", entry(1, 0, end, end, &zeros(0, 1 << 62, 1))).refused([Corrupt, Limit], ""),
        logged("zeroes-itself", entry(1, 0, end, end, &zeros(0, end, 1))).corrupt(""),
        logged("longer-than-file", entry(1, 0, 1 << 40, 1 << 40, &data(end, 1)))
            .corrupt("shorter than its log says"),
        logged("overlaps", slow).refused([Corrupt, Limit], ""),
    ]
}

/// A log full of entries that zero ever smaller parts of one range of metadata.
fn slow() -> Vec<u8> {
    let end = 4 * MIB as u64;
    let per_entry = (4096 - 64) / 32;
    (0..120u64)
        .flat_map(|index| {
            let mut bytes = Bytes::new(4096)
                .put(0, b"loge")
                .le32(8, 4096)
                .le64(16, index + 1)
                .le32(24, per_entry)
                .put(32, &LOG_ID)
                .le64(48, end)
                .le64(56, end);
            for number in 0..per_entry as usize {
                let from = METADATA as u64 + 4096 * (number as u64 % 200);
                bytes =
                    bytes.put(64 + 32 * number, &zeros(from, 4096 * (250 - number as u64 % 200), index + 1));
            }
            sealed(bytes.0)
        })
        .collect()
}

fn parents(place: &Place) -> Vec<Case> {
    let child = |name: &str, pairs: &[(&str, &str)]| {
        let made = Made { locator: Some(locator(pairs)), ..Made::default() };
        Case::new(&format!("vhdx-parent-{name}.vhdx"), "vhdx", made.build())
    };
    let canary = place.canary();
    let mut far = locator(&[LINKAGE, ("relative_path", ".\\base.vhdx")]);
    far[20..24].fill(0xff);
    let far = Made { locator: Some(far), ..Made::default() };
    vec![
        child("absolute", &[LINKAGE, ("absolute_win32_path", &canary)])
            .denied("outside the allowed directories"),
        child("dots", &[LINKAGE, ("relative_path", "..\\canary.txt")]).denied("contains \"..\""),
        child("volume", &[LINKAGE, ("volume_path", "\\\\?\\Volume{1}\\a.vhdx")]).denied(""),
        child("unnamed", &[LINKAGE]).corrupt(""),
        Case::new("vhdx-locator-far.vhdx", "vhdx", far.build()).corrupt(""),
    ]
}

//! Any bytes as a disk image file.

use format_dmg::Dmg;
use format_dmg::{adc, plist, resource};
use witvirt_testkit::check_any_bytes;

/// What must hold: see [`check_any_bytes`]; nor do the parsers of the image's parts panic when they are called alone.
pub fn run(data: &[u8]) {
    let _ = resource::tables(data);
    let _ = plist::tables(data);
    if let Ok(decoded) = adc::decode(data, 5000) {
        assert_eq!(decoded.len(), 5000);
    }
    check_any_bytes::<Dmg>(data.to_vec(), |_| None);
}

/// A run to store: its type, its length in sectors, and its bytes in the file.
pub type Stored = (u32, u64, Vec<u8>);

/// Where the tables are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In a property list.
    Plist,
    /// In a binary resource fork.
    Resources,
}

/// An image of `tables`, which follow each other on the disk, with sound checksums but those of the tables.
pub fn image(tables: &[Vec<Stored>], place: Place) -> Vec<u8> {
    // Something before the data fork, so that offsets into it are not offsets into the file.
    let mut file = vec![0xee; 100];
    let mut encoded = Vec::new();
    let mut sector = 0;
    for runs in tables {
        let mut entries = Vec::new();
        let mut at = 0;
        for (kind, sectors, bytes) in runs {
            entries.extend(entry(*kind, at, *sectors, file.len() as u64 - 100, bytes.len() as u64));
            file.extend(bytes);
            at += sectors;
        }
        entries.extend(entry(0x7fff_fffe, at, 0, 0, 0));
        entries.extend(entry(0xffff_ffff, at, 0, 0, 0));
        encoded.push([header(sector, at, runs.len() as u32 + 2), entries].concat());
        sector += at;
    }
    let data = file.len() as u64 - 100;
    let tables_at = file.len() as u64;
    match place {
        Place::Plist => file.extend(property_list(&encoded).into_bytes()),
        Place::Resources => file.extend(resource_fork(&encoded)),
    }
    let tables_length = file.len() as u64 - tables_at;
    let mut trailer = vec![0; 512];
    let mut put = |at: usize, bytes: &[u8]| trailer[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"koly\0\0\0\x04\0\0\x02\0");
    put(24, &100u64.to_be_bytes());
    put(32, &data.to_be_bytes());
    let forks = if place == Place::Plist { 216 } else { 40 };
    put(forks, &tables_at.to_be_bytes());
    put(forks + 8, &tables_length.to_be_bytes());
    put(488, &1u32.to_be_bytes());
    put(492, &sector.to_be_bytes());
    file.extend(trailer);
    file
}

fn entry(kind: u32, first: u64, sectors: u64, offset: u64, stored: u64) -> Vec<u8> {
    let mut bytes = [kind.to_be_bytes(), [0; 4]].concat();
    bytes.extend([first, sectors, offset, stored].map(u64::to_be_bytes).concat());
    bytes
}

fn header(first: u64, sectors: u64, runs: u32) -> Vec<u8> {
    let mut bytes = vec![0; 204];
    bytes[..8].copy_from_slice(b"mish\0\0\0\x01");
    bytes[8..16].copy_from_slice(&first.to_be_bytes());
    bytes[16..24].copy_from_slice(&sectors.to_be_bytes());
    bytes[200..].copy_from_slice(&runs.to_be_bytes());
    bytes
}

fn property_list(tables: &[Vec<u8>]) -> String {
    let mut xml =
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<!DOCTYPE plist PUBLIC \"-//Apple//DTD PLIST 1.0//EN\" \
                   \"http://www.apple.com/DTDs/PropertyList-1.0.dtd\">\n<plist version=\"1.0\">\n<dict>\n\
                   \t<key>resource-fork</key>\n\t<dict>\n\t\t<key>blkx</key>\n\t\t<array>\n"
            .to_owned();
    for table in tables {
        xml += "\t\t\t<dict>\n\t\t\t\t<key>Attributes</key>\n\t\t\t\t<string>0x0050</string>\n\t\t\t\t<key>Data</key>\n\
                \t\t\t\t<data>\n\t\t\t\t";
        xml += &base64(table);
        xml += "\n\t\t\t\t</data>\n\t\t\t</dict>\n";
    }
    xml + "\t\t</array>\n\t</dict>\n</dict>\n</plist>\n"
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for piece in bytes.chunks(3) {
        let mut word = [0; 4];
        word[1..=piece.len()].copy_from_slice(piece);
        let word = u32::from_be_bytes(word);
        for digit in 0..4 {
            let coded = digit <= piece.len();
            text.push(if coded { DIGITS[(word >> (18 - 6 * digit) & 63) as usize] as char } else { '=' });
        }
    }
    text
}

fn resource_fork(tables: &[Vec<u8>]) -> Vec<u8> {
    let (mut data, mut references) = (Vec::new(), Vec::new());
    for table in tables {
        references.extend([&[0, 0, 0xff, 0xff][..], &(data.len() as u32).to_be_bytes(), &[0; 4]].concat());
        data.extend((table.len() as u32).to_be_bytes());
        data.extend(table);
    }
    let mut map = vec![0; 24];
    map.extend([0, 28, 0, 0, 0, 0]);
    map.extend([&b"blkx"[..], &(tables.len() as u16 - 1).to_be_bytes(), &10u16.to_be_bytes()].concat());
    map.extend(references);
    let numbers = [16, 16 + data.len() as u32, data.len() as u32, map.len() as u32];
    [numbers.map(u32::to_be_bytes).concat(), data, map].concat()
}

/// Small sound images of every kind of run.
pub fn seeds() -> Vec<Vec<u8>> {
    let tables = [
        vec![(1, 1, vec![7; 512]), (2, 5, Vec::new()), (0, 3, Vec::new())],
        // What the bytes of encoded runs are does not matter to the map.
        vec![(0x8000_0004, 8, vec![0x80; 40]), (0x8000_0005, 1, vec![1; 30])],
        vec![(0x8000_0006, 512, vec![2; 99]), (0x8000_0007, 2, vec![3; 50]), (0x8000_0008, 4, vec![4; 60])],
    ];
    vec![image(&tables, Place::Plist), image(&tables, Place::Resources), image(&tables[..1], Place::Plist)]
}

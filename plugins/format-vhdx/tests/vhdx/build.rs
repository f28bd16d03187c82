//! Images made from the specification's words, for what no program at hand writes.

use format_vhdx::crc32c::of_structure;
use format_vhdx::guid::Guid;

pub const MIB: u64 = 1 << 20;

/// Where things are in a [`Made`] image: log, metadata, table, then sector bitmaps and payload.
pub const LOG: u64 = MIB;
pub const METADATA: u64 = 2 * MIB;
pub const BAT: u64 = 3 * MIB;
pub const BITMAPS: u64 = 4 * MIB;

/// An image of small blocks, with or without a parent.
pub struct Made {
    pub size: u64,
    pub block: u64,
    pub sector: u32,
    /// Keys and values of the parent locator.
    pub parent: Vec<(String, String)>,
    /// Entries of the table, by index.
    pub entries: Vec<(u64, u64)>,
    /// Bytes put into the file at the end.
    pub patches: Vec<(u64, Vec<u8>)>,
    /// Length of the file in MiB.
    pub mib: u64,
    pub log: Option<Guid>,
    pub data_write_id: Guid,
}

impl Made {
    pub fn new() -> Self {
        Self {
            size: 8 * MIB,
            block: MIB,
            sector: 512,
            parent: Vec::new(),
            entries: Vec::new(),
            patches: Vec::new(),
            mib: 8,
            log: None,
            data_write_id: Guid([2; 16]),
        }
    }

    pub fn with_parent(name: &str, linkage: &str) -> Self {
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let parent = vec![pair("parent_linkage", linkage), pair("relative_path", name)];
        Self { parent, ..Self::new() }
    }

    pub fn build(&self) -> Vec<u8> {
        let mut file = vec![0; (self.mib * MIB) as usize];
        put(&mut file, 0, b"vhdxfile");
        for (offset, sequence) in [(65536, 1u64), (131_072, 2)] {
            let mut header = vec![0; 4096];
            put(&mut header, 0, b"head");
            put(&mut header, 8, &sequence.to_le_bytes());
            put(&mut header, 16, &[1; 16]);
            put(&mut header, 32, &self.data_write_id.0);
            put(&mut header, 48, &self.log.unwrap_or(Guid::ZERO).0);
            header[66] = 1;
            put(&mut header, 68, &(MIB as u32).to_le_bytes());
            put(&mut header, 72, &LOG.to_le_bytes());
            seal(&mut header);
            put(&mut file, offset, &header);
        }
        let mut regions = vec![0; 65536];
        put(&mut regions, 0, b"regi");
        regions[8] = 2;
        for (at, guid, offset) in [
            (16, "2DC27766-F623-4200-9D64-115E9BFD4A08", BAT),
            (48, "8B7CA206-4790-4B9A-B8FE-575F050F886E", METADATA),
        ] {
            put(&mut regions, at, &guid_bytes(guid));
            put(&mut regions, at + 16, &offset.to_le_bytes());
            put(&mut regions, at + 24, &(MIB as u32).to_le_bytes());
            regions[at + 28] = 1;
        }
        seal(&mut regions);
        put(&mut file, 3 << 16, &regions);
        put(&mut file, 4 << 16, &regions);
        put(&mut file, METADATA as usize, &self.metadata());
        for (index, entry) in &self.entries {
            put(&mut file, (BAT + 8 * index) as usize, &entry.to_le_bytes());
        }
        for (offset, bytes) in &self.patches {
            put(&mut file, *offset as usize, bytes);
        }
        file
    }

    fn metadata(&self) -> Vec<u8> {
        let flags = if self.parent.is_empty() { 0u32 } else { 2 };
        let parameters = [(self.block as u32).to_le_bytes(), flags.to_le_bytes()].concat();
        let mut items = vec![
            ("CAA16737-FA36-4D43-B3B6-33F0AA44E76B", parameters, 4u32),
            ("2FA54224-CD1B-4876-B211-5DBED83BF4B8", self.size.to_le_bytes().to_vec(), 6),
            ("8141BF1D-A96F-4709-BA47-F233A8FAAB5F", self.sector.to_le_bytes().to_vec(), 6),
            ("CDA348C7-445D-4471-9CC9-E9885251C556", 4096u32.to_le_bytes().to_vec(), 6),
            ("BECA12AB-B2E6-4523-93EF-C309E000C746", vec![3; 16], 6),
        ];
        if !self.parent.is_empty() {
            items.push(("A8D35F2D-B30B-454D-ABF7-D3D84834AB0C", self.locator(), 4));
        }
        let mut bytes = b"metadata\0\0".to_vec();
        bytes.extend((items.len() as u16).to_le_bytes());
        bytes.resize(32, 0);
        let mut values: Vec<u8> = Vec::new();
        for (guid, value, flags) in items {
            bytes.extend(guid_bytes(guid));
            bytes.extend((65536 + values.len() as u32).to_le_bytes());
            bytes.extend((value.len() as u32).to_le_bytes());
            bytes.extend(flags.to_le_bytes());
            bytes.extend([0; 4]);
            values.extend(value);
        }
        bytes.resize(65536, 0);
        bytes.extend(values);
        bytes
    }

    fn locator(&self) -> Vec<u8> {
        let mut bytes = guid_bytes("B04AEFB7-D19E-4A81-B789-25B8E9445913").to_vec();
        bytes.extend([0, 0]);
        bytes.extend((self.parent.len() as u16).to_le_bytes());
        let mut texts = Vec::new();
        let first = 20 + 12 * self.parent.len();
        let mut lengths = Vec::new();
        for (key, value) in &self.parent {
            let mut place = |text: &str| {
                let start = (first + texts.len()) as u32;
                texts.extend(text.encode_utf16().flat_map(u16::to_le_bytes));
                (start, (first + texts.len()) as u32 - start)
            };
            lengths.push((place(key), place(value)));
        }
        for ((key, key_length), (value, value_length)) in lengths {
            bytes.extend(key.to_le_bytes());
            bytes.extend(value.to_le_bytes());
            bytes.extend((key_length as u16).to_le_bytes());
            bytes.extend((value_length as u16).to_le_bytes());
        }
        bytes.extend(texts);
        bytes
    }
}

/// One entry of a log at its beginning, which fills pages with a byte each.
pub fn log_entry(id: Guid, pages: &[(u64, u8)], file_size: u64) -> Vec<u8> {
    let mut bytes = vec![0; 64];
    put(&mut bytes, 0, b"loge");
    bytes[16] = 7;
    put(&mut bytes, 24, &(pages.len() as u32).to_le_bytes());
    put(&mut bytes, 32, &id.0);
    put(&mut bytes, 48, &file_size.to_le_bytes());
    put(&mut bytes, 56, &file_size.to_le_bytes());
    for (offset, byte) in pages {
        bytes.extend(b"desc");
        bytes.extend([*byte; 12]);
        bytes.extend(offset.to_le_bytes());
        bytes.extend(7u64.to_le_bytes());
    }
    bytes.resize(bytes.len().next_multiple_of(4096), 0);
    for (_, byte) in pages {
        bytes.extend(b"data\0\0\0\0");
        bytes.extend([*byte; 4084]);
        bytes.extend(7u32.to_le_bytes());
    }
    let length = bytes.len() as u32;
    put(&mut bytes, 8, &length.to_le_bytes());
    seal(&mut bytes);
    bytes
}

pub fn guid_bytes(text: &str) -> [u8; 16] {
    Guid::parse(text).unwrap().0
}

pub fn put(file: &mut [u8], offset: usize, bytes: &[u8]) {
    file[offset..offset + bytes.len()].copy_from_slice(bytes);
}

pub fn seal(bytes: &mut [u8]) {
    let crc = of_structure(bytes);
    put(bytes, 4, &crc.to_le_bytes());
}

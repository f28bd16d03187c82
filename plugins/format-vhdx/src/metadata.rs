//! The metadata items: block size, disk size, sectors, parent.

use witvirt_sdk::disk::{ReadAt, hex, le16, le32, le64, read_exact};

use crate::guid::Guid;
use crate::region::Range;
use crate::{Error, ErrorKind, KIB, MIB, corrupt};

/// First bytes of the table of items.
pub const SIGNATURE: &[u8; 8] = b"metadata";
/// Bytes of the table.
pub const TABLE: u64 = 64 * KIB;
/// Bytes of an entry of it, and of what comes before the first.
pub const ENTRY: usize = 32;
const MAX_ENTRIES: u16 = 2047;
const MAX_ITEM: u32 = 1 << 20;
/// Flag: a reader that does not know the item must not read the image.
pub const REQUIRED: u32 = 4;
/// Flag of file parameters: there is a parent.
const HAS_PARENT: u32 = 2;
/// Flag of file parameters: all blocks have their place.
const FIXED: u32 = 1;

/// Block size and flags.
pub const FILE_PARAMETERS: Guid = Guid::known(0xCAA16737_FA36_4D43_B3B6_33F0AA44E76B);
/// Size of the disk.
pub const DISK_SIZE: Guid = Guid::known(0x2FA54224_CD1B_4876_B211_5DBED83BF4B8);
/// What the disk says that it is (SCSI page 83).
pub const DISK_ID: Guid = Guid::known(0xBECA12AB_B2E6_4523_93EF_C309E000C746);
/// Logical sector size.
pub const LOGICAL_SECTOR: Guid = Guid::known(0x8141BF1D_A96F_4709_BA47_F233A8FAAB5F);
/// Physical sector size.
pub const PHYSICAL_SECTOR: Guid = Guid::known(0xCDA348C7_445D_4471_9CC9_E9885251C556);
/// Where the parent is.
pub const PARENT_LOCATOR: Guid = Guid::known(0xA8D35F2D_B30B_454D_ABF7_D3D84834AB0C);
const KNOWN: [Guid; 6] =
    [FILE_PARAMETERS, DISK_SIZE, DISK_ID, LOGICAL_SECTOR, PHYSICAL_SECTOR, PARENT_LOCATOR];

/// The largest disk.
pub const MAX_SIZE: u64 = 64 << 40;

/// What the items say. Sizes are bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    /// Size of a block.
    pub block_size: u64,
    /// Whether all blocks have their place from the start.
    pub fixed: bool,
    /// Whether there is a parent.
    pub has_parent: bool,
    /// Size of the disk.
    pub virtual_size: u64,
    /// The disk's own GUID.
    pub disk_id: Guid,
    /// 512 or 4096.
    pub logical_sector: u32,
    /// 512 or 4096.
    pub physical_sector: u32,
    pub(crate) locator: Option<Vec<u8>>,
}

/// The items of a region, each once.
struct Items<'a, R> {
    source: &'a R,
    region: Range,
    /// GUID, and where in the region.
    items: Vec<(Guid, Range)>,
}

impl Metadata {
    /// Reads the items of a region.
    ///
    /// # Errors
    /// `corrupt` with what is wrong, `unsupported` for an unknown item that is required.
    pub(crate) fn read<R: ReadAt>(source: &R, region: Range) -> Result<Self, Error> {
        let items = Items::read(source, region)?;
        let parameters = items.get(FILE_PARAMETERS, 8, "file parameters")?;
        let flags = le32(&parameters, 4).unwrap_or_default();
        let sector = |id, what| Ok(le32(&items.get(id, 4, what)?, 0).unwrap_or_default());
        let has_parent = flags & HAS_PARENT != 0;
        let metadata = Self {
            block_size: le32(&parameters, 0).unwrap_or_default().into(),
            fixed: flags & FIXED != 0,
            has_parent,
            virtual_size: le64(&items.get(DISK_SIZE, 8, "disk size")?, 0).unwrap_or_default(),
            disk_id: Guid::at(&items.get(DISK_ID, 16, "disk identity")?, 0).unwrap_or(Guid::ZERO),
            logical_sector: sector(LOGICAL_SECTOR, "logical sector size")?,
            physical_sector: sector(PHYSICAL_SECTOR, "physical sector size")?,
            locator: if has_parent { Some(items.get(PARENT_LOCATOR, 20, "parent locator")?) } else { None },
        };
        metadata.check()?;
        Ok(metadata)
    }

    fn check(&self) -> Result<(), Error> {
        if !self.block_size.is_power_of_two() || !(MIB..=256 * MIB).contains(&self.block_size) {
            let message = "the block size is no power of two from 1 to 256 MiB";
            return Err(corrupt(message).with("block-size", self.block_size));
        }
        for (what, size) in [("logical", self.logical_sector), ("physical", self.physical_sector)] {
            if ![512, 4096].contains(&size) {
                return Err(
                    corrupt(format!("the {what} sector size is neither 512 nor 4096")).with("size", size)
                );
            }
        }
        if self.virtual_size > MAX_SIZE || !self.virtual_size.is_multiple_of(self.logical_sector.into()) {
            let message = "the size of the disk is no number of sectors, or more than 64 TiB";
            return Err(corrupt(message).with("virtual-size", self.virtual_size));
        }
        Ok(())
    }
}

impl<'a, R: ReadAt> Items<'a, R> {
    fn read(source: &'a R, region: Range) -> Result<Self, Error> {
        let table = read_exact(source, region.offset, TABLE as usize, "the table of metadata")?;
        let bad = |message: &str| corrupt(message).with("offset", hex(region.offset));
        if !table.starts_with(SIGNATURE) {
            return Err(bad("the table of metadata has no signature"));
        }
        let count = le16(&table, 10).unwrap_or_default();
        if count > MAX_ENTRIES {
            return Err(bad("the table of metadata has more entries than it can hold").with("entries", count));
        }
        let mut items: Vec<(Guid, Range)> = Vec::new();
        for entry in table.chunks_exact(ENTRY).skip(1).take(count.into()) {
            let fields = (Guid::at(entry, 0), le32(entry, 16), le32(entry, 20), le32(entry, 24));
            let (Some(id), Some(offset), Some(length), Some(flags)) = fields else { continue };
            if !KNOWN.contains(&id) {
                if flags & REQUIRED != 0 {
                    let message = format!("the image needs the metadata item {id}, which is not known");
                    return Err(Error::new(ErrorKind::Unsupported, message));
                }
                continue;
            }
            let range = Range { offset: offset.into(), length: length.into() };
            if length > MAX_ITEM || range.offset < TABLE || range.end() > region.length {
                return Err(bad("a metadata item lies outside its region")
                    .with("item", id)
                    .with("item-offset", hex(range.offset))
                    .with("length", length));
            }
            if items.iter().any(|(other, _)| *other == id) {
                return Err(bad("a metadata item is there twice").with("item", id));
            }
            items.push((id, range));
        }
        Ok(Self { source, region, items })
    }

    /// At least `least` bytes of an item.
    fn get(&self, id: Guid, least: u64, what: &str) -> Result<Vec<u8>, Error> {
        let range = self.items.iter().find(|(other, _)| *other == id).map(|(_, range)| *range);
        let range = range.ok_or_else(|| corrupt(format!("the metadata has no {what}")))?;
        if range.length < least {
            return Err(
                corrupt(format!("the metadata item for {what} is too short")).with("length", range.length)
            );
        }
        read_exact(self.source, self.region.offset + range.offset, range.length as usize, "a metadata item")
    }
}

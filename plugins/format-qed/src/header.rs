//! The header.

use witvirt_sdk::disk::{ReadAt, hex, le32, le64, read_exact};

use crate::{Error, ErrorKind};

/// "QED" and a zero byte.
pub const MAGIC: u32 = 0x0044_4551;
/// Length of the fields.
pub(crate) const LENGTH: usize = 64;
pub(crate) const SECTOR: u64 = 512;
/// QEMU's bound for the name of a backing image.
pub(crate) const MAX_NAME: u32 = 1023;

/// Feature bits.
pub(crate) const BACKING_FILE: u64 = 1 << 0;
pub(crate) const NEED_CHECK: u64 = 1 << 1;
pub(crate) const BACKING_NO_PROBE: u64 = 1 << 2;
const KNOWN: u64 = BACKING_FILE | NEED_CHECK | BACKING_NO_PROBE;

/// Bytes of a table entry.
const ENTRY: u64 = 8;

pub(crate) fn legal_cluster_size(size: u32) -> bool {
    size.is_power_of_two() && (4 << 10..=64 << 20).contains(&size)
}

pub(crate) fn legal_table_size(clusters: u32) -> bool {
    clusters.is_power_of_two() && clusters <= 16
}

/// What of a header decides how tables are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Bytes, a power of two.
    pub cluster_size: u64,
    /// Length of L1 and L2 tables in clusters, a power of two.
    pub table_size: u64,
}

impl Shape {
    /// Length of a table in bytes.
    pub fn table_bytes(self) -> u64 {
        self.cluster_size * self.table_size
    }

    /// Entries of a table; at most 2^27.
    pub fn entries(self) -> u64 {
        self.table_bytes() / ENTRY
    }

    /// Guest bytes that an L2 table maps; at most 2^53.
    pub fn reach(self) -> u64 {
        self.entries() * self.cluster_size
    }

    /// Entries of the L1 table that a disk needs.
    pub fn l1_needed(self, disk_size: u64) -> u64 {
        disk_size.div_ceil(self.reach())
    }
}

/// A checked header. Offsets are bytes of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Sizes of clusters and tables.
    pub shape: Shape,
    /// Where regular clusters begin.
    pub header_bytes: u64,
    /// Feature bits, all of them known.
    pub features: u64,
    /// Feature bits that may be ignored.
    pub compatible: u64,
    /// Feature bits that a writer has to clear.
    pub autoclear: u64,
    /// Aligned to a cluster; the table lies in the file.
    pub l1_offset: u64,
    /// What a guest sees, a multiple of 512.
    pub disk_size: u64,
    /// Name of the backing image.
    pub backing: Option<String>,
}

impl Header {
    /// Reads and checks the header.
    ///
    /// # Errors
    /// `invalid-input` when it is no QED image, `unsupported` with the feature bit, `corrupt` with what is wrong.
    pub fn read<R: ReadAt>(source: &R) -> Result<Self, Error> {
        let front = source.read_at(0, LENGTH as u32)?;
        if le32(&front, 0) != Some(MAGIC) {
            return Err(Error::new(ErrorKind::InvalidInput, "not a QED image: the signature is missing"));
        }
        let (mut header, name) =
            parse(&front).ok_or_else(|| corrupt("the header is too short").with("length", front.len()))??;
        header.check(source.size())?;
        if header.features & BACKING_FILE != 0 {
            header.backing = Some(backing_name(source, name, header.header_bytes)?);
        }
        Ok(header)
    }

    /// Whether the image was not closed.
    pub fn needs_check(&self) -> bool {
        self.features & NEED_CHECK != 0
    }

    fn check(&self, file_size: u64) -> Result<(), Error> {
        let unknown = self.features & !KNOWN;
        if unknown != 0 {
            let bit = unknown.trailing_zeros();
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("feature bit {bit}, which this plugin does not know"),
            )
            .with("features", hex(self.features)));
        }
        if !self.disk_size.is_multiple_of(SECTOR) {
            return Err(corrupt("the size of the disk is no multiple of 512").with("size", self.disk_size));
        }
        let limit = self.shape.reach().saturating_mul(self.shape.entries()).min(i64::MAX as u64);
        if self.disk_size > limit {
            return Err(corrupt("the disk is larger than its tables can map")
                .with("size", self.disk_size)
                .with("limit", limit));
        }
        if !self.l1_offset.is_multiple_of(self.shape.cluster_size) || self.l1_offset < self.header_bytes {
            return Err(corrupt("the L1 table does not begin at a regular cluster")
                .with("offset", hex(self.l1_offset)));
        }
        let end = self.l1_offset.checked_add(self.shape.table_bytes());
        if end.is_none_or(|end| end > file_size) {
            return Err(corrupt("the L1 table lies past the end of the file; it may be cut short")
                .with("offset", hex(self.l1_offset))
                .with("length", self.shape.table_bytes())
                .with("file-size", hex(file_size)));
        }
        Ok(())
    }
}

/// Offset and length of the name of the backing image.
type Name = (u32, u32);

/// `None` when the bytes end too early.
fn parse(bytes: &[u8]) -> Option<Result<(Header, Name), Error>> {
    let (cluster_size, table_size) = (le32(bytes, 4)?, le32(bytes, 8)?);
    if !legal_cluster_size(cluster_size) {
        return Some(Err(corrupt("the cluster size is no power of two from 4 KiB to 64 MiB")
            .with("cluster-size", cluster_size)));
    }
    if !legal_table_size(table_size) {
        return Some(Err(
            corrupt("the table size is no power of two from 1 to 16 clusters").with("table-size", table_size)
        ));
    }
    let header_clusters = le32(bytes, 12)?;
    if header_clusters == 0 {
        return Some(Err(corrupt("the header takes no cluster")));
    }
    let shape = Shape { cluster_size: u64::from(cluster_size), table_size: u64::from(table_size) };
    let header = Header {
        shape,
        header_bytes: u64::from(header_clusters) * shape.cluster_size,
        features: le64(bytes, 16)?,
        compatible: le64(bytes, 24)?,
        autoclear: le64(bytes, 32)?,
        l1_offset: le64(bytes, 40)?,
        disk_size: le64(bytes, 48)?,
        backing: None,
    };
    Some(Ok((header, (le32(bytes, 56)?, le32(bytes, 60)?))))
}

fn backing_name<R: ReadAt>(source: &R, (offset, length): Name, header_bytes: u64) -> Result<String, Error> {
    let wrong = |message: &str| corrupt(message).with("offset", offset).with("length", length);
    if length == 0 || length > MAX_NAME {
        return Err(wrong("the name of the backing image has to be 1 to 1023 bytes"));
    }
    if u64::from(offset) + u64::from(length) > header_bytes {
        return Err(wrong("the name of the backing image lies past the header's clusters"));
    }
    let what = "the name of the backing image";
    let bytes = read_exact(source, u64::from(offset), length as usize, what)?;
    match String::from_utf8(bytes) {
        Ok(name) if !name.chars().any(char::is_control) => Ok(name),
        Ok(_) => Err(wrong("the name of the backing image has control characters")),
        Err(_) => Err(wrong("the name of the backing image is not UTF-8")),
    }
}

fn corrupt(message: &str) -> Error {
    Error::new(ErrorKind::Corrupt, message)
}

//! The header, with the limits that QEMU enforces.

use witvirt_sdk::disk::{ReadAt, be32, be64, hex, read_exact};

use crate::extension::Extensions;
use crate::{Error, ErrorKind, codec};

/// "QFI" and 0xfb.
pub const MAGIC: u32 = 0x5146_49fb;

const V2_LENGTH: usize = 72;
const V3_LENGTH: usize = 104;
/// Offset of the compression type, in headers that are longer than [`V3_LENGTH`].
const COMPRESSION_TYPE: usize = 104;

pub(crate) const MIN_CLUSTER_BITS: u32 = 9;
pub(crate) const MAX_CLUSTER_BITS: u32 = 21;
pub(crate) const MAX_L1_BYTES: u64 = 32 << 20;
pub(crate) const MAX_REFCOUNT_TABLE_BYTES: u64 = 8 << 20;
const MAX_SNAPSHOTS: u32 = 65536;
pub(crate) const MAX_NAME: u32 = 1023;

/// Incompatible feature bits.
pub(crate) const DIRTY: u64 = 1 << 0;
const CORRUPT: u64 = 1 << 1;
pub(crate) const DATA_FILE: u64 = 1 << 2;
pub(crate) const COMPRESSION: u64 = 1 << 3;
pub(crate) const EXTENDED_L2: u64 = 1 << 4;
const KNOWN_INCOMPATIBLE: u64 = DIRTY | CORRUPT | DATA_FILE | COMPRESSION | EXTENDED_L2;
/// Compatible feature bit.
pub(crate) const LAZY_REFCOUNTS: u64 = 1 << 0;
/// Autoclear feature bits.
pub(crate) const BITMAPS_CONSISTENT: u64 = 1 << 0;
pub(crate) const DATA_FILE_RAW: u64 = 1 << 1;

/// How compressed clusters are encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Deflate without header.
    Zlib,
    /// Zstandard.
    Zstd,
}

impl Compression {
    /// The word for it in the contract.
    pub fn codec(self) -> &'static str {
        match self {
            Self::Zlib => codec::DEFLATE_RAW,
            Self::Zstd => codec::ZSTD,
        }
    }

    /// The word for it in qcow2's tools.
    pub fn name(self) -> &'static str {
        match self {
            Self::Zlib => "zlib",
            Self::Zstd => "zstd",
        }
    }
}

/// A checked header. Offsets and sizes are bytes of the image file unless said otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// 2 or 3.
    pub version: u32,
    /// 9 to 21.
    pub cluster_bits: u32,
    /// As stored; QEMU shows a guest whole sectors only.
    pub size: u64,
    /// Entries of the active L1 table.
    pub l1_entries: u32,
    /// Aligned to a cluster.
    pub l1_offset: u64,
    /// Aligned to a cluster.
    pub refcount_table_offset: u64,
    /// Length in clusters, never 0.
    pub refcount_table_clusters: u32,
    /// Refcounts are `1 << refcount_order` bits wide; at most 6.
    pub refcount_order: u32,
    /// Number of internal snapshots.
    pub snapshots: u32,
    /// Aligned to a cluster.
    pub snapshots_offset: u64,
    /// Feature bits that a reader must know.
    pub incompatible: u64,
    /// Feature bits that may be ignored.
    pub compatible: u64,
    /// Feature bits that a writer has to clear.
    pub autoclear: u64,
    /// How compressed clusters are encoded.
    pub compression: Compression,
    /// Where extensions begin.
    pub header_length: u32,
    backing_offset: u64,
    backing_length: u32,
}

/// The first cluster of an image, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Front {
    pub header: Header,
    pub extensions: Extensions,
    pub backing: Option<String>,
}

impl Front {
    pub fn read<R: ReadAt>(source: &R) -> Result<Self, Error> {
        let head = source.read_at(0, 512)?;
        check_magic(&head)?;
        let header = Header::parse(&head)?;
        let length = source.size().min(header.cluster_size()) as usize;
        let cluster = read_exact(source, 0, length, "the header")?;
        let area = header.header_length as usize..header.extensions_end();
        header.check_features(&cluster, area.clone())?;
        let extensions = Extensions::parse(&cluster, area.start, area.end)?;
        header.check_encryption(&head)?;
        header.check_tables()?;
        let backing = header.backing_name(&cluster)?;
        Ok(Self { header, extensions, backing })
    }
}

fn check_magic(head: &[u8]) -> Result<(), Error> {
    if be32(head, 0) != Some(MAGIC) {
        return Err(Error::new(ErrorKind::InvalidInput, "not a qcow2 image: the signature is missing"));
    }
    match be32(head, 4) {
        Some(2 | 3) => Ok(()),
        Some(1) => Err(Error::new(
            ErrorKind::Unsupported,
            "this is a qcow image of version 1, an older format than qcow2",
        )),
        Some(version) => Err(Error::new(
            ErrorKind::Unsupported,
            format!("qcow2 version {version}: this plugin reads versions 2 and 3"),
        )),
        None => Err(too_short(head.len(), 8)),
    }
}

fn too_short(length: usize, needed: usize) -> Error {
    Error::new(ErrorKind::Corrupt, "the file ends inside the qcow2 header")
        .with("file-size", length)
        .with("needed", needed)
}

fn corrupt(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Corrupt, message)
}

impl Header {
    /// Reads the fixed fields and checks those that others depend on.
    fn parse(head: &[u8]) -> Result<Self, Error> {
        let version = be32(head, 4).unwrap_or_default();
        let fixed = if version == 2 { V2_LENGTH } else { V3_LENGTH };
        if head.len() < fixed {
            return Err(too_short(head.len(), fixed));
        }
        let u32_at = |offset| be32(head, offset).unwrap_or_default();
        let u64_at = |offset| be64(head, offset).unwrap_or_default();
        let v3 = version >= 3;
        let mut header = Self {
            version,
            backing_offset: u64_at(8),
            backing_length: u32_at(16),
            cluster_bits: u32_at(20),
            size: u64_at(24),
            l1_entries: u32_at(36),
            l1_offset: u64_at(40),
            refcount_table_offset: u64_at(48),
            refcount_table_clusters: u32_at(56),
            snapshots: u32_at(60),
            snapshots_offset: u64_at(64),
            incompatible: if v3 { u64_at(72) } else { 0 },
            compatible: if v3 { u64_at(80) } else { 0 },
            autoclear: if v3 { u64_at(88) } else { 0 },
            refcount_order: if v3 { u32_at(96) } else { 4 },
            header_length: if v3 { u32_at(100) } else { V2_LENGTH as u32 },
            compression: Compression::Zlib,
        };
        header.check_sizes()?;
        header.compression = header.parse_compression(head)?;
        Ok(header)
    }

    fn check_sizes(&self) -> Result<(), Error> {
        if !(MIN_CLUSTER_BITS..=MAX_CLUSTER_BITS).contains(&self.cluster_bits) {
            return Err(corrupt("the cluster size is out of range: 2^9 to 2^21 bytes are legal")
                .with("cluster-bits", self.cluster_bits));
        }
        let length = self.header_length;
        let legal = length as usize == V2_LENGTH && self.version == 2
            || length as usize >= V3_LENGTH
                && length.is_multiple_of(8)
                && u64::from(length) <= self.cluster_size();
        if !legal {
            return Err(corrupt(
                "the header length is wrong: a multiple of 8 from 104 to the cluster size is legal",
            )
            .with("header-length", length));
        }
        if self.backing_offset > self.cluster_size() {
            return Err(corrupt("the name of the backing file lies outside the first cluster")
                .with("offset", hex(self.backing_offset)));
        }
        if self.refcount_order > 6 {
            return Err(
                corrupt("refcounts are wider than 64 bits").with("refcount-order", self.refcount_order)
            );
        }
        Ok(())
    }

    fn parse_compression(&self, head: &[u8]) -> Result<Compression, Error> {
        let stored = if self.header_length as usize > COMPRESSION_TYPE {
            head.get(COMPRESSION_TYPE).copied().ok_or_else(|| too_short(head.len(), COMPRESSION_TYPE + 1))?
        } else {
            0
        };
        let flagged = self.incompatible & COMPRESSION != 0;
        match (stored, flagged) {
            (0, false) => Ok(Compression::Zlib),
            (1, true) => Ok(Compression::Zstd),
            (0 | 1, _) => {
                Err(corrupt("the compression type and its feature bit disagree").with("type", stored))
            }
            _ => Err(Error::new(
                ErrorKind::Unsupported,
                format!("compression type {stored}: zlib (0) and zstd (1) are known"),
            )),
        }
    }

    /// Refuses what a reader must know and this one does not, by the name that the image gives where it has one.
    fn check_features(&self, cluster: &[u8], area: std::ops::Range<usize>) -> Result<(), Error> {
        let unknown = self.incompatible & !KNOWN_INCOMPATIBLE;
        if unknown != 0 {
            let bit = unknown.trailing_zeros();
            // The extensions of such an image need not make sense to us.
            let extensions = Extensions::parse(cluster, area.start, area.end).unwrap_or_default();
            let name =
                extensions.incompatible_name(bit).map(|name| format!(" (\"{name}\")")).unwrap_or_default();
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("the image needs the incompatible feature bit {bit}{name}, which this plugin does not know"),
            )
            .with("incompatible-features", hex(self.incompatible)));
        }
        if self.incompatible & CORRUPT != 0 {
            return Err(corrupt(
                "the image is marked corrupt; repair a copy of it with \"qemu-img check -r all\"",
            ));
        }
        Ok(())
    }

    fn check_encryption(&self, head: &[u8]) -> Result<(), Error> {
        let method = be32(head, 32).unwrap_or_default();
        let name = match method {
            0 => return Ok(()),
            1 => "AES-CBC, the legacy method".to_owned(),
            2 => "LUKS".to_owned(),
            _ => return Err(corrupt(format!("unknown encryption method {method}"))),
        };
        Err(Error::new(
            ErrorKind::Unsupported,
            format!(
                "the image is encrypted ({name}), and this plugin does not decrypt; make a plain copy with qemu-img convert"
            ),
        ))
    }

    fn check_tables(&self) -> Result<(), Error> {
        if self.size > i64::MAX as u64 {
            return Err(corrupt("the virtual size is above 2^63").with("virtual-size", self.size));
        }
        let table_size = u64::from(self.refcount_table_clusters) << self.cluster_bits;
        if table_size == 0 {
            return Err(corrupt("the image has no refcount table"));
        }
        self.check_table(
            "the refcount table",
            self.refcount_table_offset,
            table_size,
            MAX_REFCOUNT_TABLE_BYTES,
        )?;
        if self.snapshots > MAX_SNAPSHOTS {
            return Err(corrupt("there are more snapshots than the format's tools accept")
                .with("snapshots", self.snapshots)
                .with("limit", MAX_SNAPSHOTS));
        }
        self.check_table(
            "the snapshot table",
            self.snapshots_offset,
            u64::from(self.snapshots) * 40,
            u64::MAX,
        )?;
        self.check_table("the L1 table", self.l1_offset, self.l1_bytes(), MAX_L1_BYTES)?;
        let needed = self.l1_needed();
        if u64::from(self.l1_entries) < needed {
            return Err(corrupt("the L1 table is too small for the virtual size")
                .with("entries", self.l1_entries)
                .with("needed", needed)
                .with("virtual-size", self.size));
        }
        Ok(())
    }

    fn check_table(&self, what: &str, offset: u64, size: u64, limit: u64) -> Result<(), Error> {
        if size > limit {
            return Err(corrupt(format!("{what} is too large")).with("bytes", size).with("limit", limit));
        }
        let in_range = offset.checked_add(size).is_some_and(|end| end <= i64::MAX as u64);
        if !in_range || !offset.is_multiple_of(self.cluster_size()) {
            return Err(
                corrupt(format!("the offset of {what} is not that of a cluster")).with("offset", hex(offset))
            );
        }
        if size > 0 && offset == 0 {
            return Err(corrupt(format!("{what} lies on the header")));
        }
        Ok(())
    }

    fn extensions_end(&self) -> usize {
        match self.backing_offset {
            0 => self.cluster_size() as usize,
            offset => offset as usize,
        }
    }

    fn backing_name(&self, cluster: &[u8]) -> Result<Option<String>, Error> {
        if self.backing_offset == 0 {
            return Ok(None);
        }
        let room = self.cluster_size() - self.backing_offset;
        if self.backing_length > MAX_NAME || u64::from(self.backing_length) > room {
            return Err(corrupt("the name of the backing file is too long")
                .with("length", self.backing_length)
                .with("limit", room.min(u64::from(MAX_NAME))));
        }
        let start = self.backing_offset as usize;
        let bytes = cluster
            .get(start..start + self.backing_length as usize)
            .ok_or_else(|| corrupt("the file ends inside the name of the backing file"))?;
        if bytes.is_empty() {
            return Ok(None);
        }
        file_name("backing file", bytes).map(Some)
    }

    /// In bytes.
    pub fn cluster_size(&self) -> u64 {
        1 << self.cluster_bits
    }

    /// What a guest sees: whole sectors.
    pub fn virtual_size(&self) -> u64 {
        self.size & !511
    }

    /// Length of the active L1 table.
    pub fn l1_bytes(&self) -> u64 {
        u64::from(self.l1_entries) * 8
    }

    /// Whether L2 entries are 128 bits wide, with a bitmap of 32 subclusters.
    pub fn extended_l2(&self) -> bool {
        self.incompatible & EXTENDED_L2 != 0
    }

    /// Whether guest data lies in another file.
    pub fn has_data_file(&self) -> bool {
        self.incompatible & DATA_FILE != 0
    }

    /// Entries that the virtual size takes; what follows is VM state.
    pub fn l1_needed(&self) -> u64 {
        let l2_entry_bits = if self.extended_l2() { 4 } else { 3 };
        self.size.div_ceil(1 << (2 * self.cluster_bits - l2_entry_bits))
    }
}

/// A file name out of an image: hostile, but fit to be shown.
pub(crate) fn file_name(what: &str, bytes: &[u8]) -> Result<String, Error> {
    let name = std::str::from_utf8(bytes)
        .map_err(|_| Error::new(ErrorKind::Unsupported, format!("the name of the {what} is not UTF-8")))?;
    if name.chars().any(char::is_control) {
        return Err(Error::new(
            ErrorKind::Unsupported,
            format!("the name of the {what} has control characters"),
        ));
    }
    Ok(name.to_owned())
}

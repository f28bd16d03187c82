//! One expanding image file: a header, a table of places, clusters.

use witvirt_sdk::disk::{ReadAt, Window, hex, le32, le64, read_exact};

use crate::{Error, ErrorKind};

/// Places in sectors.
pub(crate) const MAGIC: &[u8; 16] = b"WithoutFreeSpace";
/// Places in clusters.
pub(crate) const MAGIC_EXT: &[u8; 16] = b"WithouFreSpacExt";
pub(crate) const VERSION: u32 = 2;
pub(crate) const SECTOR: u64 = 512;
/// Length of the header; the table follows.
pub(crate) const HEADER: u64 = 64;
/// QEMU's bound, in sectors: just below 2 GiB.
const MAX_CLUSTER: u32 = (i32::MAX / 513) as u32;
/// The table is read in pieces of at most this many bytes; small, because a bundle may have thousands of images.
pub(crate) const PIECE: u64 = 8 << 10;

const IN_USE: u32 = 0x746f_6e59;
const CLOSED: u32 = 0x312e_3276;

/// What the header says of how the image was left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InUse {
    /// Closed, or written by a program that does not say.
    No,
    /// Opened for writing and not closed.
    Yes,
    /// No value of the document.
    Unknown(u32),
}

/// A checked header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Whether places are in clusters.
    pub extended: bool,
    /// Bytes.
    pub cluster_size: u64,
    /// Entries of the table, enough for the disk.
    pub entries: u32,
    /// Size of the disk in bytes.
    pub disk_size: u64,
    /// Whether it was closed.
    pub in_use: InUse,
    /// The flag that the image has no data.
    pub empty: bool,
    /// Beginning of the data as the header says it, in bytes; 0 where it does not.
    pub data_offset: u64,
    /// Format extension, in bytes; 0 where there is none.
    pub extension: u64,
}

impl Header {
    /// Reads and checks the header.
    ///
    /// # Errors
    /// `invalid-input` when it is no expanding image, `unsupported` for another version, `corrupt` with what is wrong.
    pub fn read<R: ReadAt>(source: &R) -> Result<Self, Error> {
        let bytes = source.read_at(0, HEADER as u32)?;
        let extended = bytes.starts_with(MAGIC_EXT);
        if !extended && !bytes.starts_with(MAGIC) {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                "not a Parallels image: the signature is missing",
            ));
        }
        let bytes = read_exact(source, 0, HEADER as usize, "the header")?;
        let header = Self::parse(&bytes, extended).ok_or_else(|| corrupt("the header is too short"))??;
        header.check(source.size())?;
        Ok(header)
    }

    /// `None` when the bytes end too early.
    fn parse(bytes: &[u8], extended: bool) -> Option<Result<Self, Error>> {
        let version = le32(bytes, 16)?;
        if version != VERSION {
            let message = format!("Parallels image version {version}: this plugin reads version 2");
            return Some(Err(Error::new(ErrorKind::Unsupported, message)));
        }
        let sectors = le32(bytes, 28)?;
        if sectors == 0 || sectors > MAX_CLUSTER {
            return Some(Err(corrupt("the cluster size is none")
                .with("sectors", sectors)
                .with("at-most", MAX_CLUSTER)));
        }
        let (low, whole) = (u64::from(le32(bytes, 36)?), le64(bytes, 36)?);
        let disk_sectors = if extended { whole } else { low };
        let disk_size = disk_sectors.checked_mul(SECTOR).filter(|size| *size <= i64::MAX as u64);
        let Some(disk_size) = disk_size else {
            return Some(Err(corrupt("the disk is larger than a disk can be").with("sectors", disk_sectors)));
        };
        let in_use = match le32(bytes, 44)? {
            0 | CLOSED => InUse::No,
            IN_USE => InUse::Yes,
            other => InUse::Unknown(other),
        };
        Some(Ok(Self {
            extended,
            cluster_size: u64::from(sectors) * SECTOR,
            entries: le32(bytes, 32)?,
            disk_size,
            in_use,
            empty: le32(bytes, 52)? & 1 != 0,
            data_offset: u64::from(le32(bytes, 48)?) * SECTOR,
            // Far past any file where it does not fit.
            extension: le64(bytes, 56)?.saturating_mul(SECTOR),
        }))
    }

    fn check(&self, file_size: u64) -> Result<(), Error> {
        if u64::from(self.entries) < self.disk_size.div_ceil(self.cluster_size) {
            return Err(corrupt("the table has fewer entries than the disk has clusters")
                .with("entries", self.entries)
                .with("disk-size", self.disk_size)
                .with("cluster-size", self.cluster_size));
        }
        if self.table_end() > file_size {
            return Err(corrupt("the table lies past the end of the file; it may be cut short")
                .with("entries", self.entries)
                .with("file-size", hex(file_size)));
        }
        Ok(())
    }

    /// Length of the table in bytes.
    pub(crate) fn table_bytes(&self) -> u64 {
        4 * u64::from(self.entries)
    }

    /// Where the table ends.
    pub(crate) fn table_end(&self) -> u64 {
        HEADER + self.table_bytes()
    }

    /// The byte of the file that an entry of the table means; below 2^63.
    pub(crate) fn place(&self, entry: u32) -> u64 {
        u64::from(entry) * if self.extended { self.cluster_size } else { SECTOR }
    }
}

/// An opened file.
#[derive(Debug)]
pub struct Expanding<R> {
    pub(crate) source: R,
    pub(crate) header: Header,
    table: Window,
}

impl<R: ReadAt> Expanding<R> {
    /// Checks the header; entries of the table are checked where they are met.
    ///
    /// # Errors
    /// As [`Header::read`].
    pub fn open(source: R) -> Result<Self, Error> {
        let header = Header::read(&source)?;
        Ok(Self { source, header, table: Window::default() })
    }

    /// The header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Where `length` bytes of the disk from `at` lie, which are in one cluster; `None` when it is not allocated.
    pub(crate) fn locate(&mut self, at: u64, length: u64) -> Result<Option<u64>, Error> {
        let entry = self.entry(at / self.header.cluster_size)?;
        if entry == 0 {
            return Ok(None);
        }
        let offset = self.header.place(entry) + at % self.header.cluster_size;
        let fault = if self.header.place(entry) < self.header.table_end() {
            "a cluster overlaps the table"
        } else if offset + length > self.source.size() {
            "a cluster lies past the end of the file; it may be cut short"
        } else {
            return Ok(Some(offset));
        };
        Err(corrupt(fault)
            .with("disk-offset", hex(at))
            .with("offset", hex(offset))
            .with("length", length)
            .with("file-size", hex(self.source.size())))
    }

    fn entry(&mut self, index: u64) -> Result<u32, Error> {
        let byte = index * 4;
        let piece = byte / PIECE * PIECE;
        let want = self.header.table_bytes().saturating_sub(piece).min(PIECE) as usize;
        let bytes = self.table.get(&self.source, HEADER + piece, want, "the table")?;
        le32(bytes, (byte - piece) as usize)
            .ok_or_else(|| corrupt("the table ends before the disk").with("index", index))
    }
}

fn corrupt(message: &str) -> Error {
    Error::new(ErrorKind::Corrupt, message)
}

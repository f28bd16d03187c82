//! What a format plugin says of an image. Offsets and lengths are bytes.

use serde::Serialize;

/// Where and how the bytes of an extent are stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExtentKind {
    /// Reads as zeros, whatever lies below.
    Zero,
    /// Stored as it is at `offset` of `source` (0: the primary file).
    Data {
        /// 0 for the primary file, else the id of an attached reference.
        source: u32,
        /// First byte.
        offset: u64,
    },
    /// Stored encoded.
    Encoded(Encoded),
    /// The bytes themselves.
    Literal(Vec<u8>),
    /// Look at the backing image; zeros beyond its end.
    Parent,
    /// Nothing here and nothing below.
    Unallocated,
}

/// A run of encoded bytes; see `witvirt:disk/format.encoded`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Encoded {
    /// "deflate-raw", "zlib", "zstd", or a word that only the plugin knows.
    pub codec: String,
    /// 0 for the primary file, else the id of an attached reference.
    pub source: u32,
    /// First encoded byte.
    pub offset: u64,
    /// Upper bound of the encoded length.
    pub length: u64,
    /// Exact decoded length.
    pub decoded_length: u32,
    /// Where in the decoded bytes the extent starts.
    pub skip: u32,
}

/// Guest bytes `start .. start + length`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extent {
    /// First guest byte.
    pub start: u64,
    /// Never 0.
    pub length: u64,
    /// Where they are.
    pub kind: ExtentKind,
}

/// A bounded piece of a map.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Page {
    /// Ascending and contiguous.
    pub extents: Vec<Extent>,
    /// Where to go on; `None` when the asked range is covered.
    pub next: Option<u64>,
}

/// What a guest sees of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Geometry {
    /// Size of the disk.
    pub virtual_size: u64,
    /// Unit of allocation; 0 where there is none.
    pub cluster_size: u32,
    /// 512 or 4096.
    pub logical_sector: u32,
}

/// A file that an image names. `name` comes from the image and is hostile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Reference {
    /// Unique in the image, never 0.
    pub id: u32,
    /// "backing", "parent", "data-file", "extent" ...
    pub role: String,
    /// Verbatim.
    pub name: String,
    /// The format the image claims for it.
    pub format_hint: Option<String>,
    /// Whether the image is unreadable without it.
    pub required: bool,
}

impl Reference {
    /// Whether the host follows it through [`ExtentKind::Parent`] instead of attaching it.
    pub fn is_backing(&self) -> bool {
        self.role == "backing" || self.role == "parent"
    }
}

/// An answer to `probe`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// 1 to 100.
    pub confidence: u8,
    /// Registry name of the format.
    pub format: String,
    /// Its revision.
    pub version: Option<String>,
}

/// A thing that `check` found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Finding {
    /// 1 error, 2 warning, 3 information.
    pub severity: u8,
    /// A stable word.
    pub code: String,
    /// A sentence.
    pub message: String,
    /// Byte of the primary file.
    pub offset: Option<u64>,
}

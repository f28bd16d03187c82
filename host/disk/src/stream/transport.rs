//! What lies around an image on its way: compression and archives.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A wrapping of a whole image file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Transport {
    /// RFC 1952, any number of members.
    Gzip,
    /// The .xz format, any number of streams.
    Xz,
    /// RFC 8878, any number of frames.
    Zstd,
    /// .bz2, any number of streams.
    Bzip2,
    /// The frames of Apple's `compression_stream` with LZ4: blocks `bv41` and `bv4-` up to `bv4$`. Never recognised, only
    /// stated.
    #[serde(rename = "lz4-apple")]
    Lz4Apple,
    /// A tar archive (an OVA is one): one of its members is the image.
    Tar,
}

impl Transport {
    /// Every one of them.
    pub const ALL: [Self; 6] = [Self::Gzip, Self::Xz, Self::Zstd, Self::Bzip2, Self::Lz4Apple, Self::Tar];

    /// Its registry name: "gzip", "xz", "zstd", "bzip2", "lz4-apple", "tar".
    pub fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Xz => "xz",
            Self::Zstd => "zstd",
            Self::Bzip2 => "bzip2",
            Self::Lz4Apple => "lz4-apple",
            Self::Tar => "tar",
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Whether and how a source is unpacked before an image format is looked for in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Unpack {
    /// What its first bytes say, however often it is wrapped (up to four times). Where the image was declared to be raw,
    /// only what the end of the source's name says too ("disk.raw.gz"): a guest may have written anything into its first
    /// sector.
    #[default]
    Auto,
    /// These, the outermost first, and no others; none: the source is the image file.
    Stated(Vec<Transport>),
}

/// Why a text is no [`Unpack`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a list of wrappings: expected \"auto\", \"none\", or names out of gzip, xz, zstd, bzip2, lz4-apple and tar with \
     \"+\" between them, as in \"tar+gzip\""
)]
pub struct InvalidUnpack;

impl FromStr for Unpack {
    type Err = InvalidUnpack;

    /// Reads "auto", "none" (or nothing), "gzip", "tar+gzip": the innermost first, as in "NAME.tar.gz".
    fn from_str(text: &str) -> Result<Self, InvalidUnpack> {
        match text {
            "auto" => return Ok(Self::Auto),
            "" | "none" => return Ok(Self::Stated(Vec::new())),
            _ => {}
        }
        let named = |name: &str| Transport::ALL.into_iter().find(|known| known.name() == name);
        let stated: Option<Vec<Transport>> = text.rsplit('+').map(named).collect();
        stated.map(Self::Stated).ok_or(InvalidUnpack)
    }
}

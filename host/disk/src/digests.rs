//! Checksums of source bytes as they were transported: what a user copies from a download page.

use std::fmt;
use std::str::FromStr;

use witvirt_core::Digest;

/// A hash function that publishers of images use. MD5 and SHA-1 tell damage, not malice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// RFC 1321, 16 bytes.
    Md5,
    /// FIPS 180-4, 20 bytes.
    Sha1,
    /// FIPS 180-4, 32 bytes.
    Sha256,
    /// FIPS 180-4, 64 bytes.
    Sha512,
}

impl Algorithm {
    /// Every one of them.
    pub const ALL: [Self; 4] = [Self::Md5, Self::Sha1, Self::Sha256, Self::Sha512];

    /// As users write it: "md5", "sha1", "sha256", "sha512".
    pub fn name(self) -> &'static str {
        match self {
            Self::Md5 => "md5",
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    /// Bytes of a digest.
    pub fn length(self) -> usize {
        match self {
            Self::Md5 => 16,
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }
}

/// What the bytes of a source must hash to; written `md5:...`, `sha1:...`, `sha256:...`, `sha512:...`, or as hexadecimal
/// digits alone, whose number tells the function.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Checksum {
    algorithm: Algorithm,
    value: Vec<u8>,
}

/// Why a text is no [`Checksum`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a checksum: expected hexadecimal digits, 32 for md5, 40 for sha1, 64 for sha256 or 128 for sha512, with or \
     without \"md5:\", \"sha1:\", \"sha256:\" or \"sha512:\" before them"
)]
pub struct InvalidChecksum;

impl Checksum {
    /// `None` when `value` is not as long as the function's digests.
    pub fn new(algorithm: Algorithm, value: &[u8]) -> Option<Self> {
        (value.len() == algorithm.length()).then(|| Self { algorithm, value: value.to_vec() })
    }

    /// Its function.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The digest's bytes.
    pub fn value(&self) -> &[u8] {
        &self.value
    }
}

impl From<Digest> for Checksum {
    fn from(digest: Digest) -> Self {
        Self { algorithm: Algorithm::Sha256, value: digest.as_bytes().to_vec() }
    }
}

impl FromStr for Checksum {
    type Err = InvalidChecksum;

    fn from_str(text: &str) -> Result<Self, InvalidChecksum> {
        let (name, hex) = match text.trim().split_once(':') {
            Some((name, hex)) => (Some(name.to_ascii_lowercase()), hex),
            None => (None, text.trim()),
        };
        if !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(InvalidChecksum);
        }
        let fits = |algorithm: &Algorithm| {
            hex.len() == 2 * algorithm.length() && name.as_deref().is_none_or(|name| name == algorithm.name())
        };
        let algorithm = Algorithm::ALL.into_iter().find(fits).ok_or(InvalidChecksum)?;
        let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).map_err(|_| InvalidChecksum);
        let value = (0..hex.len()).step_by(2).map(byte).collect::<Result<_, _>>()?;
        Ok(Self { algorithm, value })
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.algorithm.name())?;
        self.value.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

//! What a differencing image says of where its parent is.

use witvirt_sdk::disk::{ReadAt, be32, be64, hex, read_exact};

use crate::header::Header;
use crate::{Error, ErrorKind};

/// The longest path that is read; twice what Windows can open.
const MAX_PATH: u32 = 128 << 10;

/// Kinds of paths that are understood, the best first: a relative one survives a move of both files.
const PLATFORMS: [(&[u8; 4], Encoding); 3] =
    [(b"W2ru", Encoding::Utf16), (b"W2ku", Encoding::Utf16), (b"MacX", Encoding::FileUrl)];

#[derive(Debug, Clone, Copy)]
enum Encoding {
    /// Little-endian.
    Utf16,
    FileUrl,
}

/// Where a path of the parent is stored. Offset and length are bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Locator {
    platform: [u8; 4],
    offset: u64,
    length: u32,
}

impl Locator {
    /// `None` for an entry that is not used.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let platform: [u8; 4] = bytes.get(..4)?.try_into().ok()?;
        (platform != [0; 4]).then_some(Self { platform, length: be32(bytes, 8)?, offset: be64(bytes, 16)? })
    }

    fn read<R: ReadAt>(&self, source: &R, encoding: Encoding) -> Result<String, Error> {
        if self.length > MAX_PATH {
            return Err(Error::new(ErrorKind::Corrupt, "a path of the parent is too long")
                .with("offset", hex(self.offset))
                .with("length", self.length)
                .with("limit", MAX_PATH));
        }
        let bytes = read_exact(source, self.offset, self.length as usize, "a path of the parent")?;
        match encoding {
            Encoding::Utf16 => utf16(&bytes, u16::from_le_bytes),
            Encoding::FileUrl => file_url(&bytes),
        }
    }
}

/// The best name of the parent, as a path with slashes.
///
/// # Errors
/// `corrupt` when there is none or it lies outside the file, `unsupported` when it is no text.
pub(crate) fn name<R: ReadAt>(source: &R, header: &Header) -> Result<String, Error> {
    for (platform, encoding) in PLATFORMS {
        let Some(locator) = header.locators.iter().find(|locator| locator.platform == *platform) else {
            continue;
        };
        let name = locator.read(source, encoding)?;
        if !name.is_empty() {
            return path(&name);
        }
    }
    let name = utf16(&header.parent_name, u16::from_be_bytes)?;
    if name.is_empty() {
        return Err(Error::new(ErrorKind::Corrupt, "the image has a parent and does not name it"));
    }
    path(&name)
}

/// UTF-16 up to the first zero.
fn utf16(bytes: &[u8], word: fn([u8; 2]) -> u16) -> Result<String, Error> {
    let words = bytes.chunks_exact(2).filter_map(|pair| pair.try_into().ok()).map(word);
    char::decode_utf16(words.take_while(|word| *word != 0)).collect::<Result<_, _>>().map_err(|_| not_text())
}

/// The path of a file URL (RFC 8089), of this host.
fn file_url(bytes: &[u8]) -> Result<String, Error> {
    let bytes = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    let rest = bytes.strip_prefix(b"file://").unwrap_or(bytes);
    let rest = rest.strip_prefix(b"localhost").unwrap_or(rest);
    let mut path = Vec::with_capacity(rest.len());
    let mut at = 0;
    while let Some(&byte) = rest.get(at) {
        let digits = rest.get(at + 1..at + 3).and_then(|digits| std::str::from_utf8(digits).ok());
        let escaped = digits
            .filter(|digits| byte == b'%' && digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        path.push(escaped.unwrap_or(byte));
        at += if escaped.is_some() { 3 } else { 1 };
    }
    String::from_utf8(path).map_err(|_| not_text())
}

fn not_text() -> Error {
    Error::new(ErrorKind::Unsupported, "a path of the parent is not valid Unicode")
}

fn path(name: &str) -> Result<String, Error> {
    if name.chars().any(char::is_control) {
        return Err(Error::new(ErrorKind::Unsupported, "the name of the parent has control characters"));
    }
    let mut path = name.replace('\\', "/");
    while let Some(rest) = path.strip_prefix("./") {
        path = rest.to_owned();
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::{file_url, path, utf16};

    #[test]
    fn windows_paths() {
        let le = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
        let read = |bytes: &[u8]| path(&utf16(bytes, u16::from_le_bytes)?);
        assert_eq!(read(&le(".\\base.vhd\0\0rest")).unwrap(), "base.vhd");
        assert_eq!(read(&le("..\\dir\\b\u{e4}se.vhd")).unwrap(), "../dir/b\u{e4}se.vhd");
        assert_eq!(read(&le("C:\\x\\y.vhd")).unwrap(), "C:/x/y.vhd", "for the host to refuse");
        assert_eq!(read(&le(".\\.\\a")).unwrap(), "a");
        assert!(read(&le("a\nb")).is_err());
        assert!(read(&[0, 0xd8, b'a', 0]).is_err(), "half a pair");
        assert_eq!(read(b"").unwrap(), "");
    }

    #[test]
    fn file_urls() {
        let read = |text: &str| file_url(text.as_bytes()).unwrap();
        assert_eq!(read("file:///Users/a%20b/c.vhd"), "/Users/a b/c.vhd");
        assert_eq!(read("file://localhost/c%zz%2"), "/c%zz%2");
        assert_eq!(read("plain.vhd\0junk"), "plain.vhd");
        assert!(file_url(b"file:///%ff").is_err());
    }
}

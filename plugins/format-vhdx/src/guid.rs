//! GUIDs, and how a plugin without a clock and random numbers makes one.

use std::fmt;

const OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;

/// The bytes of a GUID, as in the file: the first three fields are little-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Guid(pub [u8; 16]);

impl Guid {
    /// No GUID.
    pub const ZERO: Self = Self([0; 16]);

    /// One that the specification gives, by its text read as one number.
    pub(crate) const fn known(number: u128) -> Self {
        Self(swapped(number.to_be_bytes()))
    }

    /// The 16 bytes at `offset` of `bytes`.
    pub(crate) fn at(bytes: &[u8], offset: usize) -> Option<Self> {
        Some(Self(bytes.get(offset..offset.checked_add(16)?)?.try_into().ok()?))
    }

    /// Reads the usual text, in braces or not, of either case.
    pub fn parse(text: &str) -> Option<Self> {
        let bare = text.strip_prefix('{').map_or(Some(text), |rest| rest.strip_suffix('}'))?;
        let groups: Vec<&str> = bare.split('-').collect();
        if groups.iter().map(|group| group.len()).ne([8, 4, 4, 4, 12]) {
            return None;
        }
        let digits = groups.concat();
        if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        Some(Self(swapped(u128::from_str_radix(&digits, 16).ok()?.to_be_bytes())))
    }
}

/// From the order of the file to that of the text, and back.
const fn swapped(bytes: [u8; 16]) -> [u8; 16] {
    let [a, b, c, d, e, f, g, h, rest @ ..] = bytes;
    let [i, j, k, l, m, n, o, p] = rest;
    [d, c, b, a, f, e, h, g, i, j, k, l, m, n, o, p]
}

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in swapped(self.0).iter().enumerate() {
            let dash = if matches!(index, 4 | 6 | 8 | 10) { "-" } else { "" };
            write!(f, "{dash}{byte:02x}")?;
        }
        Ok(())
    }
}

/// A digest (FNV-1a, 128 bits) of what is known of a new image. It tells images apart, and proves nothing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Digest(u128);

impl Digest {
    pub fn new() -> Self {
        Self(OFFSET)
    }

    pub fn add(&mut self, value: u64) {
        for byte in value.to_le_bytes() {
            self.0 = (self.0 ^ u128::from(byte)).wrapping_mul(PRIME);
        }
    }

    /// Version 8 (made in a way of its own) of RFC 9562. Different for each `purpose`.
    pub fn guid(mut self, purpose: u64) -> Guid {
        self.add(purpose);
        let mut bytes = self.0.to_be_bytes();
        bytes[6] = bytes[6] & 0x0f | 0x80;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        Guid(swapped(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::{Digest, Guid};

    #[test]
    fn texts() {
        let text = "00112233-4455-6677-8899-aabbccddeeff";
        let guid = Guid::parse(text).unwrap();
        assert_eq!(guid.0[..6], [0x33, 0x22, 0x11, 0, 0x55, 0x44]);
        assert_eq!(guid.to_string(), text);
        assert_eq!(Guid::parse(&format!("{{{}}}", text.to_uppercase())), Some(guid));
        for bad in ["", "{", "{}", &text[1..], "0011223344556677-8899-aabbccddeeff", &text.replace('a', "+")]
        {
            assert_eq!(Guid::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn digests_differ() {
        let (mut a, mut b) = (Digest::new(), Digest::new());
        a.add(1);
        b.add(2);
        assert_ne!(a.guid(1), b.guid(1));
        assert_ne!(a.guid(1), a.guid(2));
        assert_eq!(a.guid(1).to_string().as_bytes()[14], b'8');
    }
}

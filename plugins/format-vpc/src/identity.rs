//! UUIDs, and how a plugin without a clock and random numbers makes one.

use std::fmt;

const OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;

/// The bytes of a UUID, in the order in which it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity(pub [u8; 16]);

impl Identity {
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
        Some(Self(u128::from_str_radix(&digits, 16).ok()?.to_be_bytes()))
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
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
    pub fn identity(mut self, purpose: u64) -> Identity {
        self.add(purpose);
        let mut bytes = self.0.to_be_bytes();
        bytes[6] = bytes[6] & 0x0f | 0x80;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        Identity(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::{Digest, Identity};

    #[test]
    fn texts() {
        let text = "00112233-4455-6677-8899-aabbccddeeff";
        let identity = Identity::parse(text).unwrap();
        assert_eq!(identity.0[..6], [0, 0x11, 0x22, 0x33, 0x44, 0x55]);
        assert_eq!(identity.to_string(), text);
        assert_eq!(Identity::parse(&format!("{{{}}}", text.to_uppercase())), Some(identity));
        for bad in ["", "{", "{}", &text[1..], "0011223344556677-8899-aabbccddeeff", &text.replace('a', "+")]
        {
            assert_eq!(Identity::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn digests_differ() {
        let (mut a, mut b) = (Digest::new(), Digest::new());
        a.add(1);
        b.add(2);
        assert_ne!(a.identity(1), b.identity(1));
        assert_ne!(a.identity(1), a.identity(2));
        assert_eq!(a.identity(1).to_string().as_bytes()[14], b'8');
    }
}

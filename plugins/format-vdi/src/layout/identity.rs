//! UUIDs for a plugin that has neither a clock nor random numbers.

use crate::header::{Kind, Uuid};

const OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;

/// A digest (FNV-1a, 128 bits) of what is known of the image. It tells images apart, and proves nothing.
#[derive(Debug, Clone, Copy)]
pub(super) struct Identity(u128);

impl Identity {
    pub fn new(virtual_size: u64, kind: Kind) -> Self {
        let mut identity = Self(OFFSET);
        identity.add(virtual_size);
        identity.add(u64::from(kind.number()));
        identity
    }

    pub fn add(&mut self, value: u64) {
        for byte in value.to_le_bytes() {
            self.0 = (self.0 ^ u128::from(byte)).wrapping_mul(PRIME);
        }
    }

    /// The identity of the image.
    pub fn id(self) -> Uuid {
        self.uuid(1)
    }

    /// The UUID of its last modification.
    pub fn modification(self) -> Uuid {
        self.uuid(2)
    }

    /// Version 8 (made in a way of its own) of RFC 9562; the file has the first fields little-endian.
    fn uuid(mut self, purpose: u64) -> Uuid {
        self.add(purpose);
        let mut bytes = self.0.to_le_bytes();
        bytes[7] = bytes[7] & 0x0f | 0x80;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        Uuid(bytes)
    }
}

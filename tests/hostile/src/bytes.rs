//! Putting numbers into buffers.

/// Bytes of a fixed length in which fields are set.
#[derive(Debug, Clone)]
pub struct Bytes(pub Vec<u8>);

impl Bytes {
    /// `length` zeros.
    pub fn new(length: usize) -> Self {
        Self(vec![0; length])
    }

    /// Writes bytes at an offset; the buffer grows where needed.
    #[must_use]
    pub fn put(mut self, offset: usize, bytes: &[u8]) -> Self {
        if self.0.len() < offset + bytes.len() {
            self.0.resize(offset + bytes.len(), 0);
        }
        self.0[offset..offset + bytes.len()].copy_from_slice(bytes);
        self
    }

    /// A big-endian number of 4 bytes.
    #[must_use]
    pub fn be32(self, offset: usize, value: u32) -> Self {
        self.put(offset, &value.to_be_bytes())
    }

    /// A big-endian number of 8 bytes.
    #[must_use]
    pub fn be64(self, offset: usize, value: u64) -> Self {
        self.put(offset, &value.to_be_bytes())
    }

    /// A little-endian number of 2 bytes.
    #[must_use]
    pub fn le16(self, offset: usize, value: u16) -> Self {
        self.put(offset, &value.to_le_bytes())
    }

    /// A little-endian number of 4 bytes.
    #[must_use]
    pub fn le32(self, offset: usize, value: u32) -> Self {
        self.put(offset, &value.to_le_bytes())
    }

    /// A little-endian number of 8 bytes.
    #[must_use]
    pub fn le64(self, offset: usize, value: u64) -> Self {
        self.put(offset, &value.to_le_bytes())
    }
}

impl From<Bytes> for Vec<u8> {
    fn from(bytes: Bytes) -> Self {
        bytes.0
    }
}

/// Bytes that do not compress, the same every time.
pub fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as u8
    };
    (0..length).map(|_| next()).collect()
}

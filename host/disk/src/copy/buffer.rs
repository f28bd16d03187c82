//! A buffer that begins on a page boundary.

/// The kernel copies whole pages to and from the page cache.
const ALIGNMENT: usize = 4096;

/// Bytes on a page boundary, kept from one unit to the next.
#[derive(Default)]
pub(super) struct Buffer {
    memory: Vec<u8>,
}

impl Buffer {
    /// `length` bytes with any content.
    pub(super) fn bytes(&mut self, length: usize) -> &mut [u8] {
        if self.memory.len() < length + ALIGNMENT {
            // Grown by a resize, it would be copied.
            self.memory = vec![0; length + ALIGNMENT];
        }
        let start = self.memory.as_ptr().align_offset(ALIGNMENT);
        // An allocator may decline to say; then any start is right, only slower.
        let start = if start < ALIGNMENT { start } else { 0 };
        &mut self.memory[start..start + length]
    }
}

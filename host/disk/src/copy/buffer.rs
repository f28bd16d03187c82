//! Buffers that begin on a page boundary, kept from one unit to the next.

use std::sync::{Mutex, PoisonError};

/// The kernel copies whole pages to and from the page cache.
const ALIGNMENT: usize = 4096;

/// Bytes on a page boundary.
#[derive(Default)]
pub(super) struct Buffer {
    memory: Vec<u8>,
}

impl Buffer {
    /// `length` bytes with any content: what was there before, unless it has to grow.
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

/// Buffers that nobody uses at the moment.
#[derive(Default)]
pub(super) struct Pool {
    free: Mutex<Vec<Buffer>>,
}

impl Pool {
    /// One of them, or a new one.
    pub(super) fn take(&self) -> Buffer {
        self.free.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }

    /// For the next.
    pub(super) fn give(&self, buffer: Buffer) {
        self.free.lock().unwrap_or_else(PoisonError::into_inner).push(buffer);
    }
}

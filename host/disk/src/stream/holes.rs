//! Streams that know where they have holes.

use std::io::{self, Cursor, Read};

/// Bytes in order, some of which are zeros that nobody has to look at.
pub(crate) trait Stream: Read + Send {
    /// Passes over what comes next and is stored nowhere, at most `most` bytes; how many. 0 says nothing of what comes.
    ///
    /// # Errors
    /// As reading.
    fn hole(&mut self, most: u64) -> io::Result<u64> {
        let _ = most;
        Ok(0)
    }
}

impl Stream for Box<dyn Stream> {
    fn hole(&mut self, most: u64) -> io::Result<u64> {
        self.as_mut().hole(most)
    }
}

/// A stream that has no holes, or does not know of them.
pub(crate) struct Plain<R>(pub(crate) R);

impl<R: Read> Read for Plain<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl<R: Read + Send> Stream for Plain<R> {}

/// A stream whose first bytes were looked at.
pub(crate) struct Peeked {
    /// Those.
    pub(crate) head: Cursor<Vec<u8>>,
    /// What follows.
    pub(crate) rest: Box<dyn Stream>,
}

impl Peeked {
    fn is_past(&self) -> bool {
        self.head.position() >= self.head.get_ref().len() as u64
    }
}

impl Read for Peeked {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.is_past() { self.rest.read(buffer) } else { self.head.read(buffer) }
    }
}

impl Stream for Peeked {
    fn hole(&mut self, most: u64) -> io::Result<u64> {
        if self.is_past() { self.rest.hole(most) } else { Ok(0) }
    }
}

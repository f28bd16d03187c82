//! A piece of a table in memory.

use super::read::{MAX_READ, ReadAt, read_exact};
use crate::Error;

/// The last bytes that were read, and how far to read ahead.
///
/// Reads are exact as long as tables are scattered. When a table lies right behind the last one, twice as much is read as
/// the time before, up to [`MAX_READ`]: tables of 512 bytes in a row then cost one read in 2,048.
#[derive(Debug, Default)]
pub struct Window {
    offset: u64,
    bytes: Vec<u8>,
    ahead: usize,
}

impl Window {
    /// `len` bytes from `offset`; `what` names the table in errors.
    ///
    /// # Errors
    /// As [`read_exact`].
    pub fn get<R: ReadAt>(
        &mut self,
        source: &R,
        offset: u64,
        len: usize,
        what: &str,
    ) -> Result<&[u8], Error> {
        if self.position(offset, len).is_none() {
            self.fill(source, offset, len, what)?;
        }
        let start = self.position(offset, len).unwrap_or_default();
        Ok(self.bytes.get(start..start + len).unwrap_or_default())
    }

    fn position(&self, offset: u64, len: usize) -> Option<usize> {
        let start = usize::try_from(offset.checked_sub(self.offset)?).ok()?;
        (start.checked_add(len)? <= self.bytes.len()).then_some(start)
    }

    fn fill<R: ReadAt>(&mut self, source: &R, offset: u64, len: usize, what: &str) -> Result<(), Error> {
        let in_row = !self.bytes.is_empty() && offset == self.offset + self.bytes.len() as u64;
        self.ahead = if in_row { (2 * self.ahead).clamp(len, MAX_READ as usize) } else { len };
        let rest = usize::try_from(source.size().saturating_sub(offset)).unwrap_or(usize::MAX);
        let want = self.ahead.min(rest).max(len);
        self.bytes.clear();
        self.bytes = read_exact(source, offset, want, what)?;
        self.offset = offset;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::Window;
    use crate::Error;
    use crate::disk::ReadAt;

    struct Counted(Vec<u8>, Cell<u32>);

    impl ReadAt for Counted {
        fn size(&self) -> u64 {
            self.0.size()
        }

        fn read_at(&self, offset: u64, len: u32) -> Result<Vec<u8>, Error> {
            self.1.set(self.1.get() + 1);
            self.0.read_at(offset, len)
        }
    }

    fn source(len: usize) -> Counted {
        Counted((0..len).map(|i| (i / 512) as u8).collect(), Cell::new(0))
    }

    #[test]
    fn reads_ahead_only_in_a_row() {
        let source = source(1 << 20);
        let mut window = Window::default();
        for table in 0..2048 {
            let bytes = window.get(&source, table * 512, 512, "a table").unwrap();
            assert_eq!(bytes, vec![table as u8; 512]);
        }
        assert!(source.1.get() <= 12, "{} reads", source.1.get());
        source.1.set(0);
        for table in (0..1024).rev().map(|half| 2 * half) {
            assert_eq!(window.get(&source, table * 512, 512, "a table").unwrap()[0], table as u8);
        }
        assert!(source.1.get() <= 1024);
    }

    #[test]
    fn ends_at_the_end() {
        let source = source(1000);
        let mut window = Window::default();
        assert_eq!(window.get(&source, 0, 400, "a table").unwrap().len(), 400);
        assert_eq!(window.get(&source, 400, 400, "a table").unwrap().len(), 400);
        let error = window.get(&source, 800, 400, "a table").unwrap_err();
        assert!(error.message.contains("a table lies past the end"), "{error:?}");
        assert_eq!(window.get(&source, 800, 200, "a table").unwrap().len(), 200);
    }
}

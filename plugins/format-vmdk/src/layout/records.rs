//! What a writer remembers of the grains it placed: runs, so that a large disk takes little memory.

use crate::{Error, ErrorKind};

/// Memory that the records may take, within the 64 MiB that a plugin has by default.
const MAX_BYTES: usize = 44 << 20;
/// Elements of a part, so that growing copies nothing.
const PART: usize = 8192;

/// Grains that follow each other in the guest.
#[derive(Debug, Clone, Copy)]
struct Run {
    first: u32,
    count: u32,
}

/// Ascending in the guest and in the file.
#[derive(Debug, Default)]
pub(super) struct Records {
    runs: Parts<Run>,
    /// Stored sizes of compressed grains.
    sizes: Parts<u32>,
}

impl Records {
    /// Adds a grain behind all others; `stored` is the size of a compressed one.
    pub fn add(&mut self, grain: u32, stored: Option<u32>) -> Result<(), Error> {
        let bytes = self.runs.len * size_of::<Run>() + self.sizes.len * size_of::<u32>();
        if bytes > MAX_BYTES {
            return Err(Error::new(ErrorKind::Limit, "too many separate grains to remember")
                .with("runs", self.runs.len)
                .with("compressed-grains", self.sizes.len));
        }
        if let Some(stored) = stored {
            self.sizes.push(stored);
        }
        match self.runs.last_mut() {
            Some(last) if last.first.checked_add(last.count) == Some(grain) => last.count += 1,
            _ => self.runs.push(Run { first: grain, count: 1 }),
        }
        Ok(())
    }

    /// The grain at a cursor and its stored size (0 when it is not compressed), without moving it.
    pub fn peek(&self, cursor: &Cursor) -> Option<(u64, u64)> {
        let run = self.runs.get(cursor.run)?;
        let stored = self.sizes.get(cursor.nth).copied().unwrap_or_default();
        Some((u64::from(run.first) + u64::from(cursor.within), u64::from(stored)))
    }

    /// Moves a cursor to the next grain.
    pub fn advance(&self, cursor: &mut Cursor) {
        cursor.nth += 1;
        cursor.within += 1;
        if self.runs.get(cursor.run).is_some_and(|run| cursor.within >= run.count) {
            cursor.run += 1;
            cursor.within = 0;
        }
    }

    /// A number that is another for most other images: grains and sizes, by FNV-1a.
    pub fn fingerprint(&self, seed: u64) -> u32 {
        let runs = self.runs.iter().flat_map(|run| [run.first, run.count]);
        let words =
            [seed as u32, (seed >> 32) as u32].into_iter().chain(runs).chain(self.sizes.iter().copied());
        words
            .flat_map(u32::to_le_bytes)
            .fold(0x811c_9dc5, |hash: u32, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
    }
}

/// A place among the records.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Cursor {
    run: usize,
    within: u32,
    /// Grains before it.
    nth: usize,
}

/// A vector in parts.
#[derive(Debug)]
struct Parts<T> {
    parts: Vec<Vec<T>>,
    len: usize,
}

impl<T> Default for Parts<T> {
    fn default() -> Self {
        Self { parts: Vec::new(), len: 0 }
    }
}

impl<T> Parts<T> {
    fn push(&mut self, value: T) {
        match self.parts.last_mut() {
            Some(part) if part.len() < PART => part.push(value),
            _ => {
                let mut part = Vec::with_capacity(PART);
                part.push(value);
                self.parts.push(part);
            }
        }
        self.len += 1;
    }

    fn get(&self, index: usize) -> Option<&T> {
        self.parts.get(index / PART)?.get(index % PART)
    }

    fn last_mut(&mut self) -> Option<&mut T> {
        self.parts.last_mut()?.last_mut()
    }

    fn iter(&self) -> impl Iterator<Item = &T> {
        self.parts.iter().flatten()
    }
}

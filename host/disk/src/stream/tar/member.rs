//! The bytes of the chosen member, and what follows it.

use std::io::{self, Read};

use super::{Chooser, Entry, Meant, Walk};
use crate::error::{Error, ErrorKind, Result};
use crate::stream::Stream;

/// Reads a member's bytes, holes as zeros; then the rest of the archive, where no second disk may be, to the end of the
/// input.
pub(crate) struct MemberReader {
    walk: Walk<Box<dyn Read + Send>>,
    chooser: Chooser,
    /// What is stored, as offset and length, in order.
    ranges: Vec<(u64, u64)>,
    range: usize,
    at: u64,
    size: u64,
    ended: bool,
}

impl MemberReader {
    /// Walks to the member. Also returns what it found.
    pub(crate) fn find(input: Box<dyn Read + Send>, label: &str, meant: Meant<'_>) -> Result<(Self, Entry)> {
        let mut walk = Walk::new(input, label);
        let mut chooser = Chooser::new(label, meant);
        while let Some(entry) = walk.next()? {
            if !chooser.consider(&entry)? {
                continue;
            }
            let ranges = entry.sparse.clone().unwrap_or_else(|| vec![(0, entry.size)]);
            let reader = Self { walk, chooser, ranges, range: 0, at: 0, size: entry.size, ended: false };
            return Ok((reader, entry));
        }
        // That it is not here is believed of the whole archive, once its digest was compared.
        to_the_end(&mut walk)?;
        chooser.chosen()?;
        Err(Error::new(ErrorKind::NotFound, format!("{label} has no members")))
    }

    /// Looks for a second disk, and reads to the end of the input: whoever hashes it wants to see everything.
    fn finish(&mut self) -> Result<()> {
        while let Some(entry) = self.walk.next()? {
            self.chooser.consider(&entry)?;
        }
        to_the_end(&mut self.walk)
    }

    fn leave_passed(&mut self) {
        while self.ranges.get(self.range).is_some_and(|(offset, length)| offset + length <= self.at) {
            self.range += 1;
        }
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize> {
        self.leave_passed();
        let (begin, end) = match self.ranges.get(self.range) {
            Some((offset, length)) => (*offset, offset + length),
            None => (self.size, self.size),
        };
        let until = if self.at < begin { begin } else { end };
        let count = (until - self.at).min(buffer.len() as u64) as usize;
        if self.at < begin {
            buffer[..count].fill(0);
        } else {
            self.walk.exact(&mut buffer[..count])?;
        }
        self.at += count as u64;
        Ok(count)
    }
}

fn to_the_end(walk: &mut Walk<Box<dyn Read + Send>>) -> Result<()> {
    let rest = io::copy(&mut walk.input, &mut io::sink());
    rest.map(drop).map_err(|error| crate::stream::incoming::failure(error, || "read an archive".into()))
}

impl Stream for MemberReader {
    fn hole(&mut self, most: u64) -> io::Result<u64> {
        self.leave_passed();
        let end = self.ranges.get(self.range).map_or(self.size, |(offset, _)| *offset);
        let hole = end.saturating_sub(self.at).min(most);
        self.at += hole;
        Ok(hole)
    }
}

impl Read for MemberReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() || self.ended {
            return Ok(0);
        }
        if self.at < self.size {
            return Ok(self.fill(buffer)?);
        }
        self.finish()?;
        self.ended = true;
        Ok(0)
    }
}

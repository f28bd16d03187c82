//! From header to header.

use std::io::{self, Read};

use super::Entry;
use super::choose::{clean, shown};
use super::header::{BLOCK, Header, more_ranges, pax_records};
use crate::error::{Error, ErrorKind, Result};
use crate::stream::incoming::failure;

/// Largest extended header, in bytes: names of files and sparse maps.
const MAX_EXTENDED: u64 = 1 << 20;

/// Most ranges in the map of a sparse member: 1 MiB of disk each makes half a terabyte, and they take 8 MiB of memory.
const MAX_RANGES: usize = 512 << 10;

/// Most extended headers before one member: writers make one of each kind.
const MAX_HEADERS: u32 = 16;

/// Most members.
const MAX_MEMBERS: u64 = 1 << 20;

/// What can be read in order, and passed over.
pub(crate) trait Skip: Read {
    /// Passes over `bytes`; as many as there are, when there are fewer.
    ///
    /// # Errors
    /// As reading.
    fn skip(&mut self, bytes: u64) -> io::Result<()>;
}

impl Skip for Box<dyn Read + Send> {
    fn skip(&mut self, bytes: u64) -> io::Result<()> {
        io::copy(&mut self.by_ref().take(bytes), &mut io::sink()).map(drop)
    }
}

/// Walks over the members of an archive.
pub(crate) struct Walk<R> {
    pub(super) input: R,
    pub(super) label: String,
    /// Bytes read or passed over.
    pub(super) at: u64,
    /// Where the next header begins.
    next: u64,
    members: u64,
}

/// What is stored of a sparse member, as offset and length, and its length with the holes.
type SparseMap = (Vec<(u64, u64)>, u64);

/// What extended headers say of the member that follows them.
#[derive(Default)]
struct Extended {
    name: Option<String>,
    size: Option<u64>,
    sparse: PaxSparse,
}

/// The keys `GNU.sparse.*`.
#[derive(Default)]
struct PaxSparse {
    real_size: Option<u64>,
    name: Option<String>,
    ranges: Vec<(u64, u64)>,
    offset: Option<u64>,
    map_in_data: bool,
}

impl<R: Skip> Walk<R> {
    /// `input` at the first header.
    pub(crate) fn new(input: R, label: &str) -> Self {
        Self { input, label: label.to_owned(), at: 0, next: 0, members: 0 }
    }

    /// The next member, with the input at its stored bytes.
    pub(crate) fn next(&mut self) -> Result<Option<Entry>> {
        let mut extended = Extended::default();
        let mut headers = 0;
        loop {
            self.pass(self.next - self.at)?;
            let Some(header) = self.header()? else { return Ok(None) };
            self.members += 1;
            if self.members > MAX_MEMBERS {
                return Err(Error::new(
                    ErrorKind::Limit,
                    format!("{} has more than {MAX_MEMBERS} members", self.label),
                ));
            }
            self.end_at(header.size)?;
            headers += 1;
            if headers > MAX_HEADERS + 1 {
                let message = format!(
                    "{}: a member (near byte {}) has more than {MAX_HEADERS} extended headers",
                    self.label, self.at
                );
                return Err(Error::new(ErrorKind::Limit, message));
            }
            match header.kind {
                b'L' => extended.name = Some(self.long_name(header.size)?),
                b'x' => self.pax(header.size, &mut extended)?,
                // Long targets of links; what holds for all members: comments.
                b'K' | b'g' => {}
                _ => return self.entry(header, extended).map(Some),
            }
        }
    }

    fn entry(&mut self, header: Header, extended: Extended) -> Result<Entry> {
        let stored = extended.size.unwrap_or(header.size);
        let regular = matches!(header.kind, b'0' | 0 | b'7' | b'S');
        // Links and directories have no bytes, whatever their size says.
        let stored = if matches!(header.kind, b'1'..=b'6') { 0 } else { stored };
        let name = extended.sparse.name.clone().or(extended.name).unwrap_or(header.name);
        // Old archives mark a directory by its name alone.
        let directory = header.kind == b'5' || name.ends_with('/');
        let regular = regular && !directory;
        let begin = self.at;
        let sparse = match header.sparse {
            Some(sparse) => Some((self.gnu_ranges(sparse.ranges, sparse.extended)?, sparse.real_size)),
            None => self.pax_ranges(extended.sparse, stored)?,
        };
        // GNU's further blocks of a map are not counted into the size, those of pax are.
        let map = self.at - begin;
        let counted = if header.kind == b'S' { 0 } else { map };
        let offset = self.at;
        let rest =
            stored.checked_sub(counted).ok_or_else(|| self.bad("a sparse map is longer than its member"))?;
        self.end_at(rest)?;
        let (size, sparse) = match sparse {
            Some((ranges, size)) => (size, Some(self.checked(&name, ranges, size, rest)?)),
            None => (rest, None),
        };
        Ok(Entry { name: clean(&name).to_owned(), regular, directory, offset, stored: rest, size, sparse })
    }

    /// Notes where the padded bytes of a member end, which begin here.
    fn end_at(&mut self, size: u64) -> Result<()> {
        let end = self.at.checked_add(size).and_then(|end| end.checked_next_multiple_of(BLOCK as u64));
        self.next = end.ok_or_else(|| self.bad("a member is too long"))?;
        Ok(())
    }

    fn pass(&mut self, bytes: u64) -> Result<()> {
        let label = &self.label;
        self.input.skip(bytes).map_err(|error| failure(error, || format!("read {label}")))?;
        self.at += bytes;
        Ok(())
    }

    fn header(&mut self) -> Result<Option<Header>> {
        let mut block = [0; BLOCK];
        // Without the two blocks of zeros at its end, an archive is complete all the same, if it ends between members.
        let first = loop {
            match self.input.read(&mut block) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read.map_err(|error| failure(error, || format!("read {}", self.label)))?,
            }
        };
        if first == 0 {
            return Ok(None);
        }
        self.exact(&mut block[first..])?;
        self.at += first as u64;
        Header::parse(&block).map_err(|why| self.bad(&why))
    }

    /// Fills `buffer`; counts it.
    pub(super) fn exact(&mut self, buffer: &mut [u8]) -> Result<()> {
        match self.input.read_exact(buffer) {
            Ok(()) => {
                self.at += buffer.len() as u64;
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(self.bad("it ends in a member"))
            }
            Err(error) => Err(failure(error, || format!("read {}", self.label))),
        }
    }

    fn bad(&self, why: &str) -> Error {
        let message = format!("{}: the tar archive is damaged near byte {}: {why}", self.label, self.at);
        Error::new(ErrorKind::Corrupt, message)
    }

    fn extended(&mut self, size: u64) -> Result<Vec<u8>> {
        if size > MAX_EXTENDED {
            return Err(self.bad("an extended header is longer than 1 MiB"));
        }
        let mut data = vec![0; size as usize];
        self.exact(&mut data)?;
        Ok(data)
    }

    fn long_name(&mut self, size: u64) -> Result<String> {
        let data = self.extended(size)?;
        let end = data.iter().position(|byte| *byte == 0).unwrap_or(data.len());
        Ok(String::from_utf8_lossy(&data[..end]).into_owned())
    }

    fn pax(&mut self, size: u64, extended: &mut Extended) -> Result<()> {
        let data = self.extended(size)?;
        let sparse = &mut extended.sparse;
        for (key, value) in pax_records(&data).map_err(|why| self.bad(&why))? {
            let number = || value.parse::<u64>().map_err(|_| self.bad("a number of a pax header is none"));
            match key.as_str() {
                "path" => extended.name = Some(value),
                "size" => extended.size = Some(number()?),
                "GNU.sparse.name" => sparse.name = Some(value),
                "GNU.sparse.size" | "GNU.sparse.realsize" => sparse.real_size = Some(number()?),
                "GNU.sparse.major" => sparse.map_in_data = number()? == 1,
                "GNU.sparse.offset" => sparse.offset = Some(number()?),
                "GNU.sparse.numbytes" => {
                    let offset =
                        sparse.offset.take().ok_or_else(|| self.bad("a sparse range has no offset"))?;
                    self.check_ranges(sparse.ranges.len() + 1)?;
                    sparse.ranges.push((offset, number()?));
                }
                "GNU.sparse.map" => {
                    let numbers: Option<Vec<u64>> = value.split(',').map(|word| word.parse().ok()).collect();
                    let numbers = numbers.ok_or_else(|| self.bad("a sparse map is malformed"))?;
                    self.check_ranges(numbers.len() / 2)?;
                    sparse.ranges = numbers.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect();
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The map of an old GNU sparse member goes on in blocks of its own.
    fn gnu_ranges(&mut self, mut ranges: Vec<(u64, u64)>, mut more: bool) -> Result<Vec<(u64, u64)>> {
        while more {
            let mut block = [0; BLOCK];
            self.exact(&mut block)?;
            let (further, again) = more_ranges(&block).map_err(|why| self.bad(&why))?;
            ranges.extend(further);
            more = again;
            self.check_ranges(ranges.len())?;
        }
        Ok(ranges)
    }

    /// The map of a pax sparse member; in version 1.0 its data begins with it, in decimal lines.
    fn pax_ranges(&mut self, sparse: PaxSparse, stored: u64) -> Result<Option<SparseMap>> {
        let Some(real_size) = sparse.real_size else { return Ok(None) };
        if !sparse.map_in_data {
            return Ok(Some((sparse.ranges, real_size)));
        }
        let end = self.at.saturating_add(stored);
        let mut lines = Lines { block: [0; BLOCK], at: BLOCK };
        let count = lines.number(self, end)?;
        self.check_ranges(usize::try_from(count).unwrap_or(usize::MAX))?;
        let mut ranges = Vec::new();
        for _ in 0..count {
            ranges.push((lines.number(self, end)?, lines.number(self, end)?));
        }
        Ok(Some((ranges, real_size)))
    }

    fn check_ranges(&self, count: usize) -> Result<()> {
        if count <= MAX_RANGES {
            return Ok(());
        }
        let message = format!(
            "{}: a sparse member has more than {MAX_RANGES} ranges: store it without --sparse",
            self.label
        );
        Err(Error::new(ErrorKind::Limit, message))
    }

    fn checked(
        &self,
        name: &str,
        ranges: Vec<(u64, u64)>,
        size: u64,
        stored: u64,
    ) -> Result<Vec<(u64, u64)>> {
        let mut at = 0;
        let mut sum = 0u64;
        for (offset, length) in &ranges {
            let end = offset.checked_add(*length).filter(|end| *offset >= at && *end <= size);
            at = end.ok_or_else(|| {
                self.bad(&format!("the sparse map of \"{}\" contradicts itself", shown(name)))
            })?;
            sum += length;
        }
        if sum > stored {
            return Err(
                self.bad(&format!("the sparse map of \"{}\" has more data than the member", shown(name)))
            );
        }
        Ok(ranges)
    }
}

/// Decimal lines in whole blocks.
struct Lines {
    block: [u8; BLOCK],
    at: usize,
}

impl Lines {
    fn number<R: Skip>(&mut self, walk: &mut Walk<R>, end: u64) -> Result<u64> {
        let mut number = 0u64;
        loop {
            if self.at == BLOCK {
                if walk.at >= end {
                    return Err(walk.bad("a sparse map does not end"));
                }
                walk.exact(&mut self.block)?;
                self.at = 0;
            }
            let byte = self.block[self.at];
            self.at += 1;
            let digit = match byte {
                b'\n' => return Ok(number),
                b'0'..=b'9' => u64::from(byte - b'0'),
                _ => return Err(walk.bad("a sparse map is malformed")),
            };
            let next = number.checked_mul(10).and_then(|number| number.checked_add(digit));
            number = next.ok_or_else(|| walk.bad("a sparse map is malformed"))?;
        }
    }
}

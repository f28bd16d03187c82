//! Reading: from the file, ahead of the stream, and a second time.

use std::io;
use std::os::unix::fs::FileExt;

use sha2::{Digest as _, Sha256};

use super::{Ahead, FAR, MAX_AHEAD_READS, Remote, SLACK, Spool};
use crate::copy::write_nonzero;
use crate::error::{Error, ErrorKind, Result};
use crate::stream::blocks::BLOCK;

/// Where a range is.
enum Place {
    /// It has arrived, or all there is: up to this byte.
    Stored(u64),
    /// It comes from elsewhere from this byte on, sooner than with the stream.
    Ahead(u64),
}

impl Spool {
    /// Reads up to the end. `far`: from elsewhere where that is quicker.
    pub(super) fn read(&self, buffer: &mut [u8], offset: u64, far: bool) -> Result<usize> {
        self.progress.check()?;
        let size = witvirt_core::source::ByteSource::size(self);
        let length = size.saturating_sub(offset).min(buffer.len() as u64) as usize;
        if length == 0 {
            return Ok(0);
        }
        let buffer = &mut buffer[..length];
        match self.await_range(offset, offset + length as u64, far)? {
            Place::Stored(arrived) => {
                // It may have ended before what was told to be its size.
                let there = arrived.saturating_sub(offset).min(length as u64) as usize;
                self.read_stored(&mut buffer[..there], offset)?;
                Ok(there)
            }
            Place::Ahead(from) => {
                let (near, rest) = buffer.split_at_mut((from - offset) as usize);
                self.read_stored(near, offset)?;
                Ok(near.len() + self.fetch_ahead(rest, from)?)
            }
        }
    }

    /// Waits for `start .. end`, as far as it does not come from elsewhere.
    fn await_range(&self, start: u64, end: u64, far: bool) -> Result<Place> {
        let mut state = self.lock();
        loop {
            let most = state.arrived.saturating_mul(2).saturating_add(SLACK);
            let again = state.punched.touches(start, end) || state.used > most;
            if again && self.remote.is_none() {
                state.twice = true;
                return Err(self.used_twice(start, end));
            }
            let can_jump = far && self.remote.is_some() && state.ahead.len() < MAX_AHEAD_READS;
            if can_jump && end > state.arrived.saturating_add(FAR) {
                return Ok(Place::Ahead(start.max(state.arrived)));
            }
            if end <= state.arrived || state.ended {
                return Ok(Place::Stored(state.arrived));
            }
            if state.wanted < end {
                state.wanted = end;
                self.changed.notify_all();
            }
            state = self.wait(state)?;
        }
    }

    fn used_twice(&self, start: u64, end: u64) -> Error {
        let message = format!(
            "the image in {} uses its bytes from {start} to {end} twice, which a stream gives only once: store it in a file \
             and import that",
            self.label
        );
        Error::new(ErrorKind::Unsupported, message)
    }

    /// Reads what has arrived: out of the file, or once more from the server where it was let go.
    fn read_stored(&self, buffer: &mut [u8], offset: u64) -> Result<()> {
        let end = offset + buffer.len() as u64;
        let mut at = offset;
        while at < end {
            let gone = self.lock().punched.first(at, end);
            let rest = &mut buffer[(at - offset) as usize..];
            let read = match gone {
                Some((start, reach)) if start == at => {
                    self.fetch_again(&mut rest[..(reach - at) as usize], at)?
                }
                gone => {
                    let until = gone.map_or(end, |(start, _)| start);
                    self.read_file(&mut rest[..(until - at) as usize], at)?
                }
            };
            at += read as u64;
        }
        Ok(())
    }

    /// Fills `buffer` from the file, where zeros at its end are left out. 0 when something of it was let go meanwhile.
    fn read_file(&self, buffer: &mut [u8], offset: u64) -> Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.file.read_at(&mut buffer[filled..], offset + filled as u64) {
                Ok(0) => {
                    buffer[filled..].fill(0);
                    break;
                }
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    return Err(Error::io(format!("read what has arrived of {}", self.label), error));
                }
            }
        }
        let gone = self.lock().punched.touches(offset, offset + buffer.len() as u64);
        Ok(if gone { 0 } else { buffer.len() })
    }

    /// Reads what the stream has not come to yet from the server; it is compared when it gets there.
    fn fetch_ahead(&self, buffer: &mut [u8], offset: u64) -> Result<usize> {
        let Some(remote) = &self.remote else { return Ok(0) };
        let outcome = remote.blob.read(remote.base + offset, buffer);
        let mut state = self.lock();
        let read = outcome.inspect_err(|error| {
            // A plugin would tell it in its own words.
            state.failed.get_or_insert((error.kind(), error.to_string()));
        })?;
        if offset + read as u64 > state.arrived {
            let digest = Sha256::digest(&buffer[..read]).into();
            let ahead = Ahead { offset, length: read, digest };
            state.ahead.push(ahead);
            state.untold.push(ahead);
            return Ok(read);
        }
        drop(state);
        // The stream was quicker, and nobody would compare it any more.
        self.read_stored(&mut buffer[..read], offset)?;
        Ok(read)
    }

    /// Compares what was fetched ahead with what has come by now.
    pub(super) fn compare(&self, ahead: &Ahead) -> Result<()> {
        let mut bytes = vec![0; ahead.length];
        self.read_stored(&mut bytes, ahead.offset)?;
        if <[u8; 32]>::from(Sha256::digest(&bytes)) == ahead.digest {
            return Ok(());
        }
        Err(self.other_bytes(ahead.offset))
    }

    pub(super) fn other_bytes(&self, offset: u64) -> Error {
        let message = format!(
            "the server gave other bytes for a range of {} (from byte {offset}) than for the whole of it",
            self.label
        );
        Error::new(ErrorKind::Changed, message)
    }

    /// Fetches the block of the source in which `offset` lies, compares it with what passed by, and keeps it. How many bytes
    /// of `buffer` it filled; none when somebody else was quicker.
    fn fetch_again(&self, buffer: &mut [u8], offset: u64) -> Result<usize> {
        let Some(remote) = &self.remote else {
            self.lock().twice = true;
            return Err(self.used_twice(offset, offset + buffer.len() as u64));
        };
        let number = (remote.base + offset) / BLOCK;
        let mut state = self.lock();
        while state.fetching.contains(&number) {
            state = self.wait(state)?;
        }
        if !state.punched.touches(offset, offset + 1) {
            return Ok(0);
        }
        state.fetching.insert(number);
        drop(state);
        let outcome = self.keep_block(remote, number);
        let mut state = self.lock();
        state.fetching.remove(&number);
        self.changed.notify_all();
        let bytes = outcome.inspect_err(|error| {
            state.failed.get_or_insert((error.kind(), error.to_string()));
        })?;
        drop(state);
        let from = (remote.base + offset - number * BLOCK) as usize;
        let there = bytes.get(from..).unwrap_or_default();
        let count = there.len().min(buffer.len());
        if count == 0 {
            let message = format!("{} has become shorter", self.label);
            return Err(Error::new(ErrorKind::Changed, message));
        }
        buffer[..count].copy_from_slice(&there[..count]);
        Ok(count)
    }

    /// A block of the source, which is in the file afterwards, as far as it belongs to the image.
    fn keep_block(&self, remote: &Remote, number: u64) -> Result<Vec<u8>> {
        let bytes = remote.blocks.fetch(remote.blob.as_ref(), number)?;
        let first = number * BLOCK;
        let begin = first.max(remote.base);
        let start = begin - remote.base;
        let arrived = self.lock().arrived;
        let inside = bytes.get((begin - first) as usize..).unwrap_or_default();
        let end = (start + inside.len() as u64).min(arrived).max(start);
        write_nonzero(&self.file, start, &inside[..(end - start) as usize])
            .map_err(|error| error.during(format!("keep a block of {}", self.label)))?;
        let mut state = self.lock();
        // Where that would be too many pieces it is fetched as often as it is wanted.
        if state.punched.remove(start, end) {
            state.consumed.remove(start, end);
        }
        Ok(bytes)
    }
}

//! Which entries of the log count: [MS-VHDX] 2.3.3.

use std::collections::HashMap;

use witvirt_sdk::disk::ReadAt;

use super::entry::{self, Entry};
use super::{PAGE, Ring};
use crate::Error;

/// What may be read for checksums besides four times the log: stale entries may overlap, but not without end.
const SLACK: u64 = 64 << 20;

/// The log, each of whose entries is read once.
struct Scan<'a, 'b, R> {
    ring: &'a Ring<'b, R>,
    known: HashMap<u64, Option<Entry>>,
    budget: u64,
}

/// The entries of the active sequence that are to be replayed, in order; `None` when there is no valid sequence.
pub(super) fn active<R: ReadAt>(ring: &Ring<'_, R>) -> Result<Option<Vec<Entry>>, Error> {
    let mut scan = Scan { ring, known: HashMap::new(), budget: 4 * ring.length + SLACK };
    let mut best: Option<Vec<Entry>> = None;
    let mut position = 0;
    while position < ring.length {
        let run = scan.run(position)?;
        let taken: u64 = run.iter().map(|entry| entry.length).sum();
        let Some(replayed) = from_tail(run) else {
            position += PAGE;
            continue;
        };
        let newest = |entries: &[Entry]| entries.last().map(|entry| entry.sequence);
        if best.as_deref().and_then(newest) < newest(&replayed) {
            best = Some(replayed);
        }
        // Past its end; around that of the ring there is nothing new.
        position += taken;
    }
    Ok(best)
}

/// The part of a run from the entry on that its head names as the oldest; `None` when that is not in it.
fn from_tail(mut run: Vec<Entry>) -> Option<Vec<Entry>> {
    let tail = run.last()?.tail;
    let first = run.iter().position(|entry| entry.position == tail)?;
    Some(run.split_off(first))
}

impl<R: ReadAt> Scan<'_, '_, R> {
    /// The entries that follow each other from a position on, with consecutive numbers.
    fn run(&mut self, start: u64) -> Result<Vec<Entry>, Error> {
        let mut run: Vec<Entry> = Vec::new();
        let (mut position, mut taken) = (start, 0);
        while let Some(entry) = self.entry(position)? {
            let next = run.last().is_none_or(|last| last.sequence.checked_add(1) == Some(entry.sequence));
            if !next || taken + entry.length > self.ring.length {
                break;
            }
            run.push(entry);
            taken += entry.length;
            position = self.ring.after(position, entry.length);
        }
        Ok(run)
    }

    fn entry(&mut self, position: u64) -> Result<Option<Entry>, Error> {
        if let Some(entry) = self.known.get(&position) {
            return Ok(*entry);
        }
        let entry = entry::read(self.ring, position, &mut self.budget)?;
        self.known.insert(position, entry);
        Ok(entry)
    }
}

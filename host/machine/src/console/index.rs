//! When which part of a console log was printed.

use std::time::Duration;

use crate::time::Timestamp;

/// Output is told apart to this precision.
const BUCKET: Duration = Duration::from_secs(1);

/// Above this, neighbours are merged: an index stays below 100 KiB, and the past becomes coarser.
const MAX_ENTRIES: usize = 2048;

/// Output that begins at `offset` was first seen at `first`, and no later than `last`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub offset: u64,
    pub first: Timestamp,
    pub last: Timestamp,
}

/// Entries with ascending offsets and times.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Index {
    entries: Vec<Entry>,
}

/// What has to be done to the file after a note.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Noted {
    Nothing,
    Append(Entry),
    Rewrite,
}

impl Index {
    /// From the lines of the file; ends at the first that does not fit, as a torn write leaves it.
    pub(super) fn parse(text: &[u8]) -> Self {
        let mut index = Self::default();
        for line in text.split_inclusive(|byte| *byte == b'\n') {
            let Some(entry) = parse_line(line) else { break };
            let fits = index.entries.last().is_none_or(|before| before.offset < entry.offset);
            if !fits || index.entries.len() > 2 * MAX_ENTRIES {
                break;
            }
            index.entries.push(entry);
        }
        index
    }

    /// The file's content.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        self.entries.iter().flat_map(|entry| line(entry).into_bytes()).collect()
    }

    /// Output from `offset` on was seen at `now`.
    pub(super) fn note(&mut self, offset: u64, now: Timestamp) -> Noted {
        if self.entries.last().is_some_and(|last| now <= last.last || offset <= last.offset) {
            return Noted::Nothing;
        }
        let entry = Entry { offset, first: now, last: now.after(BUCKET) };
        self.entries.push(entry);
        if self.entries.len() <= MAX_ENTRIES {
            return Noted::Append(entry);
        }
        let merge = |pair: &[Entry]| Entry { last: pair[pair.len() - 1].last, ..pair[0] };
        let (old, recent) = self.entries.split_at(MAX_ENTRIES / 2);
        self.entries = old.chunks(2).map(merge).chain(recent.iter().copied()).collect();
        Noted::Rewrite
    }

    /// Output after the last note may be as recent as `time`: nobody was there to see it.
    pub(super) fn extend(&mut self, start: u64, time: Timestamp) {
        match self.entries.last_mut() {
            Some(entry) => entry.last = entry.last.max(time),
            None => self.entries.push(Entry { offset: start, first: Timestamp::default(), last: time }),
        }
    }

    /// Forgets what lies before `start`, but for the entry that reaches into it.
    pub(super) fn forget_before(&mut self, start: u64) {
        let keep = self.entries.partition_point(|entry| entry.offset <= start).saturating_sub(1);
        self.entries.drain(..keep);
    }

    /// Where output of `time` or later begins; `end` when there is none. Exact to a second, sooner rather than later.
    pub(super) fn since(&self, time: Timestamp, end: u64) -> u64 {
        self.entries.iter().find(|entry| entry.last >= time).map_or(end, |entry| entry.offset)
    }
}

pub(super) fn line(entry: &Entry) -> String {
    format!("{} {} {}\n", entry.offset, entry.first.millis(), entry.last.millis())
}

fn parse_line(line: &[u8]) -> Option<Entry> {
    let text = std::str::from_utf8(line.strip_suffix(b"\n")?).ok()?;
    let mut numbers = text.split(' ').map(|number| number.parse::<u64>().ok());
    let (offset, first, last) = (numbers.next()??, numbers.next()??, numbers.next()??);
    let entry = Entry { offset, first: Timestamp::from_millis(first), last: Timestamp::from_millis(last) };
    (numbers.next().is_none() && first <= last).then_some(entry)
}

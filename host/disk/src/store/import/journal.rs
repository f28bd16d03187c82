//! What an import that can be resumed has finished, one JSON object on each line: its work, chunks of the disk with their
//! digests, the state of the hash functions, pieces.
//!
//! Nothing here is believed without looking: whoever resumes hashes every chunk of the unfinished disk again. So the journal
//! need not be flushed, and a line that was cut counts as none.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};

use cap_std::fs::Dir;
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::error::{Doing, Result};
use crate::store::dirs;
use crate::store::temp::JOURNAL;
use crate::stream::{Ahead, SavedHashers, hex, unhex};

/// Longest line, in bytes.
const MAX_LINE: u64 = 16 << 10;

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Line {
    /// The SHA-256 of what is imported, the first line: a name is only the beginning of it. Not the text, which is as long
    /// as an artifact has pieces.
    Work(String),
    /// First byte and digest of a chunk that is not all zeros.
    Chunk(u64, String),
    /// What the source's bytes hash to so far.
    Hash(SavedHashers),
    /// The chunks that follow need no more of the source than this many bytes, whose blocks are noted.
    Seen(u64),
    /// Offset, length and digest of what was fetched ahead, of which the chunks that follow may depend.
    Ahead(u64, usize, String),
    /// The number of a piece that is complete.
    Piece(usize),
}

/// What an earlier attempt has finished, by its own account.
#[derive(Debug, Default)]
pub(super) struct Finished {
    /// Digests of chunks by their first byte.
    pub(super) chunks: BTreeMap<u64, [u8; 32]>,
    /// The last state of the hash functions.
    pub(super) hashers: Option<SavedHashers>,
    /// What of the source the chunks were made of, in bytes from its beginning.
    pub(super) seen: u64,
    /// What of the source was fetched ahead of that.
    pub(super) ahead: Vec<Ahead>,
    /// Complete pieces.
    pub(super) pieces: BTreeSet<usize>,
}

/// An open journal.
#[derive(Debug)]
pub(super) struct Journal {
    file: File,
    /// What its first line says.
    work: String,
    begun: bool,
}

impl Journal {
    /// Opens the journal of a directory and reads what it says of `work`; it is begun anew where it is of other work.
    pub(super) fn open(dir: &Dir, work: &str) -> Result<(Self, Finished)> {
        let file = dirs::open(dir, JOURNAL, OFlags::RDWR | OFlags::CREATE)?;
        let mut journal = Self { file, work: hex(&Sha256::digest(work)), begun: false };
        match journal.read()? {
            Some(finished) => {
                journal.begun = finished.hashers.is_some() || !finished.pieces.is_empty();
                Ok((journal, finished))
            }
            None => {
                journal.restart()?;
                Ok((journal, Finished::default()))
            }
        }
    }

    /// Forgets everything.
    pub(super) fn restart(&mut self) -> Result<()> {
        self.begun = false;
        self.file.set_len(0).doing(|| "empty a journal".into())?;
        self.file.rewind().doing(|| "empty a journal".into())?;
        self.append(&[Line::Work(self.work.clone())])
    }

    /// Whether there is anything to go on with.
    pub(super) fn is_begun(&self) -> bool {
        self.begun
    }

    /// Notes chunks, by first byte and digest.
    pub(super) fn chunks(&mut self, chunks: &[(u64, [u8; 32])]) -> Result<()> {
        let lines: Vec<Line> = chunks.iter().map(|(start, leaf)| Line::Chunk(*start, hex(leaf))).collect();
        self.append(&lines)
    }

    /// Notes what the chunks that are noted from now on are made of: the source's first `seen` bytes, and these.
    pub(super) fn sources(&mut self, seen: u64, ahead: &[Ahead]) -> Result<()> {
        let ahead = ahead.iter().map(|ahead| Line::Ahead(ahead.offset, ahead.length, hex(&ahead.digest)));
        self.append(&ahead.chain([Line::Seen(seen)]).collect::<Vec<_>>())
    }

    /// Notes how far the source was hashed.
    pub(super) fn hashers(&mut self, saved: SavedHashers) -> Result<()> {
        self.begun = true;
        self.append(&[Line::Hash(saved)])
    }

    /// Notes that a piece is complete.
    pub(super) fn piece(&mut self, number: usize) -> Result<()> {
        self.begun = true;
        self.append(&[Line::Piece(number)])
    }

    fn append(&mut self, lines: &[Line]) -> Result<()> {
        let mut text = Vec::new();
        for line in lines {
            serde_json::to_writer(&mut text, line)
                .map_err(std::io::Error::other)
                .doing(|| "write a line".into())?;
            text.push(b'\n');
        }
        self.file.write_all(&text).doing(|| "write a journal".into())
    }

    /// `None` when it is empty, or of other work. Leaves the file at the end of its last whole line.
    fn read(&mut self) -> Result<Option<Finished>> {
        let mut reader = BufReader::new(&self.file);
        let mut finished = Finished::default();
        let mut good = 0;
        let mut text = Vec::new();
        loop {
            text.clear();
            let read = reader
                .by_ref()
                .take(MAX_LINE)
                .read_until(b'\n', &mut text)
                .doing(|| "read a journal".into())?;
            if read == 0 || text.last() != Some(&b'\n') {
                break;
            }
            let Ok(line) = serde_json::from_slice::<Line>(&text) else { break };
            match line {
                Line::Work(of) if good == 0 && of == self.work => {}
                _ if good == 0 => return Ok(None),
                Line::Work(_) => break,
                Line::Chunk(start, leaf) => {
                    let Some(leaf) = unhex(&leaf).and_then(|leaf| leaf.try_into().ok()) else { break };
                    finished.chunks.insert(start, leaf);
                }
                Line::Seen(seen) => finished.seen = finished.seen.max(seen),
                Line::Ahead(offset, length, digest) => {
                    let Some(digest) = unhex(&digest).and_then(|digest| digest.try_into().ok()) else {
                        break;
                    };
                    finished.ahead.push(Ahead { offset, length, digest });
                }
                Line::Hash(saved) => finished.hashers = Some(saved),
                Line::Piece(number) => drop(finished.pieces.insert(number)),
            }
            good += read as u64;
        }
        drop(reader);
        if good == 0 {
            return Ok(None);
        }
        self.file.set_len(good).doing(|| "cut a journal".into())?;
        self.file.seek(SeekFrom::Start(good)).doing(|| "cut a journal".into())?;
        Ok(Some(finished))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::Journal;
    use crate::stream::Hashers;

    #[test]
    fn what_was_finished_is_known_again_but_not_half_a_line() {
        let tmp = tempfile::tempdir().unwrap();
        let dir = cap_std::fs::Dir::open_ambient_dir(tmp.path(), cap_std::ambient_authority()).unwrap();
        let (mut journal, finished) = Journal::open(&dir, "a").unwrap();
        assert!(finished.chunks.is_empty());
        let mut hashers = Hashers::new(&[]);
        hashers.update(b"abc");
        journal.chunks(&[(0, [1; 32]), (1 << 20, [2; 32])]).unwrap();
        journal.hashers(hashers.save()).unwrap();
        journal.piece(7).unwrap();
        let whole = std::fs::read(tmp.path().join("journal")).unwrap();
        for cut in 0..whole.len() {
            std::fs::write(tmp.path().join("journal"), &whole[..cut]).unwrap();
            let (mut journal, finished) = Journal::open(&dir, "a").unwrap();
            assert!(finished.chunks.len() <= 2 && finished.pieces.is_empty(), "{cut}");
            journal.piece(9).unwrap();
            assert!(Journal::open(&dir, "a").unwrap().1.pieces.contains(&9), "{cut}");
        }
        std::fs::write(tmp.path().join("journal"), &whole).unwrap();
        let (journal, finished) = Journal::open(&dir, "a").unwrap();
        assert_eq!(finished.chunks.into_iter().collect::<Vec<_>>(), [(0, [1; 32]), (1 << 20, [2; 32])]);
        assert_eq!(finished.hashers, Some(hashers.save()));
        assert!(finished.pieces.contains(&7));
        journal.file.write_all_at(b"x", 3).unwrap();
        assert!(Journal::open(&dir, "a").unwrap().1.chunks.is_empty());
        std::fs::write(tmp.path().join("journal"), &whole).unwrap();
        assert!(Journal::open(&dir, "b").unwrap().1.pieces.is_empty());
    }

    #[test]
    fn work_that_takes_long_to_describe_is_gone_on_with() {
        let tmp = tempfile::tempdir().unwrap();
        let dir = cap_std::fs::Dir::open_ambient_dir(tmp.path(), cap_std::ambient_authority()).unwrap();
        let work = "a piece of an artifact; ".repeat(100_000);
        Journal::open(&dir, &work).unwrap().0.piece(7).unwrap();
        assert!(Journal::open(&dir, &work).unwrap().1.pieces.contains(&7));
        assert!(Journal::open(&dir, &work[1..]).unwrap().1.pieces.is_empty());
    }
}

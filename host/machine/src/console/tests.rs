use std::io::Write;
use std::sync::Arc;

use cap_std::ambient_authority;
use cap_std::fs::Dir;
use proptest::prelude::*;

use super::index::{Entry, Index, Noted};
use super::log::{ConsoleLog, OLDER};
use super::{LogQuery, LogReader, Watcher};
use crate::storage::CONSOLE_LOG;
use crate::time::{Clock, Timestamp};

const LIMIT: u64 = 16 << 10;

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_millis(seconds * 1000)
}

struct Fixture {
    dir: tempfile::TempDir,
    log: Arc<ConsoleLog>,
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let log = open(&dir);
        Self { dir, log }
    }

    fn reopen(&mut self) {
        self.log = open(&self.dir);
    }

    fn print(&self, bytes: &[u8]) {
        self.log.appender().unwrap().write_all(bytes).unwrap();
    }

    fn all(&self) -> Vec<u8> {
        let (_, bytes) = self.log.read(0, 1 << 20).unwrap();
        bytes
    }
}

fn open(dir: &tempfile::TempDir) -> Arc<ConsoleLog> {
    let dir = Dir::open_ambient_dir(dir.path(), ambient_authority()).unwrap();
    Arc::new(ConsoleLog::open(Arc::new(dir), LIMIT).unwrap())
}

/// So many numbered lines, from `first` on, of 16 bytes each.
fn lines(first: usize, count: usize) -> Vec<u8> {
    (first..first + count).flat_map(|number| format!("line {number:010}\n").into_bytes()).collect()
}

#[test]
fn rotation_keeps_every_byte_within_the_bounds_and_forgets_the_oldest() {
    let mut fixture = Fixture::new();
    let mut writer = fixture.log.appender().unwrap();
    for round in 0..100 {
        writer.write_all(&lines(round * 100, 100)).unwrap();
        fixture.log.notice(at(round as u64)).unwrap();
        let length =
            |name| std::fs::metadata(fixture.dir.path().join(name)).map_or(0, |metadata| metadata.len());
        assert!(length(CONSOLE_LOG) <= LIMIT, "round {round}");
        assert!(length(OLDER) <= LIMIT + 4096, "round {round}");
        if round % 7 == 0 {
            fixture.reopen();
        }
        let (from, kept) = fixture.log.read(0, 1 << 20).unwrap();
        let printed = lines(0, (round + 1) * 100);
        assert_eq!(kept, printed[from as usize..], "round {round}");
        assert!(kept.len() as u64 >= LIMIT.min(printed.len() as u64), "round {round}");
    }
}

#[test]
fn more_than_the_limit_at_once_keeps_the_end() {
    let fixture = Fixture::new();
    let printed = lines(0, 20_000);
    fixture.print(&printed);
    fixture.log.notice(at(1)).unwrap();
    let (from, kept) = fixture.log.read(0, 1 << 20).unwrap();
    assert_eq!(kept, printed[from as usize..]);
    assert!(kept.len() as u64 >= LIMIT && kept.len() as u64 <= 2 * LIMIT + 4096, "{}", kept.len());
}

/// Copies a log's directory at each of the moments at which a rotation may be interrupted.
#[test]
fn interrupted_rotation_is_ended_by_the_next_daemon() {
    let printed = lines(0, 1500);
    let moving = (printed.len() as u64 - 1) / 4096 * 4096;
    let intent = format!(r#"{{"schema":1,"base":0,"moving":{moving}}}"#);
    let front = &printed[..moving as usize];
    type Files<'a> = &'a [(&'a str, &'a [u8])];
    let moments: [(&str, Files<'_>); 4] = [
        ("draft written", &[("console.log.1.tmp", front), (CONSOLE_LOG, &printed)]),
        (
            "intent written",
            &[("console.log.1.tmp", front), (CONSOLE_LOG, &printed), ("console.json", intent.as_bytes())],
        ),
        ("renamed", &[(OLDER, front), (CONSOLE_LOG, &printed), ("console.json", intent.as_bytes())]),
        (
            "cut",
            &[
                (OLDER, front),
                (CONSOLE_LOG, &printed[moving as usize..]),
                ("console.json", intent.as_bytes()),
            ],
        ),
    ];
    for (moment, files) in moments {
        let dir = tempfile::tempdir().unwrap();
        for (name, bytes) in files {
            std::fs::write(dir.path().join(name), bytes).unwrap();
        }
        for _ in 0..2 {
            let log = open(&dir);
            assert_eq!(log.read(0, 1 << 20).unwrap(), (0, printed.clone()), "{moment}");
            assert!(!dir.path().join("console.log.1.tmp").exists(), "{moment}");
        }
    }
}

#[test]
fn tail_finds_lines_over_both_files() {
    let fixture = Fixture::new();
    fixture.print(&lines(0, 1500));
    fixture.log.notice(at(1)).unwrap();
    fixture.print(b"login: ");
    fixture.log.notice(at(2)).unwrap();
    let printed = [lines(0, 1500), b"login: ".to_vec()].concat();
    for (count, expected) in [(0, 0), (1, 7), (2, 23), (1001, 16_007)] {
        let position = fixture.log.tail(count).unwrap() as usize;
        assert_eq!(printed.len() - position, expected, "{count} lines");
    }
    assert_eq!(fixture.log.tail(1_000_000).unwrap(), fixture.log.read(0, 0).unwrap().0);
}

#[test]
fn since_finds_what_was_printed_then_across_restarts() {
    let mut fixture = Fixture::new();
    for (second, text) in [(100, "boot\n"), (200, "ready\n"), (300, "late\n")] {
        fixture.print(text.as_bytes());
        fixture.log.notice(at(second)).unwrap();
    }
    for _ in 0..2 {
        let text = |seconds| {
            let (_, bytes) = fixture.log.read(fixture.log.since(at(seconds)), 1000).unwrap();
            String::from_utf8(bytes).unwrap()
        };
        assert_eq!(text(0), "boot\nready\nlate\n");
        assert_eq!(text(150), "ready\nlate\n");
        assert_eq!(text(200), "ready\nlate\n");
        assert_eq!(text(202), "late\n");
        fixture.reopen();
    }
    // What was printed while nobody watched is never later than the file's own time.
    fixture.print(b"alone\n");
    fixture.reopen();
    let (_, bytes) = fixture.log.read(fixture.log.since(at(1000)), 1000).unwrap();
    assert!(bytes.ends_with(b"alone\n"));
}

#[test]
fn torn_index_is_read_as_far_as_it_goes() {
    let entry = Entry { offset: 5, first: at(1), last: at(2) };
    let mut index = Index::default();
    assert_eq!(index.note(5, at(1)), Noted::Append(entry));
    assert_eq!(Index::parse(b"5 1000 2000\n9 30"), index);
    assert_eq!(Index::parse(b"5 1000 2000\n4 3000 4000\n"), index, "offsets ascend");
    assert_eq!(Index::parse(b"\xff\n"), Index::default());
}

#[tokio::test]
async fn followed_log_delivers_what_is_printed_until_it_is_closed() {
    let fixture = Fixture::new();
    let watcher = Watcher::new(Clock::system()).unwrap();
    let mut writer = fixture.log.appender().unwrap();
    let _watch = watcher.watch(&fixture.log, &writer).unwrap();
    let query = LogQuery { follow: true, ..LogQuery::default() };
    let mut reader = LogReader::open(Arc::clone(&fixture.log), query).await.unwrap();
    let printed = lines(0, 5000);
    let expected = printed.len();
    let writing = std::thread::spawn(move || {
        for piece in printed.chunks(160) {
            writer.write_all(piece).unwrap();
        }
        printed
    });
    let (mut position, mut read, mut skipped) = (0, Vec::new(), 0);
    while position < expected {
        let chunk = reader.next().await.unwrap().unwrap();
        skipped += chunk.skipped;
        position += chunk.skipped as usize + chunk.bytes.len();
        read.extend(chunk.bytes);
    }
    let printed = writing.join().unwrap();
    assert_eq!(read.len() as u64 + skipped, printed.len() as u64);
    assert!(printed.ends_with(&read[read.len().saturating_sub(1000)..]));
    fixture.log.close();
    assert_eq!(reader.next().await.unwrap(), None);
}

#[test]
fn guest_bytes_are_kept_as_they_are() {
    let fixture = Fixture::new();
    let bytes: Vec<u8> = (0..=255).collect();
    fixture.print(&bytes);
    assert_eq!(fixture.all(), bytes);
}

proptest! {
    #[test]
    fn no_index_panics(text in proptest::collection::vec(any::<u8>(), 0..400), time in any::<u64>()) {
        let index = Index::parse(&text);
        let _ = index.since(Timestamp::from_millis(time), 1 << 40);
        prop_assert_eq!(Index::parse(&index.to_bytes()), index);
    }

    #[test]
    fn index_errs_on_the_side_of_more(pauses in proptest::collection::vec(0..5000u64, 1..4000)) {
        let mut index = Index::default();
        let (mut now, mut printed) = (1_000_000, Vec::new());
        for (position, pause) in pauses.iter().enumerate() {
            now += pause;
            index.note(position as u64, Timestamp::from_millis(now));
            printed.push(now);
        }
        for (position, time) in printed.iter().enumerate().step_by(97) {
            let found = index.since(Timestamp::from_millis(*time), printed.len() as u64);
            prop_assert!(found <= position as u64, "byte {position} of {time} is left out from {found}");
        }
        prop_assert!(index.to_bytes().len() < 100 << 10);
    }
}

//! Whether a case ended as it has to.

use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::case::{Case, Content, Verdict};
use crate::child::Failure;
use crate::run::{CANARY, Run};

/// Memory that an import may take beyond that of the idle process with its plugins, in bytes.
pub const MEMORY: u64 = 64 << 20;

/// Seconds of processor time that an import may take: the second that is asked for, on a machine that does nothing else.
pub const SECONDS: f64 = 1.0;

/// What is wrong with the end of a case.
pub fn faults(case: &Case, run: &Run) -> Vec<String> {
    let mut faults = Vec::new();
    faults.extend(leaks(run));
    faults.extend(leftovers(&run.store));
    let Some(outcome) = &run.outcome else {
        faults.push(format!("the process was killed or died; its log ends: {}", end_of(&run.log)));
        return faults;
    };
    // What is no error is read to its end: two gigabytes of zeros, say.
    let seconds = if outcome.result.is_ok() { 5.0 * SECONDS } else { SECONDS };
    if outcome.busy > seconds {
        faults.push(format!("it took {:.1} s, {:.1} of them busy", outcome.seconds, outcome.busy));
    }
    let grown = outcome.peak.saturating_sub(outcome.idle);
    if grown > MEMORY {
        faults.push(format!("it took {} MiB", grown >> 20));
    }
    match (&case.verdict, &outcome.result) {
        (Verdict::Refuse(kinds, word), Err(failure)) => {
            let kinds: Vec<String> = kinds.iter().map(|kind| format!("{kind:?}")).collect();
            faults.extend(refusal(case, failure, &kinds, word));
        }
        (Verdict::Refuse(..), Ok(_)) => faults.push("it was imported".to_owned()),
        (Verdict::Confine(_), Err(failure)) => {
            faults.push(format!("it was refused: {}: {}", failure.kind, failure.message));
        }
        (Verdict::Confine(content), Ok(digest)) => {
            let disk = run.store.join("images").join(digest).join("disk.raw");
            faults.extend(difference(&disk, content));
        }
    }
    faults
}

fn refusal(case: &Case, failure: &Failure, kinds: &[String], word: &str) -> Vec<String> {
    let Failure { kind, message } = failure;
    let mut faults = Vec::new();
    if !kinds.contains(kind) {
        faults.push(format!("{kind} instead of {}: {message}", kinds.join(" or ")));
    }
    if !message.contains(word) {
        faults.push(format!("the message does not say \"{word}\": {message}"));
    }
    if message.chars().any(char::is_control) {
        faults.push(format!("the message has control characters: {message:?}"));
    }
    if message.len() > 2000 {
        faults.push(format!("the message has {} bytes", message.len()));
    }
    let names = case.files.iter().map(|(name, _)| name.as_str()).chain([case.what.name()]);
    let named = names.into_iter().any(|name| {
        let last = name.rsplit('/').next().unwrap_or(name);
        message.contains(&last.escape_debug().to_string())
    });
    if !named && !matches!(case.what, crate::case::What::Manifest(_)) {
        faults.push(format!("the message does not name the file: {message}"));
    }
    faults
}

fn leaks(run: &Run) -> Vec<String> {
    let mut faults = Vec::new();
    let secret = CANARY.split(':').next().unwrap_or(CANARY);
    if run.log.contains(secret) {
        faults.push("the log has the canary's text".to_owned());
    }
    let message = run.outcome.as_ref().and_then(|outcome| outcome.result.as_ref().err());
    if message.is_some_and(|failure| failure.message.contains(secret)) {
        faults.push("the message has the canary's text".to_owned());
    }
    for file in files_below(&run.store) {
        let small = file.metadata().is_ok_and(|data| data.is_file() && data.blocks() < 2 << 14);
        if small && holds(&file, secret.as_bytes()) {
            faults.push(format!("{} has the canary's text", file.display()));
        }
    }
    faults
}

/// Every file below a directory, links not followed.
fn files_below(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut pending = vec![directory.to_owned()];
    while let Some(directory) = pending.pop() {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => pending.push(entry.path()),
                _ => found.push(entry.path()),
            }
        }
    }
    found
}

/// Whether the first MiB of a file holds these bytes: the canary would come at its beginning.
fn holds(file: &Path, bytes: &[u8]) -> bool {
    let mut head = Vec::new();
    let read = fs::File::open(file).and_then(|file| file.take(1 << 20).read_to_end(&mut head));
    read.is_ok() && head.windows(bytes.len()).any(|window| window == bytes)
}

fn leftovers(store: &Path) -> Vec<String> {
    let entries = fs::read_dir(store.join("tmp")).into_iter().flatten().flatten();
    entries.map(|entry| format!("tmp/{} is left in the store", entry.file_name().display())).collect()
}

/// How a disk differs from what it has to be.
pub fn difference(disk: &Path, content: &Content) -> Option<String> {
    let Ok(data) = fs::metadata(disk) else { return Some("there is no disk in the store".to_owned()) };
    match content {
        Content::Bytes(bytes) => {
            let equal = data.len() == bytes.len() as u64 && fs::read(disk).is_ok_and(|disk| disk == *bytes);
            (!equal).then(|| "the content is another one".to_owned())
        }
        Content::Hole(size) => {
            let wrong = data.len() != *size || data.blocks() * 512 > 1 << 20;
            wrong.then(|| format!("{} bytes with {} allocated", data.len(), data.blocks() * 512))
        }
        Content::Sha256(expected) => {
            let found = sha256(disk);
            (found != *expected).then(|| format!("the content has the SHA-256 {found}"))
        }
    }
}

/// Of a whole file, in lower-case hex; empty where it cannot be read.
pub fn sha256(file: &Path) -> String {
    let Ok(mut file) = fs::File::open(file) else { return String::new() };
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect(),
            Ok(read) => hash.update(&buffer[..read]),
            Err(_) => return String::new(),
        }
    }
}

fn end_of(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(3)..].join(" | ")
}

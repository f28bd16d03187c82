//! Where two hooks changed the same place of a document.
//!
//! Nothing is parsed: a document is cut into pieces, before each "<" (each line, where it is JSON), and for each piece is
//! known which hook last wrote it. A hook that removes or replaces a piece of another hook's is a conflict, whose loser does
//! not know. White space at the end of pieces does not count, since indentation follows what is inserted, and neither do
//! closing tags, which go with their opening ones, and pieces that a hook only moves.

use std::collections::HashMap;

use similar::{Algorithm, DiffOp, capture_diff_slices};

use crate::api::document::{Conflict, Stage};

/// Conflicts that are told of.
const CONFLICTS: usize = 100;
/// Characters of a piece that are shown.
const SHOWN: usize = 120;
/// Pairs of pieces, old and new, between the first change and the last, up to which two documents are compared; a change
/// beyond that counts as the later hook's, and is not told.
const COMPARED: usize = 4 << 20;

/// A document in pieces.
#[derive(Default)]
struct Pieces<'d> {
    texts: Vec<&'d str>,
    /// The line that each begins in, from 1.
    lines: Vec<u32>,
    /// Which stage wrote each; `None`: it was there before the first hook.
    writers: Vec<Option<usize>>,
}

/// Every conflict between the hooks of a conversion, in their order.
pub(super) fn find(stages: &[Stage]) -> Vec<Conflict> {
    let done: Vec<&Stage> = stages.iter().filter(|stage| stage.skipped.is_none()).collect();
    let is_hook = |pair: &&[&Stage]| matches!(pair, [before, after] if before.media_type == after.media_type);
    if done.windows(2).filter(is_hook).count() < 2 {
        return Vec::new();
    }
    let mut conflicts = Vec::new();
    let mut before = Pieces::default();
    let mut media_type = "";
    for (index, stage) in done.iter().enumerate() {
        let mut after = cut(stage);
        if stage.media_type == media_type {
            compare(&before, &mut after, index, &done, &mut conflicts);
        }
        (before, media_type) = (after, &stage.media_type);
    }
    conflicts.truncate(CONFLICTS);
    conflicts
}

fn cut(stage: &Stage) -> Pieces<'_> {
    let json = stage.media_type.ends_with("json");
    let whole: Vec<&str> = match json {
        true => stage.body.split_inclusive('\n').collect(),
        false => before_each_tag(&stage.body),
    };
    let mut line = 1_u32;
    let mut pieces = Pieces { writers: vec![None; whole.len()], ..Pieces::default() };
    for piece in whole {
        pieces.lines.push(line);
        // A comma follows what is inserted, too.
        let ends = |c: char| c.is_whitespace() || (json && c == ',');
        pieces.texts.push(piece.trim_end_matches(ends));
        let breaks = piece.bytes().filter(|byte| *byte == b'\n').count();
        line = line.saturating_add(u32::try_from(breaks).unwrap_or(u32::MAX));
    }
    pieces
}

fn before_each_tag(text: &str) -> Vec<&str> {
    let starts = text.match_indices('<').map(|(at, _)| at).filter(|at| *at > 0);
    let mut pieces = Vec::new();
    let mut from = 0;
    for start in starts {
        pieces.push(&text[from..start]);
        from = start;
    }
    pieces.push(&text[from..]);
    pieces
}

/// Hands over who wrote what, and notes where `stage` changed what another had written.
fn compare(
    before: &Pieces<'_>,
    after: &mut Pieces<'_>,
    stage: usize,
    stages: &[&Stage],
    conflicts: &mut Vec<Conflict>,
) {
    let changes = changes(&before.texts, &after.texts);
    let mut written = count(changes.iter().flat_map(|change| &after.texts[change.new.clone()]));
    let mut next = (0, 0);
    for change in &changes {
        // What lies between two changes stays as it is.
        let kept = change.old.start - next.0;
        after.writers[next.1..next.1 + kept].copy_from_slice(&before.writers[next.0..change.old.start]);
        after.writers[change.new.clone()].fill(Some(stage));
        next = (change.old.end, change.new.end);
        if change.coarse {
            continue;
        }
        let mut losers: Vec<usize> = Vec::new();
        for at in change.old.clone() {
            let (text, writer) = (before.texts[at], before.writers[at]);
            if moved(&mut written, text) || !says_something(text) {
                continue;
            }
            let Some(writer) = writer.filter(|writer| stages[*writer].plugin != stages[stage].plugin) else {
                continue;
            };
            if losers.contains(&writer) || conflicts.len() >= CONFLICTS {
                continue;
            }
            losers.push(writer);
            conflicts.push(Conflict {
                first: name(stages[writer]),
                second: name(stages[stage]),
                line: before.lines[at],
                before: shown(text),
                after: counterpart(&after.texts[change.new.clone()], at - change.old.start),
            });
        }
    }
    after.writers[next.1..].copy_from_slice(&before.writers[next.0..]);
}

/// A run of pieces that another replaced; one of both may be empty.
struct Change {
    old: std::ops::Range<usize>,
    new: std::ops::Range<usize>,
    /// The documents were too long to be compared piece by piece.
    coarse: bool,
}

/// What changed, in order.
fn changes(old: &[&str], new: &[&str]) -> Vec<Change> {
    let head = old.iter().zip(new).take_while(|(old, new)| old == new).count();
    let tails = old[head..].iter().rev().zip(new[head..].iter().rev());
    let tail = tails.take_while(|(old, new)| old == new).count();
    let (old_inner, new_inner) = (&old[head..old.len() - tail], &new[head..new.len() - tail]);
    if old_inner.is_empty() && new_inner.is_empty() {
        return Vec::new();
    }
    if old_inner.len().saturating_mul(new_inner.len()) > COMPARED {
        let (old, new) = (head..old.len() - tail, head..new.len() - tail);
        return vec![Change { old, new, coarse: true }];
    }
    let ops = capture_diff_slices(Algorithm::Myers, old_inner, new_inner);
    let ops = ops.into_iter().filter(|op| !matches!(op, DiffOp::Equal { .. }));
    let shift = |range: std::ops::Range<usize>| range.start + head..range.end + head;
    ops.map(|op| Change { old: shift(op.old_range()), new: shift(op.new_range()), coarse: false }).collect()
}

fn count<'t>(texts: impl Iterator<Item = &'t &'t str>) -> HashMap<&'t str, usize> {
    let mut counts = HashMap::new();
    for text in texts {
        *counts.entry(*text).or_default() += 1;
    }
    counts
}

/// Whether the same hook wrote the same text at another place.
fn moved(written: &mut HashMap<&str, usize>, text: &str) -> bool {
    match written.get_mut(text) {
        Some(left) if *left > 0 => {
            *left -= 1;
            true
        }
        _ => false,
    }
}

/// Whether a piece is more than white space, a bracket or a closing tag.
fn says_something(text: &str) -> bool {
    let text = text.trim_start();
    let closing = text.strip_prefix("</").is_some_and(|rest| rest.ends_with('>'));
    !closing && text.contains(|c: char| c.is_alphanumeric())
}

/// What stands where a piece was.
fn counterpart(new: &[&str], at: usize) -> Option<String> {
    let said = |text: &&&str| says_something(text);
    new.get(at).filter(said).or_else(|| new.iter().find(said)).map(|text| shown(text))
}

fn shown(text: &str) -> String {
    text.trim_start().chars().take(SHOWN).collect()
}

fn name(stage: &Stage) -> String {
    stage.plugin.clone().unwrap_or_default()
}

#[cfg(test)]
#[path = "conflict_tests.rs"]
mod tests;

//! The stages of a conversion for people: which plugin changed which line.

use similar::{ChangeTag, TextDiff};
use witvirt_core::domain::{Diagnostic, Severity};

use super::output::{Paint, clean};
use crate::api::document::{Conflict, Conversion, Stage};

/// Unchanged lines around a change.
const CONTEXT: usize = 3;

/// The whole story of a conversion.
pub fn explain(conversion: &Conversion, paint: Paint) -> String {
    let mut text = format!("{}\n", paint.bold(&format!("pipeline {}", clean(&conversion.pipeline))));
    let mut stages = conversion.stages.iter();
    if let Some(mut before) = stages.next() {
        for after in stages {
            text.push_str(&stage(before, after, paint));
            if after.skipped.is_none() {
                before = after;
            }
        }
    }
    for remark in remarks(conversion, paint) {
        text.push_str(&format!("{remark}\n"));
    }
    for problem in &conversion.problems {
        text.push_str(&format!("{} {}\n", paint.red("error:"), clean(problem)));
    }
    if conversion.machine.is_some() && conversion.problems.is_empty() {
        text.push_str(&format!("{}\n", paint.green("the machine is valid")));
    }
    text
}

/// What is to be said of the whole: of the pipeline itself, and where two hooks changed the same place.
pub fn remarks(conversion: &Conversion, paint: Paint) -> Vec<String> {
    let told = conversion.diagnostics.iter().map(|diagnostic| show(diagnostic, paint));
    let conflict = |conflict: &Conflict| {
        let after = conflict.after.as_deref().map_or("nothing".to_owned(), clean);
        format!(
            "{} line {}: {} changed what {} had written: {} became {after}",
            paint.yellow("warning:"),
            conflict.line,
            clean(&conflict.second),
            clean(&conflict.first),
            clean(&conflict.before),
        )
    };
    told.chain(conversion.conflicts.iter().map(conflict)).collect()
}

fn stage(before: &Stage, after: &Stage, paint: Paint) -> String {
    let who = who(after);
    let mut text = if let Some(reason) = &after.skipped {
        let heading = paint.bold(&format!("{who} was passed over"));
        format!("\n{heading}\n  {}\n", clean(reason))
    } else if before.media_type == after.media_type {
        let heading = paint.bold(&format!("{who} changed {}", clean(&before.media_type)));
        format!("\n{heading}\n{}", changes(before, after, &who, paint))
    } else {
        let heading = format!("{who} made {} from {}", clean(&after.media_type), clean(&before.media_type));
        let lines = after.body.lines().enumerate();
        let whole: String =
            lines.map(|(index, line)| format!("{}\n", paint.green(&added(index + 1, line, "")))).collect();
        format!("\n{}\n{whole}", paint.bold(&heading))
    };
    for diagnostic in &after.diagnostics {
        text.push_str(&format!("  {}\n", show(diagnostic, paint)));
    }
    text
}

/// Changed lines with their numbers, the plugin at the end of each.
fn changes(before: &Stage, after: &Stage, who: &str, paint: Paint) -> String {
    let diff = TextDiff::from_lines(&before.body, &after.body);
    let mut text = String::new();
    for (index, group) in diff.grouped_ops(CONTEXT).iter().enumerate() {
        if index > 0 {
            text.push_str("   ...\n");
        }
        for change in group.iter().flat_map(|operation| diff.iter_changes(operation)) {
            let line = change.value().trim_end_matches(['\r', '\n']);
            let number = change.new_index().or(change.old_index()).map_or(0, |index| index + 1);
            let shown = match change.tag() {
                ChangeTag::Equal => format!("{number:>5}   {}", clean(line)),
                ChangeTag::Insert => paint.green(&added(number, line, who)),
                ChangeTag::Delete => paint.red(&format!("{number:>5} - {}    [{who}]", clean(line))),
            };
            text.push_str(&shown);
            text.push('\n');
        }
    }
    if text.is_empty() {
        text.push_str("  no change\n");
    }
    text
}

fn added(number: usize, line: &str, who: &str) -> String {
    let by = if who.is_empty() { String::new() } else { format!("    [{who}]") };
    format!("{number:>5} + {}{by}", clean(line))
}

fn who(stage: &Stage) -> String {
    let plugin = stage.plugin.as_deref().unwrap_or("nobody");
    let version = stage.version.as_deref().map(|version| format!("@{version}")).unwrap_or_default();
    clean(&format!("{plugin}{version}"))
}

/// "warning: line 12: /domain/devices/x: not honoured (libvirt.x)".
pub fn show(diagnostic: &Diagnostic, paint: Paint) -> String {
    let severity = match diagnostic.severity {
        Severity::Error => paint.red("error:"),
        Severity::Warning => paint.yellow("warning:"),
        Severity::Info => "note:".to_owned(),
    };
    let line = diagnostic.line.map(|line| format!(" line {line}:")).unwrap_or_default();
    let path = diagnostic.path.as_deref().map(|path| format!(" {}:", clean(path))).unwrap_or_default();
    format!("{severity}{line}{path} {} ({})", clean(&diagnostic.message), clean(&diagnostic.code))
}

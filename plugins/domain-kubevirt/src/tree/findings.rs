//! Diagnostics while they are collected.

use witvirt_sdk::core::domain::{Diagnostic, Severity};

use super::{Id, Tree};

/// Most diagnostics of each severity; what is over is counted.
const MOST: usize = 200;
const MAX_MESSAGE: usize = 1024;

struct Finding {
    severity: Severity,
    code: &'static str,
    message: String,
    place: Id,
}

#[derive(Default)]
pub(super) struct Findings {
    list: Vec<Finding>,
    counts: [usize; 3],
}

impl Tree {
    /// Reports something about a value. The message is not made when there are too many of its severity.
    pub(crate) fn report(
        &self,
        place: Id,
        severity: Severity,
        code: &'static str,
        message: impl FnOnce() -> String,
    ) {
        let mut findings = self.findings.borrow_mut();
        let count = &mut findings.counts[severity as usize];
        *count += 1;
        if *count > MOST {
            return;
        }
        let message = clip(message(), MAX_MESSAGE);
        findings.list.push(Finding { severity, code, message, place });
    }

    /// Everything that was reported, in the order of lines; then what had to be left out.
    pub(crate) fn diagnostics(&self) -> Vec<Diagnostic> {
        let mut findings = self.findings.take();
        findings.list.sort_by_key(|finding| (self.node(finding.place).line, finding.place));
        let located = findings.list.into_iter().map(|finding| {
            let node = self.node(finding.place);
            let origin = self.origins.get(usize::from(node.origin)).filter(|origin| !origin.is_empty());
            let message = match origin {
                Some(origin) => format!("{} (from {origin})", finding.message),
                None => finding.message,
            };
            Diagnostic::new(finding.severity, finding.code, message).at(self.path(finding.place), node.line)
        });
        let mut diagnostics: Vec<_> = located.collect();
        for severity in [Severity::Error, Severity::Warning, Severity::Info] {
            let over = findings.counts[severity as usize].saturating_sub(MOST);
            if over > 0 {
                let message = format!("{over} more of this severity are not listed");
                diagnostics.push(Diagnostic::new(severity, "kubevirt.diagnostics.truncated", message));
            }
        }
        diagnostics
    }
}

/// Cuts a text at a character boundary, and shows that it was cut.
fn clip(mut text: String, most: usize) -> String {
    if text.len() > most {
        text.truncate(text.floor_char_boundary(most));
        text.push_str("...");
    }
    text
}

/// A value as it may appear in a message: quoted, escaped, at most 80 bytes of it.
pub(crate) fn quote(text: &str) -> String {
    let end = text.floor_char_boundary(80);
    let dots = if end < text.len() { "..." } else { "" };
    format!("\"{}{dots}\"", text[..end].escape_debug())
}

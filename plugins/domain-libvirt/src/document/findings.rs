//! Diagnostics while they are collected: cheap to add; paths and lines are worked out once, at the end.

use witvirt_sdk::core::domain::{Diagnostic, Severity};
use witvirt_sdk::xml::{Document, Id};

/// Most diagnostics of each severity; what is over is counted.
const MOST: usize = 200;
const MAX_MESSAGE: usize = 1024;
const MAX_NAME: usize = 64;

struct Finding {
    severity: Severity,
    code: &'static str,
    message: String,
    node: Id,
    attribute: Option<usize>,
}

#[derive(Default)]
pub(crate) struct Findings {
    list: Vec<Finding>,
    counts: [usize; 3],
}

impl Findings {
    /// Counts one more; whether it is still among those that are listed.
    pub(crate) fn admits(&mut self, severity: Severity) -> bool {
        let count = &mut self.counts[severity as usize];
        *count += 1;
        *count <= MOST
    }

    pub(crate) fn add(
        &mut self,
        severity: Severity,
        code: &'static str,
        message: String,
        node: Id,
        attribute: Option<usize>,
    ) {
        let message = clip(message, MAX_MESSAGE);
        self.list.push(Finding { severity, code, message, node, attribute });
    }

    /// In document order, with paths and lines; then what had to be left out.
    pub(crate) fn into_diagnostics(mut self, document: &Document) -> Vec<Diagnostic> {
        self.list.sort_by_key(|finding| (finding.node, finding.attribute));
        let located = self.list.into_iter().map(|finding| {
            let (path, line) = locate(document, finding.node, finding.attribute);
            Diagnostic {
                severity: finding.severity,
                code: finding.code.to_owned(),
                message: finding.message,
                path: Some(path),
                line: Some(line),
            }
        });
        let mut diagnostics: Vec<_> = located.collect();
        for severity in [Severity::Error, Severity::Warning, Severity::Info] {
            let over = self.counts[severity as usize].saturating_sub(MOST);
            if over > 0 {
                diagnostics.push(Diagnostic {
                    severity,
                    code: "libvirt.diagnostics.truncated".to_owned(),
                    message: format!("{over} more of this severity are not listed"),
                    path: None,
                    line: None,
                });
            }
        }
        diagnostics
    }
}

/// XPath and line of an element or of one of its attributes.
fn locate(document: &Document, id: Id, attribute: Option<usize>) -> (String, u32) {
    let mut path = document.path(id);
    let Some(attribute) = attribute.and_then(|at| document.attributes(id).nth(at)) else {
        return (path, document.line(id));
    };
    path.push_str("/@");
    push_clipped(&mut path, attribute.name());
    (path, attribute.line())
}

fn push_clipped(path: &mut String, name: &str) {
    let end = name.floor_char_boundary(MAX_NAME);
    path.push_str(&name[..end]);
    if end < name.len() {
        path.push_str("...");
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

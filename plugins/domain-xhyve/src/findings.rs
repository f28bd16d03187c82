//! Diagnostics while they are collected.

use witvirt_sdk::core::domain::{Diagnostic, Severity};

/// Most diagnostics of each severity; what is over is counted.
const MOST: usize = 100;
const MAX_MESSAGE: usize = 1024;

/// Where something stands: a word of the command line, or a line of a script.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Place {
    /// Among the words of the command, from 0, the program and what launches it included.
    pub(crate) index: Option<usize>,
    /// In the script, from 1.
    pub(crate) line: Option<u32>,
}

impl Place {
    pub(crate) fn line(line: u32) -> Self {
        Self { index: None, line: Some(line) }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Findings {
    list: Vec<(Place, Diagnostic)>,
    counts: [usize; 3],
}

impl Findings {
    pub(crate) fn error(&mut self, place: Place, code: &'static str, message: impl Into<String>) {
        self.add(Severity::Error, place, code, message.into());
    }

    pub(crate) fn warning(&mut self, place: Place, code: &'static str, message: impl Into<String>) {
        self.add(Severity::Warning, place, code, message.into());
    }

    pub(crate) fn info(&mut self, place: Place, code: &'static str, message: impl Into<String>) {
        self.add(Severity::Info, place, code, message.into());
    }

    pub(crate) fn add(&mut self, severity: Severity, place: Place, code: &'static str, mut message: String) {
        let count = &mut self.counts[severity as usize];
        *count += 1;
        if *count > MOST {
            return;
        }
        if message.len() > MAX_MESSAGE {
            message.truncate(message.floor_char_boundary(MAX_MESSAGE));
            message.push_str("...");
        }
        let path = place.index.map(|index| format!("argv[{index}]"));
        let code = code.to_owned();
        self.list.push((place, Diagnostic { severity, code, message, path, line: place.line }));
    }

    /// In the order of the command line; what concerns the whole of it comes first.
    pub(crate) fn into_diagnostics(mut self) -> Vec<Diagnostic> {
        self.list.sort_by_key(|(place, _)| (place.index, place.line));
        let mut diagnostics: Vec<_> = self.list.into_iter().map(|(_, diagnostic)| diagnostic).collect();
        for severity in [Severity::Error, Severity::Warning, Severity::Info] {
            let over = self.counts[severity as usize].saturating_sub(MOST);
            if over > 0 {
                diagnostics.push(Diagnostic {
                    severity,
                    code: "xhyve.diagnostics.truncated".to_owned(),
                    message: format!("{over} more of this severity are not listed"),
                    path: None,
                    line: None,
                });
            }
        }
        diagnostics
    }
}

/// A text as it may appear in a message: quoted, escaped, at most 80 bytes of it.
pub(crate) fn quote(text: &str) -> String {
    let end = text.floor_char_boundary(80);
    let dots = if end < text.len() { "..." } else { "" };
    format!("\"{}{dots}\"", text[..end].escape_debug())
}

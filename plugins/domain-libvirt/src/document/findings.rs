//! Diagnostics while they are collected: cheap to add; paths and lines are worked out once, at the end.

use roxmltree::{Document, Node, NodeId};
use witvirt_sdk::core::domain::{Diagnostic, Severity};

/// Most diagnostics of each severity; what is over is counted.
const MOST: usize = 200;
const MAX_MESSAGE: usize = 1024;
const MAX_NAME: usize = 64;

struct Finding {
    severity: Severity,
    code: &'static str,
    message: String,
    node: NodeId,
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
        node: NodeId,
        attribute: Option<usize>,
    ) {
        let message = clip(message, MAX_MESSAGE);
        self.list.push(Finding { severity, code, message, node, attribute });
    }

    /// In document order, with paths and lines; then what had to be left out.
    pub(crate) fn into_diagnostics(mut self, document: &Document<'_>) -> Vec<Diagnostic> {
        self.list.sort_by_key(|finding| (finding.node.get(), finding.attribute));
        let mut lines = Lines { text: document.input_text().as_bytes(), at: 0, line: 1 };
        let located = self.list.into_iter().map(|finding| {
            let (path, offset) = locate(document, finding.node, finding.attribute);
            Diagnostic {
                severity: finding.severity,
                code: finding.code.to_owned(),
                message: finding.message,
                path: Some(path),
                line: Some(lines.line_at(offset)),
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

/// Lines of ascending offsets in one pass.
struct Lines<'a> {
    text: &'a [u8],
    at: usize,
    line: u32,
}

impl Lines<'_> {
    fn line_at(&mut self, offset: usize) -> u32 {
        let passed = self.text.get(self.at..offset).unwrap_or_default();
        self.line += passed.iter().filter(|byte| **byte == b'\n').count() as u32;
        self.at = self.at.max(offset);
        self.line
    }
}

/// XPath and offset of an element or of one of its attributes.
fn locate(document: &Document<'_>, id: NodeId, attribute: Option<usize>) -> (String, usize) {
    let Some(node) = document.get_node(id) else { return ("/".to_owned(), 0) };
    let mut path = String::with_capacity(64);
    let ancestors: Vec<_> = node.ancestors().filter(Node::is_element).collect();
    for ancestor in ancestors.into_iter().rev() {
        path.push('/');
        push_segment(&mut path, document, ancestor);
    }
    let Some(attribute) = attribute.and_then(|at| node.attributes().nth(at)) else {
        return (path, node.range().start);
    };
    path.push_str("/@");
    push_clipped(&mut path, document.input_text().get(attribute.range_qname()).unwrap_or(attribute.name()));
    (path, attribute.range().start)
}

/// The element's name as the document writes it, with its position where siblings share the name.
fn push_segment(path: &mut String, document: &Document<'_>, node: Node<'_, '_>) {
    let source = document.input_text().get(node.range()).unwrap_or_default();
    let name = source.strip_prefix('<').unwrap_or(source);
    let end =
        name.bytes().position(|b| b.is_ascii_whitespace() || b == b'>' || b == b'/').unwrap_or(name.len());
    push_clipped(path, &name[..end]);
    let same = |other: &Node<'_, '_>| other.is_element() && other.tag_name() == node.tag_name();
    let before = node.prev_siblings().skip(1).filter(same).count();
    if before > 0 || node.next_siblings().skip(1).any(|other| same(&other)) {
        path.push_str(&format!("[{}]", before + 1));
    }
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

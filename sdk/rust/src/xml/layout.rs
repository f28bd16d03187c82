//! Where new things go on the page: the document's own way of indenting, as its neighbours show it.

use super::tree::{DOCUMENT, Document, Id, Kind, NONE};

/// How a new element is set.
pub(super) struct Layout {
    /// Line end and indentation before the element; empty where the document goes on in one line.
    pub(super) line: String,
    /// One level more.
    pub(super) unit: String,
    pub(super) quote: char,
}

impl Document {
    /// The layout for a neighbour of this node.
    pub(super) fn layout_of(&self, node: u32) -> Layout {
        let line = self.line_before(node).unwrap_or_default().to_owned();
        self.layout(line)
    }

    pub(super) fn layout(&self, line: String) -> Layout {
        let unit = if line.is_empty() { String::new() } else { self.unit().to_owned() };
        Layout { line, unit, quote: self.quote() }
    }

    /// The layout for the first element in this one.
    pub(super) fn layout_inside(&self, tag: u32) -> Layout {
        let own = self.line_before(self.tags[tag as usize].node);
        // The root needs no line end before it to be on a line of its own.
        let own = own.or_else(|| (tag == self.root).then_some("\n"));
        let line = own.map(|own| format!("{own}{}", self.unit()));
        self.layout(line.unwrap_or_default())
    }

    /// Line end and indentation before a node that begins its line.
    pub(super) fn line_before(&self, node: u32) -> Option<&str> {
        let previous = self.node(node).previous;
        if previous == NONE || !self.is_blank(previous) {
            return None;
        }
        let blank = self.node(previous).span.of(&self.text);
        let newline = blank.rfind('\n')?;
        let start = if blank[..newline].ends_with('\r') { newline - 1 } else { newline };
        Some(&blank[start..])
    }

    /// What one level is indented by: as much as the first element inside the root.
    fn unit(&self) -> &str {
        let first = self.children(Id(self.root)).next();
        let line = first.and_then(|first| self.line_before(self.tag(first).node));
        let indentation = line.map(|line| line.trim_start_matches(['\r', '\n']));
        indentation.filter(|indentation| !indentation.is_empty()).unwrap_or("  ")
    }

    /// The quotes that the document begins with.
    pub(super) fn quote(&self) -> char {
        let head = self.pairs.first().map(|pair| pair.head.of(&self.text)).unwrap_or_default();
        if head.ends_with('"') { '"' } else { '\'' }
    }

    /// The node that something new in an element comes after, in the eyes of a reader: its last element, or what else is
    /// there. None when nothing but blanks is inside, or a text.
    pub(super) fn last_in(&self, tag: u32) -> Inside {
        let mut last = Inside::Nothing;
        for node in self.nodes_in(tag) {
            let kind = self.node(node).kind;
            let text = matches!(kind, Kind::Text | Kind::Section);
            last = match last {
                _ if text && !self.is_blank(node) => return Inside::Text,
                last if text => last,
                Inside::Nodes { element, .. } if kind != Kind::Element => Inside::Nodes { element, node },
                _ => Inside::Nodes { element: node, node },
            };
        }
        last
    }

    /// Whether an edit there would be one of the document's own level.
    pub(super) fn is_root_or_removed(&self, id: Id) -> bool {
        matches!(self.node(self.tag(id).node).parent, DOCUMENT | NONE)
    }
}

/// What is in an element.
#[derive(Clone, Copy)]
pub(super) enum Inside {
    /// Nothing but blanks.
    Nothing,
    /// A text that is more than blanks.
    Text,
    /// Its last element, if there is one, and its last node but for blanks.
    Nodes { element: u32, node: u32 },
}

//! The tree: records of numbers over one text, which begins with the source and goes on with what edits add.

use std::cell::OnceCell;

pub(super) const NONE: u32 = u32::MAX;
/// Marks spans of [`Document::aside`].
pub(super) const ASIDE: u32 = 1 << 31;
/// The document itself, as the parent of the root element.
pub(super) const DOCUMENT: u32 = 0;

/// Bytes of the text, or, with [`ASIDE`] in both numbers, of what is read from it. The text cannot reach 2 GiB: a source has at most 4 MiB, and what edits add was held in the memory of
/// a plugin, or of a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Span {
    pub(super) start: u32,
    pub(super) end: u32,
}

impl Span {
    pub(super) fn new(start: usize, end: usize) -> Self {
        Self { start: start as u32, end: end as u32 }
    }

    pub(super) fn of(self, text: &str) -> &str {
        text.get(self.start as usize..self.end as usize).unwrap_or_default()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// `data` is the index among the elements.
    Element,
    /// `data` is the index among the decoded texts, or [`NONE`] where the source says it plainly.
    Text,
    Section,
    /// A comment, a processing instruction, the XML declaration.
    Other,
}

/// Anything that stands between tags.
#[derive(Debug, Clone, Copy)]
pub(super) struct Node {
    pub(super) kind: Kind,
    /// Index of an element.
    pub(super) parent: u32,
    pub(super) previous: u32,
    pub(super) next: u32,
    /// As it was written, of an element with everything in it.
    pub(super) span: Span,
    pub(super) data: u32,
}

/// A name as it was written.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct QName {
    pub(super) start: u32,
    pub(super) len: u16,
    /// Without the colon; 0 where there is none.
    pub(super) prefix: u16,
}

impl QName {
    pub(super) fn of(self, text: &str) -> &str {
        Span { start: self.start, end: self.start + u32::from(self.len) }.of(text)
    }

    pub(super) fn prefix_of(self, text: &str) -> &str {
        Span { start: self.start, end: self.start + u32::from(self.prefix) }.of(text)
    }

    pub(super) fn local_of(self, text: &str) -> &str {
        let skip = if self.prefix == 0 { 0 } else { u32::from(self.prefix) + 1 };
        Span { start: self.start + skip, end: self.start + u32::from(self.len) }.of(text)
    }
}

/// What an element has beyond its node.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tag {
    pub(super) node: u32,
    /// Indices of nodes.
    pub(super) first: u32,
    pub(super) last: u32,
    pub(super) name: QName,
    /// Its attributes are neighbours in the list.
    pub(super) attributes: u32,
    pub(super) attribute_count: u16,
    /// Index among the namespaces plus one; 0 for none.
    pub(super) namespace: u16,
    /// From the last attribute to the end of the start tag.
    pub(super) tail: Span,
    /// Where the end tag begins.
    pub(super) close: u32,
    /// Written as `<a/>`.
    pub(super) empty: bool,
    /// Something in it, or in its tags, is not as it was written.
    pub(super) changed: bool,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Pair {
    pub(super) name: QName,
    /// From the blank before the name to the opening quote.
    pub(super) head: Span,
    /// Between the quotes, as it was written.
    pub(super) raw: Span,
    /// The same, read.
    pub(super) value: Span,
    /// As [`Tag::namespace`]; of a declaration that which it declares.
    pub(super) namespace: u16,
    /// `xmlns` and `xmlns:...`.
    pub(super) declaration: bool,
}

/// An XML document that is written as it was read, byte for byte, but for what was edited.
#[derive(Debug, Clone)]
pub struct Document {
    pub(super) text: String,
    /// What texts and values mean that do not stand for themselves.
    pub(super) aside: String,
    /// Length of the source.
    pub(super) source: u32,
    pub(super) nodes: Vec<Node>,
    /// The first stands for the document.
    pub(super) tags: Vec<Tag>,
    pub(super) pairs: Vec<Pair>,
    pub(super) decoded: Vec<Span>,
    pub(super) namespaces: Vec<Span>,
    pub(super) root: u32,
    /// Where lines end; only worked out when asked for.
    pub(super) lines: OnceCell<Vec<u32>>,
}

/// An element of one [`Document`]; those that were parsed are in the document's order. Of an element that was removed
/// everything can still be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(pub(super) u32);

impl Id {
    /// A small number, less than [`Document::len`], for tables beside the document.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

pub(super) const XML_PREFIX: &str = "xml";
/// What the prefix `xml` means; its index among the namespaces is that of no other.
pub(super) const XML_NAMESPACE: &str = "http://www.w3.org/XML/1998/namespace";
pub(super) const XML_NAMESPACE_INDEX: u16 = u16::MAX;
pub(super) const XMLNS_NAMESPACE: &str = "http://www.w3.org/2000/xmlns/";

impl Document {
    /// Nothing but a document around nothing.
    pub(super) fn empty(source: &str) -> Self {
        // Domains have a node in about 30 bytes, an attribute in about 40, and a few edits.
        let size = source.len();
        let mut text = String::with_capacity(size + 512);
        text.push_str(source);
        let mut document = Self {
            text,
            aside: String::new(),
            source: size as u32,
            nodes: Vec::with_capacity(size / 24 + 8),
            tags: Vec::with_capacity(size / 64 + 8),
            pairs: Vec::with_capacity(size / 40 + 8),
            decoded: Vec::new(),
            namespaces: Vec::new(),
            root: NONE,
            lines: OnceCell::new(),
        };
        let span = Span::new(0, size);
        let (parent, previous, next) = (NONE, NONE, NONE);
        document.nodes.push(Node { kind: Kind::Element, parent, previous, next, span, data: DOCUMENT });
        document.tags.push(Tag::new(0, QName::default(), 0));
        document
    }

    /// Adds a node that belongs nowhere yet.
    pub(super) fn new_node(&mut self, kind: Kind, span: Span, data: u32) -> u32 {
        self.nodes.push(Node { kind, parent: NONE, previous: NONE, next: NONE, span, data });
        (self.nodes.len() - 1) as u32
    }

    /// Makes a node the last in an element.
    pub(super) fn link_last(&mut self, parent: u32, node: u32) {
        let last = std::mem::replace(&mut self.tags[parent as usize].last, node);
        let linked = &mut self.nodes[node as usize];
        (linked.parent, linked.previous, linked.next) = (parent, last, NONE);
        match last {
            NONE => self.tags[parent as usize].first = node,
            last => self.nodes[last as usize].next = node,
        }
    }

    pub(super) fn tag(&self, id: Id) -> &Tag {
        &self.tags[id.0 as usize]
    }

    pub(super) fn node(&self, node: u32) -> &Node {
        &self.nodes[node as usize]
    }

    pub(super) fn pairs_of(&self, id: Id) -> &[Pair] {
        let tag = self.tag(id);
        let start = tag.attributes as usize;
        self.pairs.get(start..start + usize::from(tag.attribute_count)).unwrap_or_default()
    }

    pub(super) fn namespace_at(&self, index: u16) -> Option<&str> {
        match index {
            0 => None,
            XML_NAMESPACE_INDEX => Some(XML_NAMESPACE),
            index => self.namespaces.get(usize::from(index) - 1).map(|span| self.read(*span)),
        }
    }

    /// Nodes directly in an element.
    pub(super) fn nodes_in(&self, tag: u32) -> impl Iterator<Item = u32> {
        let mut next = self.tags[tag as usize].first;
        std::iter::from_fn(move || {
            let node = (next != NONE).then_some(next)?;
            next = self.node(node).next;
            Some(node)
        })
    }

    pub(super) fn read(&self, span: Span) -> &str {
        match span.start & ASIDE {
            0 => span.of(&self.text),
            _ => Span { start: span.start & !ASIDE, end: span.end & !ASIDE }.of(&self.aside),
        }
    }

    /// What was put aside from `start` on.
    pub(super) fn aside_from(&self, start: usize) -> Span {
        Span { start: start as u32 | ASIDE, end: self.aside.len() as u32 | ASIDE }
    }

    /// A text or section, read.
    pub(super) fn text_of(&self, node: u32) -> Option<&str> {
        let node = self.node(node);
        match node.kind {
            Kind::Text | Kind::Section => {
                let decoded = self.decoded.get(node.data as usize).copied().unwrap_or(node.span);
                Some(self.read(decoded))
            }
            Kind::Element | Kind::Other => None,
        }
    }
}

impl Tag {
    pub(super) fn new(node: u32, name: QName, attributes: u32) -> Self {
        Self {
            node,
            first: NONE,
            last: NONE,
            name,
            attributes,
            attribute_count: 0,
            namespace: 0,
            tail: Span::default(),
            close: 0,
            empty: false,
            changed: false,
        }
    }
}

//! New nodes: their text is written behind the source, and they are records of it like all others.

use super::character::{push_name, push_text, push_value};
use super::element::{Content, Element};
use super::error::MAX_NAME;
use super::layout::Layout;
use super::tree::{
    DOCUMENT, Document, Id, Kind, NONE, Pair, QName, Span, Tag, XML_NAMESPACE, XML_NAMESPACE_INDEX,
    XML_PREFIX,
};

impl Document {
    /// Writes an element, and makes the node of it; whoever calls puts it into `parent`.
    pub(super) fn build(&mut self, element: &Element, parent: u32, layout: &Layout) -> u32 {
        let start = self.text.len();
        let node = self.new_node(Kind::Element, Span::new(start, start), self.tags.len() as u32);
        self.nodes[node as usize].parent = parent;
        let id = self.tags.len();
        self.text.push('<');
        let name = self.new_name(&element.name);
        self.tags.push(Tag::new(node, name, self.pairs.len() as u32));
        for (name, value) in &element.attributes {
            let pair = self.new_pair(" ", name, value, layout.quote);
            self.pairs.push(pair);
            self.tags[id].attribute_count += 1;
        }
        self.resolve_new(id as u32);
        let tail = self.text.len();
        let empty = element.content.is_empty();
        self.text.push_str(if empty { "/>" } else { ">" });
        self.tags[id].tail = Span::new(tail, self.text.len());
        self.tags[id].empty = empty;
        if !empty {
            self.build_content(element, id as u32, layout);
        }
        self.tags[id].close = self.text.len() as u32;
        if !empty {
            self.text.push_str("</");
            push_name(&mut self.text, &element.name);
            self.text.push('>');
        }
        self.nodes[node as usize].span.end = self.text.len() as u32;
        node
    }

    fn build_content(&mut self, element: &Element, id: u32, layout: &Layout) {
        let inline = element.is_inline() || layout.line.is_empty();
        let inner = match inline {
            true => Layout { line: String::new(), unit: String::new(), quote: layout.quote },
            false => Layout {
                line: format!("{}{}", layout.line, layout.unit),
                unit: layout.unit.clone(),
                quote: layout.quote,
            },
        };
        for content in &element.content {
            if !inline {
                let blank = self.new_blank(&inner.line);
                self.link_last(id, blank);
            }
            let node = match content {
                Content::Element(child) => self.build(child, id, &inner),
                Content::Text(text) => self.new_text(text),
            };
            self.link_last(id, node);
        }
        if !inline {
            let blank = self.new_blank(&layout.line);
            self.link_last(id, blank);
        }
    }

    /// Writes a text, escaped.
    pub(super) fn new_text(&mut self, text: &str) -> u32 {
        let start = self.text.len();
        push_text(&mut self.text, text);
        let span = Span::new(start, self.text.len());
        self.new_text_node(span, text)
    }

    /// Writes blanks as they are.
    pub(super) fn new_blank(&mut self, blank: &str) -> u32 {
        let start = self.text.len();
        self.text.push_str(blank);
        let span = Span::new(start, self.text.len());
        match blank.contains('\r') {
            true => self.new_text_node(span, &blank.replace("\r\n", "\n").replace('\r', "\n")),
            false => self.new_node(Kind::Text, span, NONE),
        }
    }

    /// A text that is written as `span` and read as `text`.
    fn new_text_node(&mut self, span: Span, text: &str) -> u32 {
        let read = self.reading(span, text);
        if read == span {
            return self.new_node(Kind::Text, span, NONE);
        }
        self.decoded.push(read);
        self.new_node(Kind::Text, span, self.decoded.len() as u32 - 1)
    }

    /// `text`, in place if that is how `span` has it.
    fn reading(&mut self, span: Span, text: &str) -> Span {
        if span.of(&self.text) == text {
            return span;
        }
        let start = self.aside.len();
        self.aside.push_str(text);
        self.aside_from(start)
    }

    /// Writes a value: as it is written, and as it is read.
    pub(super) fn new_value(&mut self, value: &str, quote: char) -> (Span, Span) {
        let start = self.text.len();
        push_value(&mut self.text, value, quote);
        let raw = Span::new(start, self.text.len());
        (raw, self.reading(raw, value))
    }

    fn new_name(&mut self, name: &str) -> QName {
        let start = self.text.len();
        push_name(&mut self.text, name.get(..name.floor_char_boundary(MAX_NAME)).unwrap_or(name));
        let written = &self.text[start..];
        let prefix = written.find(':').unwrap_or(0) as u16;
        QName { start: start as u32, len: written.len() as u16, prefix }
    }

    /// Writes an attribute, with the blank before it; its namespace is still to be found.
    fn new_pair(&mut self, blank: &str, name: &str, value: &str, quote: char) -> Pair {
        let start = self.text.len();
        self.text.push_str(blank);
        let name = self.new_name(name);
        self.text.push('=');
        self.text.push(quote);
        let head = Span::new(start, self.text.len());
        let (raw, value) = self.new_value(value, quote);
        self.text.push(quote);
        let written = name.of(&self.text);
        let declaration = written == "xmlns" || written.starts_with("xmlns:");
        let namespace = if declaration { self.intern(value) } else { 0 };
        Pair { name, head, raw, value, namespace, declaration }
    }

    /// Adds an attribute to an element behind its others, and as they are set.
    pub(super) fn add_pair(&mut self, id: Id, name: &str, value: &str) {
        let last = self.pairs_of(id).last().map(|pair| (pair.head, pair.name.start));
        let (blank, quote) = match last {
            Some((head, name)) => {
                let quote = if head.of(&self.text).ends_with('"') { '"' } else { '\'' };
                (Span { start: head.start, end: name }.of(&self.text).to_owned(), quote)
            }
            None => (" ".to_owned(), self.quote()),
        };
        let mut pair = self.new_pair(&blank, name, value, quote);
        if !pair.declaration && pair.name.prefix != 0 {
            pair.namespace = self.lookup_prefix(id.0, pair.name.prefix_of(&self.text)).unwrap_or(0);
        }
        let (start, count) = (self.tag(id).attributes as usize, usize::from(self.tag(id).attribute_count));
        if start + count != self.pairs.len() {
            self.tags[id.0 as usize].attributes = self.pairs.len() as u32;
            self.pairs.extend_from_within(start..start + count);
        }
        self.pairs.push(pair);
        self.tags[id.0 as usize].attribute_count += 1;
        self.mark_changed(id.0);
    }

    /// The index of a namespace, which gets one if it has none.
    fn intern(&mut self, uri: Span) -> u16 {
        let text = self.read(uri);
        if text.is_empty() {
            return 0;
        }
        if let Some(known) = self.namespaces.iter().position(|known| self.read(*known) == text) {
            return known as u16 + 1;
        }
        self.namespaces.push(uri);
        u16::try_from(self.namespaces.len()).ok().filter(|index| *index != XML_NAMESPACE_INDEX).unwrap_or(0)
    }

    fn resolve_new(&mut self, id: u32) {
        let name = self.tags[id as usize].name;
        let namespace = self.lookup_prefix(id, name.prefix_of(&self.text)).unwrap_or(0);
        self.tags[id as usize].namespace = namespace;
        let start = self.tags[id as usize].attributes as usize;
        for at in start..start + usize::from(self.tags[id as usize].attribute_count) {
            let pair = self.pairs[at];
            if !pair.declaration && pair.name.prefix != 0 {
                let found = self.lookup_prefix(id, pair.name.prefix_of(&self.text));
                self.pairs[at].namespace = found.unwrap_or(0);
            }
        }
    }

    /// The namespace that a prefix stands for on an element; `None` where it stands for nothing.
    pub(super) fn lookup_prefix(&self, id: u32, prefix: &str) -> Option<u16> {
        if prefix == XML_PREFIX {
            return Some(XML_NAMESPACE_INDEX);
        }
        let mut at = id;
        while at != NONE && at != DOCUMENT {
            let declares = |pair: &&Pair| pair.declaration && self.declared_prefix(pair) == prefix;
            if let Some(pair) = self.pairs_of(Id(at)).iter().find(declares) {
                return Some(pair.namespace);
            }
            at = self.node(self.tags[at as usize].node).parent;
        }
        None
    }

    /// A prefix that stands for a namespace on an element, and is not hidden by one further in.
    pub(super) fn prefix_for(&self, id: Id, namespace: &str) -> Option<&str> {
        if namespace == XML_NAMESPACE {
            return Some(XML_PREFIX);
        }
        let mut at = id.0;
        while at != NONE && at != DOCUMENT {
            for pair in self.pairs_of(Id(at)).iter().filter(|pair| pair.declaration) {
                let prefix = self.declared_prefix(pair);
                let means = |index| self.namespace_at(index) == Some(namespace);
                if !prefix.is_empty()
                    && means(pair.namespace)
                    && self.lookup_prefix(id.0, prefix).is_some_and(means)
                {
                    return Some(prefix);
                }
            }
            at = self.node(self.tags[at as usize].node).parent;
        }
        None
    }

    fn declared_prefix(&self, pair: &Pair) -> &str {
        if pair.name.prefix == 0 { "" } else { pair.name.local_of(&self.text) }
    }
}

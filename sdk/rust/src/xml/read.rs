//! What can be asked of a document.

use std::borrow::Cow;

use super::character::{CLASS, SPACE};
use super::tree::{DOCUMENT, Document, Id, Kind, NONE, Node, Pair, Tag};

/// An attribute of an element.
#[derive(Debug, Clone, Copy)]
pub struct Attribute<'d> {
    document: &'d Document,
    pair: &'d Pair,
}

impl<'d> Attribute<'d> {
    /// The name without its prefix.
    pub fn local_name(self) -> &'d str {
        self.pair.name.local_of(&self.document.text)
    }

    /// The name as it is written.
    pub fn name(self) -> &'d str {
        self.pair.name.of(&self.document.text)
    }

    /// The namespace of its prefix; `None` without a prefix.
    pub fn namespace(self) -> Option<&'d str> {
        self.document.namespace_at(self.pair.namespace)
    }

    /// The value, with references read.
    pub fn value(self) -> &'d str {
        self.document.read(self.pair.value)
    }

    /// Its line in the source, from 1; of an attribute that was added, that of the source's end.
    pub fn line(self) -> u32 {
        self.document.line_of(self.pair.name.start)
    }
}

impl Document {
    /// The root element.
    pub fn root(&self) -> Id {
        Id(self.root)
    }

    /// One more than the largest [`Id::index`].
    // There is always a root element.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.tags.len()
    }

    /// The text that was parsed.
    pub fn source(&self) -> &str {
        self.text.get(..self.source as usize).unwrap_or_default()
    }

    /// The element's name as it is written.
    pub fn name(&self, id: Id) -> &str {
        self.tag(id).name.of(&self.text)
    }

    /// The element's name without its prefix.
    pub fn local_name(&self, id: Id) -> &str {
        self.tag(id).name.local_of(&self.text)
    }

    /// The prefix of the element's name.
    pub fn prefix(&self, id: Id) -> Option<&str> {
        Some(self.tag(id).name.prefix_of(&self.text)).filter(|prefix| !prefix.is_empty())
    }

    /// The namespace that the element's name is in.
    pub fn namespace(&self, id: Id) -> Option<&str> {
        self.namespace_at(self.tag(id).namespace)
    }

    /// The element around it; `None` for the root, and for what was removed.
    pub fn parent(&self, id: Id) -> Option<Id> {
        let parent = self.node(self.tag(id).node).parent;
        (parent != NONE && parent != DOCUMENT).then_some(Id(parent))
    }

    /// The elements directly in it.
    pub fn children(&self, id: Id) -> impl Iterator<Item = Id> {
        let nodes = self.nodes_in(id.0).map(|node| self.node(node));
        nodes.filter(|node| node.kind == Kind::Element).map(|node| Id(node.data))
    }

    /// The element before it, in the same element.
    pub fn previous(&self, id: Id) -> Option<Id> {
        self.first_element(self.tag(id).node, |node| node.previous)
    }

    /// The element behind it, in the same element.
    pub fn next(&self, id: Id) -> Option<Id> {
        self.first_element(self.tag(id).node, |node| node.next)
    }

    fn first_element(&self, node: u32, step: impl Fn(&Node) -> u32) -> Option<Id> {
        let step = |node: &Node| self.nodes.get(step(node) as usize);
        let mut nodes = std::iter::successors(step(self.node(node)), |node| step(node));
        nodes.find(|node| node.kind == Kind::Element).map(|node| Id(node.data))
    }

    /// Whether the element has this name: "disk" in no namespace, or "{urn:witvirt:domain:1}machine" in that one.
    pub fn is(&self, id: Id, name: &str) -> bool {
        let (namespace, local) = expanded(name);
        self.has_name(self.tag(id), namespace, local)
    }

    fn has_name(&self, tag: &Tag, namespace: Option<&str>, local: &str) -> bool {
        tag.name.local_of(&self.text) == local && self.namespace_at(tag.namespace) == namespace
    }

    /// The first element at a path of names as in [`Document::is`]: "os/loader".
    pub fn find(&self, id: Id, path: &str) -> Option<Id> {
        let (step, rest) = first_step(path);
        let mut found = self.children(id).filter(|child| self.is(*child, step));
        match rest {
            None => found.next(),
            Some(rest) => found.find_map(|child| self.find(child, rest)),
        }
    }

    /// All elements at a path, in the document's order.
    pub fn find_all(&self, id: Id, path: &str) -> Vec<Id> {
        let mut found = Vec::new();
        self.collect(id, path, &mut found);
        found
    }

    fn collect(&self, id: Id, path: &str, found: &mut Vec<Id>) {
        let (step, rest) = first_step(path);
        for child in self.children(id).filter(|child| self.is(*child, step)) {
            match rest {
                None => found.push(child),
                Some(rest) => self.collect(child, rest, found),
            }
        }
    }

    /// Its attributes as they are written, without namespace declarations.
    pub fn attributes(&self, id: Id) -> impl Iterator<Item = Attribute<'_>> {
        let pairs = self.pairs_of(id).iter().filter(|pair| !pair.declaration);
        pairs.map(|pair| Attribute { document: self, pair })
    }

    /// An attribute's value: "type" without a namespace, or "{urn:example}type" in that one.
    pub fn attribute(&self, id: Id, name: &str) -> Option<Cow<'_, str>> {
        let (namespace, local) = expanded(name);
        let same =
            |attribute: &Attribute<'_>| attribute.local_name() == local && attribute.namespace() == namespace;
        self.attributes(id).find(same).map(|attribute| Cow::Borrowed(attribute.value()))
    }

    /// The texts directly in it, in pieces as comments, elements and CDATA sections part them, blanks included.
    pub fn texts(&self, id: Id) -> impl Iterator<Item = &str> {
        self.nodes_in(id.0).filter_map(|node| self.text_of(node))
    }

    /// The text directly in it, blanks included; empty where there is none.
    pub fn text(&self, id: Id) -> Cow<'_, str> {
        let mut texts = self.texts(id);
        let first = texts.next().unwrap_or_default();
        match texts.next() {
            None => Cow::Borrowed(first),
            Some(second) => Cow::Owned([first, second].into_iter().chain(texts).collect()),
        }
    }

    /// Its line in the source, from 1; of an element that was added, that of the source's end.
    pub fn line(&self, id: Id) -> u32 {
        self.line_of(self.node(self.tag(id).node).span.start)
    }

    fn line_of(&self, at: u32) -> u32 {
        let ends = self.lines.get_or_init(|| {
            let source = self.source().bytes().enumerate();
            source.filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at as u32).collect()
        });
        ends.partition_point(|end| *end < at) as u32 + 1
    }

    /// Where it is: "/domain/devices/disk\[2\]"; the number, from 1, is there where siblings have the same name. Names of
    /// more than 64 bytes are cut.
    pub fn path(&self, id: Id) -> String {
        let mut line = vec![id];
        while let Some(parent) = line.last().and_then(|last| self.parent(*last)) {
            line.push(parent);
        }
        let mut path = String::with_capacity(48);
        for id in line.into_iter().rev() {
            path.push('/');
            path.push_str(&super::error::clipped(self.name(id)));
            if let Some(position) = self.position(id) {
                path.push_str(&format!("[{position}]"));
            }
        }
        path
    }

    /// Its place among siblings of its name, where there are several.
    fn position(&self, id: Id) -> Option<usize> {
        let tag = self.tag(id);
        let parent = self.node(tag.node).parent;
        if parent == NONE {
            return None;
        }
        let (namespace, local) = (self.namespace_at(tag.namespace), tag.name.local_of(&self.text));
        let (mut before, mut after) = (0, false);
        let siblings =
            self.children(Id(parent)).filter(|other| self.has_name(self.tag(*other), namespace, local));
        let mut passed = false;
        for other in siblings {
            match other == id {
                true => passed = true,
                false if passed => {
                    after = true;
                    break;
                }
                false => before += 1,
            }
        }
        (before > 0 || after).then_some(before + 1)
    }

    /// A node that is nothing but blank.
    pub(super) fn is_blank(&self, node: u32) -> bool {
        let node = self.node(node);
        let blank = |byte: u8| CLASS[usize::from(byte)] & SPACE != 0;
        node.kind == Kind::Text && node.span.of(&self.text).bytes().all(blank)
    }
}

/// "{namespace}local" in its parts.
pub(super) fn expanded(name: &str) -> (Option<&str>, &str) {
    match name.strip_prefix('{').and_then(|name| name.split_once('}')) {
        Some((namespace, local)) => (Some(namespace), local),
        None => (None, name),
    }
}

/// The first name of a path, and what comes after it. A namespace may have slashes.
pub(super) fn first_step(path: &str) -> (&str, Option<&str>) {
    let from = if path.starts_with('{') { path.find('}').unwrap_or(0) } else { 0 };
    match path[from..].find('/') {
        Some(slash) => (&path[..from + slash], Some(&path[from + slash + 1..])),
        None => (path, None),
    }
}

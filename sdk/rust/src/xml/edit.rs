//! Changes. Each touches its place and nothing else.

use super::element::Element;
use super::layout::{Inside, Layout};
use super::read::{expanded, first_step};
use super::tree::{Document, Id, NONE, Pair};

impl Document {
    /// Puts an element behind the last one inside `parent`, indented as that, and gives it back.
    pub fn append(&mut self, parent: Id, element: Element) -> Id {
        let at = parent.0;
        match self.last_in(at) {
            Inside::Text => {
                let layout = self.layout(String::new());
                self.insert_built(at, &element, &layout, NONE)
            }
            Inside::Nodes { element: sibling, node } => {
                let layout = self.layout_of(sibling);
                let next = if layout.line.is_empty() { NONE } else { self.node(node).next };
                self.insert_blank(at, &layout.line, next);
                self.insert_built(at, &element, &layout, next)
            }
            Inside::Nothing => {
                let layout = self.layout_inside(at);
                if !layout.line.is_empty() {
                    self.clear(at);
                    let line = layout.line.strip_suffix(layout.unit.as_str()).unwrap_or_default().to_owned();
                    self.insert_blank(at, &layout.line, NONE);
                    self.insert_blank(at, &line, NONE);
                }
                let next = if layout.line.is_empty() { NONE } else { self.tags[at as usize].last };
                self.insert_built(at, &element, &layout, next)
            }
        }
    }

    /// Puts an element before another. Nothing can stand before the root: it goes into the root, at the end.
    pub fn insert_before(&mut self, sibling: Id, element: Element) -> Id {
        if self.is_root_or_removed(sibling) {
            return self.append(sibling, element);
        }
        let node = self.tag(sibling).node;
        let parent = self.node(node).parent;
        let layout = self.layout_of(node);
        let id = self.insert_built(parent, &element, &layout, node);
        self.insert_blank(parent, &layout.line, node);
        id
    }

    /// Puts an element behind another. Nothing can stand behind the root: it goes into the root, at the end.
    pub fn insert_after(&mut self, sibling: Id, element: Element) -> Id {
        if self.is_root_or_removed(sibling) {
            return self.append(sibling, element);
        }
        let node = self.tag(sibling).node;
        let (parent, next) = (self.node(node).parent, self.node(node).next);
        let layout = self.layout_of(node);
        self.insert_blank(parent, &layout.line, next);
        self.insert_built(parent, &element, &layout, next)
    }

    /// Puts an element in the place of another. The root is not replaced: the new one goes into it, at the end.
    pub fn replace(&mut self, old: Id, element: Element) -> Id {
        if self.is_root_or_removed(old) {
            return self.append(old, element);
        }
        let node = self.tag(old).node;
        let parent = self.node(node).parent;
        let layout = self.layout_of(node);
        let id = self.insert_built(parent, &element, &layout, node);
        self.unlink(node);
        id
    }

    /// Takes an element out, with the line that it stood on. The root stays.
    pub fn remove(&mut self, id: Id) {
        if self.is_root_or_removed(id) {
            return;
        }
        let node = self.tag(id).node;
        let (previous, next) = (self.node(node).previous, self.node(node).next);
        let line = self.line_before(node).map(str::len);
        self.unlink(node);
        let ends_line = next == NONE || (self.is_blank(next) && self.starts_line(next));
        if let Some(len) = line.filter(|_| ends_line) {
            let span = self.node(previous).span;
            let kept = span.end - len as u32;
            let blank = self.text.get(span.start as usize..kept as usize).unwrap_or_default().to_owned();
            let parent = self.node(previous).parent;
            self.unlink(previous);
            self.insert_blank(parent, &blank, next);
        }
    }

    fn starts_line(&self, node: u32) -> bool {
        self.node(node).span.of(&self.text).contains('\n')
    }

    /// Makes a text all that is in an element.
    pub fn set_text(&mut self, id: Id, text: impl AsRef<str>) {
        let text = text.as_ref();
        let tag = self.tag(id);
        let same = match (tag.first, tag.first == tag.last) {
            (NONE, _) => text.is_empty(),
            (only, true) => self.text_of(only).is_some_and(|old| old == text),
            _ => false,
        };
        if same {
            return;
        }
        self.clear(id.0);
        if !text.is_empty() {
            let node = self.new_text(text);
            self.insert(id.0, node, NONE);
        }
        self.mark_changed(id.0);
    }

    /// Gives an attribute a value, adding it behind the others where there is none. The name is one as in
    /// [`Document::attribute`], or with a prefix that is declared; the quotes stay what they are, or follow the neighbours.
    /// Namespaces are declared by [`Document::declare_namespace`].
    pub fn set_attribute(&mut self, id: Id, name: &str, value: impl AsRef<str>) {
        let value = value.as_ref();
        if let Some(at) = self.find_pair(id, name) {
            if self.read(self.pairs[at].value) != value {
                let head = self.pairs[at].head.of(&self.text);
                let quote = if head.ends_with('"') { '"' } else { '\'' };
                (self.pairs[at].raw, self.pairs[at].value) = self.new_value(value, quote);
                self.mark_changed(id.0);
            }
            return;
        }
        let written = match expanded(name) {
            (Some(namespace), local) => {
                let prefix = self.declare_namespace(id, "ns", namespace);
                format!("{prefix}:{local}")
            }
            (None, name) => name.to_owned(),
        };
        self.add_pair(id, &written, value);
    }

    /// Takes an attribute away; the name is one as in [`Document::set_attribute`].
    pub fn remove_attribute(&mut self, id: Id, name: &str) {
        let Some(at) = self.find_pair(id, name) else { return };
        let tag = &mut self.tags[id.0 as usize];
        let end = tag.attributes as usize + usize::from(tag.attribute_count);
        tag.attribute_count -= 1;
        self.pairs.copy_within(at + 1..end, at);
        self.mark_changed(id.0);
    }

    /// The first element at a path as in [`Document::find`]; what is missing on the way is added.
    pub fn find_or_append(&mut self, parent: Id, path: &str) -> Id {
        let (step, rest) = first_step(path);
        let child = match self.find(parent, step) {
            Some(child) => child,
            None => {
                let element = self.element_called(parent, step);
                self.append(parent, element)
            }
        };
        match rest {
            Some(rest) => self.find_or_append(child, rest),
            None => child,
        }
    }

    /// An element of that name as it has to be written inside `parent`.
    fn element_called(&self, parent: Id, name: &str) -> Element {
        let (Some(namespace), local) = expanded(name) else { return Element::new(name.to_owned()) };
        if let Some(prefix) = self.prefix_for(parent, namespace) {
            return Element::new(format!("{prefix}:{local}"));
        }
        let prefix = self.free_prefix(parent, "ns");
        Element::new(format!("{prefix}:{local}")).attribute(format!("xmlns:{prefix}"), namespace)
    }

    /// Makes sure that a namespace has a prefix on this element, and gives the prefix: one that is in scope, else the
    /// wanted one, with a number where that means something else.
    pub fn declare_namespace(&mut self, id: Id, prefix: &str, namespace: &str) -> String {
        if let Some(prefix) = self.prefix_for(id, namespace) {
            return prefix.to_owned();
        }
        let prefix = self.free_prefix(id, prefix);
        self.add_pair(id, &format!("xmlns:{prefix}"), namespace);
        prefix
    }

    fn free_prefix(&self, id: Id, wanted: &str) -> String {
        let numbered = (1..).map(|n| format!("{wanted}{n}"));
        let mut candidates = std::iter::once(wanted.to_owned()).chain(numbered);
        let free = candidates.find(|prefix| prefix != "xml" && self.lookup_prefix(id.0, prefix).is_none());
        free.unwrap_or_default()
    }

    /// Index among the attributes of all elements.
    fn find_pair(&self, id: Id, name: &str) -> Option<usize> {
        let (namespace, local) = expanded(name);
        let same = |pair: &Pair| match namespace {
            // As it is written: "p:a" is the attribute a with that prefix.
            None => pair.name.of(&self.text) == name,
            Some(_) => {
                !pair.declaration
                    && pair.name.local_of(&self.text) == local
                    && self.namespace_at(pair.namespace) == namespace
            }
        };
        let at = self.pairs_of(id).iter().position(same)?;
        Some(self.tag(id).attributes as usize + at)
    }

    fn insert_blank(&mut self, parent: u32, blank: &str, next: u32) {
        if !blank.is_empty() {
            let node = self.new_blank(blank);
            self.insert(parent, node, next);
        }
    }

    fn insert_built(&mut self, parent: u32, element: &Element, layout: &Layout, next: u32) -> Id {
        let node = self.build(element, parent, layout);
        self.insert(parent, node, next);
        Id(self.node(node).data)
    }

    /// Puts a node before another one, or at the end.
    fn insert(&mut self, parent: u32, node: u32, next: u32) {
        if next == NONE {
            self.link_last(parent, node);
        } else {
            let previous = self.node(next).previous;
            let linked = &mut self.nodes[node as usize];
            (linked.parent, linked.previous, linked.next) = (parent, previous, next);
            self.nodes[next as usize].previous = node;
            match previous {
                NONE => self.tags[parent as usize].first = node,
                previous => self.nodes[previous as usize].next = node,
            }
        }
        self.mark_changed(parent);
    }

    fn unlink(&mut self, node: u32) {
        let record = self.nodes[node as usize];
        let (parent, previous, next) = (record.parent, record.previous, record.next);
        match previous {
            NONE => self.tags[parent as usize].first = next,
            previous => self.nodes[previous as usize].next = next,
        }
        match next {
            NONE => self.tags[parent as usize].last = previous,
            next => self.nodes[next as usize].previous = previous,
        }
        let record = &mut self.nodes[node as usize];
        (record.parent, record.previous, record.next) = (NONE, NONE, NONE);
        self.mark_changed(parent);
    }

    fn clear(&mut self, tag: u32) {
        while self.tags[tag as usize].first != NONE {
            self.unlink(self.tags[tag as usize].first);
        }
    }

    /// What is changed has changed parents.
    pub(super) fn mark_changed(&mut self, tag: u32) {
        let mut at = tag;
        while at != NONE && !self.tags[at as usize].changed {
            self.tags[at as usize].changed = true;
            at = self.nodes[self.tags[at as usize].node as usize].parent;
        }
    }
}

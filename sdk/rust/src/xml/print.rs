//! From a tree to a text.

use std::fmt;

use super::tree::{DOCUMENT, Document, Kind, NONE};

impl fmt::Display for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written())
    }
}

impl Document {
    fn written(&self) -> String {
        if !self.tags[DOCUMENT as usize].changed {
            return self.source().to_owned();
        }
        let mut out = String::with_capacity(self.text.len());
        let first = self.tags[DOCUMENT as usize].first;
        if first != NONE && self.node(first).span.start < self.source {
            // A byte order mark.
            out.push_str(&self.text[..self.node(first).span.start as usize]);
        }
        self.write_content(DOCUMENT, &mut out);
        out
    }

    fn write_content(&self, tag: u32, out: &mut String) {
        for node in self.nodes_in(tag) {
            let node = self.node(node);
            match node.kind {
                Kind::Element if self.tags[node.data as usize].changed => self.write_element(node.data, out),
                _ => out.push_str(node.span.of(&self.text)),
            }
        }
    }

    /// Parts of tags that were not edited are what they were.
    fn write_element(&self, id: u32, out: &mut String) {
        let tag = &self.tags[id as usize];
        let name = tag.name.of(&self.text);
        out.push('<');
        out.push_str(name);
        let start = tag.attributes as usize;
        let pairs = self.pairs.get(start..start + usize::from(tag.attribute_count));
        for pair in pairs.unwrap_or_default() {
            let head = pair.head.of(&self.text);
            out.push_str(head);
            out.push_str(pair.raw.of(&self.text));
            out.push_str(head.get(head.len().wrapping_sub(1)..).unwrap_or_default());
        }
        if tag.first == NONE && tag.empty {
            return out.push_str(tag.tail.of(&self.text));
        }
        out.push_str(if tag.empty { ">" } else { tag.tail.of(&self.text) });
        self.write_content(id, out);
        match tag.empty {
            true => {
                out.push_str("</");
                out.push_str(name);
                out.push('>');
            }
            false => {
                let end = self.node(tag.node).span.end;
                out.push_str(self.text.get(tag.close as usize..end as usize).unwrap_or_default());
            }
        }
    }
}

//! Elements that are no part of a document yet.

use std::borrow::Cow;

use super::character::{push_name, push_text, push_value};

/// An element with what is in it, to be put into a [`super::Document`] or to be written on its own.
///
/// A name is written as it is given, with its prefix if it has one, which has to be declared by an attribute `xmlns:...` here
/// or further out; what no name can have becomes `_`, and characters in texts and values that XML has no way to write become
/// U+FFFD.
///
/// ```
/// use witvirt_sdk::xml::Element;
///
/// let source = Element::new("source").attribute("file", "/a&b.img");
/// let disk = Element::new("disk").attribute("type", "file").child(source).child(Element::new("serial").text("7"));
/// assert_eq!(
///     disk.to_document(2),
///     "<disk type='file'>\n  <source file='/a&amp;b.img'/>\n  <serial>7</serial>\n</disk>\n"
/// );
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Element {
    pub(super) name: Cow<'static, str>,
    pub(super) attributes: Vec<(Cow<'static, str>, String)>,
    pub(super) content: Vec<Content>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Content {
    Element(Element),
    Text(String),
}

impl Element {
    /// Without attributes and content.
    pub fn new(name: impl Into<Cow<'static, str>>) -> Self {
        Self { name: name.into(), attributes: Vec::new(), content: Vec::new() }
    }

    /// With one more attribute, or another value for one that it has.
    #[must_use]
    pub fn attribute(mut self, name: impl Into<Cow<'static, str>>, value: impl ToString) -> Self {
        self.set_attribute(name, value);
        self
    }

    /// With an attribute where there is a value.
    #[must_use]
    pub fn optional_attribute(
        self,
        name: impl Into<Cow<'static, str>>,
        value: Option<impl ToString>,
    ) -> Self {
        match value {
            Some(value) => self.attribute(name, value),
            None => self,
        }
    }

    /// With one more element at the end.
    #[must_use]
    pub fn child(mut self, child: Element) -> Self {
        self.push(child);
        self
    }

    /// With more elements at the end.
    #[must_use]
    pub fn children(mut self, children: impl IntoIterator<Item = Element>) -> Self {
        self.content.extend(children.into_iter().map(Content::Element));
        self
    }

    /// With a text at the end. An element that has one is written without blanks of ours.
    #[must_use]
    pub fn text(mut self, text: impl Into<String>) -> Self {
        self.content.push(Content::Text(text.into()));
        self
    }

    /// As [`Element::attribute`], in place.
    pub fn set_attribute(&mut self, name: impl Into<Cow<'static, str>>, value: impl ToString) {
        let (name, value) = (name.into(), value.to_string());
        match self.attributes.iter_mut().find(|(known, _)| *known == name) {
            Some((_, old)) => *old = value,
            None => self.attributes.push((name, value)),
        }
    }

    /// As [`Element::child`], in place.
    pub fn push(&mut self, child: Element) {
        self.content.push(Content::Element(child));
    }

    /// The name as it is written.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it has elements or a text in it.
    pub fn has_content(&self) -> bool {
        !self.content.is_empty()
    }

    /// As a document: values in single quotes, as libvirt writes them, `indent` spaces for each level, a line feed at the
    /// end, and no XML declaration.
    pub fn to_document(&self, indent: usize) -> String {
        let mut out = String::with_capacity(1024);
        let unit = " ".repeat(indent.min(16));
        self.write(&mut out, "\n", &unit);
        out.push('\n');
        out
    }

    fn write(&self, out: &mut String, line: &str, unit: &str) {
        out.push('<');
        push_name(out, &self.name);
        for (name, value) in &self.attributes {
            out.push(' ');
            push_name(out, name);
            out.push_str("='");
            push_value(out, value, '\'');
            out.push('\'');
        }
        if self.content.is_empty() {
            return out.push_str("/>");
        }
        out.push('>');
        let inline = self.is_inline();
        let unit = if inline { "" } else { unit };
        let inner = if inline { String::new() } else { format!("{line}{unit}") };
        for content in &self.content {
            if !inline {
                out.push_str(&inner);
            }
            match content {
                Content::Element(child) => child.write(out, &inner, unit),
                Content::Text(text) => push_text(out, text),
            }
        }
        if !inline {
            out.push_str(line);
        }
        out.push_str("</");
        push_name(out, &self.name);
        out.push('>');
    }

    pub(super) fn is_inline(&self) -> bool {
        self.content.iter().any(|content| matches!(content, Content::Text(_)))
    }
}

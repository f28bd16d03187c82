//! A view of the document that knows what has been read.
//!
//! Readers get at elements, attributes and texts only through [`Element`], which marks what it hands out. At the end
//! [`Sheet::finish`] reports everything without a mark, so that nothing a reader forgot, or does not know, can pass in
//! silence. An element that is waived as a whole covers what is in it.

use std::cell::RefCell;

use witvirt_sdk::core::domain::{Diagnostic, Severity};
use witvirt_sdk::xml::{Document, Id};

use super::Waiver;
use super::findings::{Findings, quote};
use super::value::Value;

#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum Reading {
    #[default]
    Unread,
    Read,
    /// A diagnostic of its own speaks for the whole element.
    Covered,
}

#[derive(Clone, Copy, Default)]
struct Mark {
    element: Reading,
    text: bool,
    /// Bit n: attribute n.
    attributes: u64,
}

pub(crate) struct Sheet<'a> {
    pub(super) document: &'a Document,
    /// By element.
    marks: RefCell<Vec<Mark>>,
    findings: RefCell<Findings>,
}

/// An element whose content nobody has looked at yet.
#[derive(Clone, Copy)]
pub(crate) struct Unread<'a> {
    node: Id,
    sheet: &'a Sheet<'a>,
}

/// An element that a reader answers for.
#[derive(Clone, Copy)]
pub(crate) struct Element<'a> {
    pub(super) node: Id,
    pub(super) sheet: &'a Sheet<'a>,
}

impl<'a> Sheet<'a> {
    pub(crate) fn new(document: &'a Document) -> Self {
        let marks = RefCell::new(vec![Mark::default(); document.len()]);
        Self { document, marks, findings: RefCell::default() }
    }

    pub(crate) fn root(&'a self) -> Element<'a> {
        Unread { node: self.document.root(), sheet: self }.open()
    }

    pub(super) fn report(
        &self,
        severity: Severity,
        code: &'static str,
        message: impl FnOnce() -> String,
        node: Id,
        attribute: Option<usize>,
    ) {
        if self.admits(severity) {
            self.add(severity, code, message(), node, attribute);
        }
    }

    // Out of line: `report` is instantiated for every message.
    #[inline(never)]
    fn admits(&self, severity: Severity) -> bool {
        self.findings.borrow_mut().admits(severity)
    }

    #[inline(never)]
    fn add(
        &self,
        severity: Severity,
        code: &'static str,
        message: String,
        node: Id,
        attribute: Option<usize>,
    ) {
        self.findings.borrow_mut().add(severity, code, message, node, attribute);
    }

    fn mark(&self, node: Id, change: impl FnOnce(&mut Mark)) {
        if let Some(mark) = self.marks.borrow_mut().get_mut(node.index()) {
            change(mark);
        }
    }

    fn mark_of(&self, node: Id) -> Mark {
        self.marks.borrow().get(node.index()).copied().unwrap_or_default()
    }

    /// Reports whatever was not read, and gives all diagnostics.
    pub(crate) fn finish(&self) -> Vec<Diagnostic> {
        self.report_unread();
        self.findings.take().into_diagnostics(self.document)
    }

    fn report_unread(&self) {
        let mut next = vec![self.document.root()];
        while let Some(node) = next.pop() {
            let mark = self.mark_of(node);
            match mark.element {
                Reading::Covered => {}
                Reading::Unread => self.report_unread_element(node),
                Reading::Read => {
                    self.report_unread_parts(node, mark);
                    let siblings = next.len();
                    next.extend(self.document.children(node));
                    next[siblings..].reverse();
                }
            }
        }
    }

    fn report_unread_element(&self, node: Id) {
        let document = self.document;
        let name = document.local_name(node);
        let before = std::iter::successors(document.previous(node), |other| document.previous(*other));
        let repeated = before.take(64).any(|other| {
            document.local_name(other) == name
                && document.namespace(other) == document.namespace(node)
                && self.mark_of(other).element == Reading::Read
        });
        if repeated {
            let message = || format!("<{name}> stands here again: only the first one counts");
            self.report(Severity::Warning, "libvirt.repeated", message, node, None);
        } else {
            let message = || format!("<{name}> is not understood here, and is ignored");
            self.report(Severity::Warning, "libvirt.unknown.element", message, node, None);
        }
    }

    fn report_unread_parts(&self, node: Id, mark: Mark) {
        for (index, attribute) in self.document.attributes(node).enumerate() {
            if !bit(mark.attributes, index) {
                // Without its value, which may be a secret.
                let name = attribute.local_name();
                let message = || format!("attribute {name} is not understood here, and is ignored");
                self.report(Severity::Warning, "libvirt.unknown.attribute", message, node, Some(index));
            }
        }
        if mark.text {
            return;
        }
        let mut texts = self.document.texts(node).map(str::trim);
        if let Some(text) = texts.find(|text| !text.is_empty()) {
            let message = || format!("the text {} is not understood here, and is ignored", quote(text));
            self.report(Severity::Warning, "libvirt.unknown.text", message, node, None);
        }
    }
}

fn bit(bits: u64, index: usize) -> bool {
    u32::try_from(index).ok().and_then(|index| 1u64.checked_shl(index)).is_some_and(|bit| bits & bit != 0)
}

impl<'a> Unread<'a> {
    /// The local name; empty for an element in a namespace.
    pub(crate) fn name(self) -> &'a str {
        if self.namespace().is_some() { "" } else { self.local_name() }
    }

    pub(crate) fn namespace(self) -> Option<&'a str> {
        self.sheet.document.namespace(self.node)
    }

    pub(crate) fn local_name(self) -> &'a str {
        self.sheet.document.local_name(self.node)
    }

    /// An attribute's value, without taking it.
    pub(crate) fn peek_attribute(self, name: &str) -> Option<&'a str> {
        let mut attributes = self.sheet.document.attributes(self.node);
        attributes.find(|attribute| attribute.name() == name).map(|attribute| attribute.value())
    }

    pub(crate) fn open(self) -> Element<'a> {
        self.sheet.mark(self.node, |mark| mark.element = Reading::Read);
        Element { node: self.node, sheet: self.sheet }
    }
}

impl<'a> Element<'a> {
    pub(crate) fn name(self) -> &'a str {
        self.sheet.document.local_name(self.node)
    }

    /// The attribute without a namespace.
    pub(crate) fn attribute(self, name: &str) -> Option<Value<'a>> {
        let mut attributes = self.sheet.document.attributes(self.node).enumerate();
        let (index, attribute) = attributes.find(|(_, attribute)| attribute.name() == name)?;
        self.sheet.mark(self.node, |mark| mark.attributes |= 1u64.checked_shl(index as u32).unwrap_or(0));
        Some(Value { text: attribute.value().trim(), element: self, attribute: Some(index) })
    }

    /// Its attribute `name`; an error where it is missing.
    pub(crate) fn required(self, name: &str) -> Option<Value<'a>> {
        let value = self.attribute(name);
        if value.is_none() {
            self.report(Severity::Error, "libvirt.value.missing", || format!("attribute {name} is missing"));
        }
        value
    }

    /// Child elements that no reader has opened.
    pub(crate) fn unread(self) -> impl Iterator<Item = Unread<'a>> {
        self.all().filter(|child| child.sheet.mark_of(child.node).element == Reading::Unread)
    }

    fn all(self) -> impl Iterator<Item = Unread<'a>> {
        let sheet = self.sheet;
        sheet.document.children(self.node).map(move |node| Unread { node, sheet })
    }

    /// The first child element of a name; those that follow are reported as repeated.
    pub(crate) fn child(self, name: &str) -> Option<Element<'a>> {
        self.peek(name).map(Unread::open)
    }

    /// As [`Self::child`], without taking it.
    pub(crate) fn peek(self, name: &str) -> Option<Unread<'a>> {
        let mut children = self.all();
        children.find(|child| child.name() == name)
    }

    /// All child elements of a name.
    pub(crate) fn children(self, name: &str) -> impl Iterator<Item = Element<'a>> {
        self.unread().filter(move |child| child.name() == name).map(Unread::open)
    }

    /// The text, trimmed; empty where there is none. Text in pieces (around a comment or an element) is an error.
    pub(crate) fn text(self) -> Value<'a> {
        self.sheet.mark(self.node, |mark| mark.text = true);
        let texts = self.sheet.document.texts(self.node).map(str::trim);
        let mut texts = texts.filter(|text| !text.is_empty());
        let value = Value { text: texts.next().unwrap_or_default(), element: self, attribute: None };
        if texts.next().is_some() {
            value.refuse("a text in one piece, without comments or elements inside");
        }
        value
    }

    /// The whole text as it stands there, blanks and all.
    pub(crate) fn whole_text(self) -> std::borrow::Cow<'a, str> {
        self.sheet.mark(self.node, |mark| mark.text = true);
        self.sheet.document.text(self.node)
    }

    /// The text of a child; none where the child is missing.
    pub(crate) fn child_text(self, name: &str) -> Option<Value<'a>> {
        self.child(name).map(Element::text)
    }

    pub(crate) fn report(self, severity: Severity, code: &'static str, message: impl FnOnce() -> String) {
        self.sheet.report(severity, code, message, self.node, None);
    }

    /// Reports the whole element, which covers everything in it.
    pub(crate) fn cover(self, severity: Severity, code: &'static str, message: impl FnOnce() -> String) {
        self.sheet.mark(self.node, |mark| mark.element = Reading::Covered);
        self.report(severity, code, message);
    }

    /// Reports the whole element as understood but not carried over.
    pub(crate) fn waive(self, waiver: &Waiver) {
        self.cover(waiver.severity, waiver.code, || format!("<{}>: {}", self.name(), waiver.reason));
    }

    /// Reports the named parts, "@attribute" or "child", as understood but not carried over.
    pub(crate) fn waive_parts(self, names: &[&str], waiver: &Waiver) {
        for (index, attribute) in self.sheet.document.attributes(self.node).enumerate() {
            let listed = names.iter().any(|name| name.strip_prefix('@') == Some(attribute.local_name()));
            if !listed
                || attribute.namespace().is_some()
                || bit(self.sheet.mark_of(self.node).attributes, index)
            {
                continue;
            }
            self.sheet.mark(self.node, |mark| mark.attributes |= 1u64.checked_shl(index as u32).unwrap_or(0));
            let (name, value) = (attribute.local_name(), quote(attribute.value()));
            let message = || format!("{name} {value}: {}", waiver.reason);
            self.sheet.report(waiver.severity, waiver.code, message, self.node, Some(index));
        }
        for child in self.unread().filter(|child| names.contains(&child.name())) {
            child.open().waive(waiver);
        }
    }

    /// Takes an attribute that may only have the values in `harmless`; any other is reported as not carried over.
    pub(crate) fn expect(self, name: &str, harmless: &[&str], waiver: &Waiver) {
        if let Some(value) = self.attribute(name)
            && !harmless.contains(&value.text)
        {
            value.waive(waiver);
        }
    }
}

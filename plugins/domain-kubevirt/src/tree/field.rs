//! A view of a value that marks what has been read.

use witvirt_sdk::core::domain::Severity;

use super::findings::quote;
use super::{Id, Kind, Tree};

/// A field that KubeVirt knows, and what is to be said where it is not carried over.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Waiver {
    pub(crate) severity: Severity,
    pub(crate) code: &'static str,
    pub(crate) reason: &'static str,
}

impl Waiver {
    /// The guest would miss it.
    pub(crate) const fn error(code: &'static str, reason: &'static str) -> Self {
        Self { severity: Severity::Error, code, reason }
    }

    /// The machine runs, but this is not honoured.
    pub(crate) const fn warning(code: &'static str, reason: &'static str) -> Self {
        Self { severity: Severity::Warning, code, reason }
    }

    /// Means nothing outside of a cluster.
    pub(crate) const fn info(code: &'static str, reason: &'static str) -> Self {
        Self { severity: Severity::Info, code, reason }
    }
}

/// A value that is there. Readers report a wrong type as an error that says what was found and what is wanted.
#[derive(Clone, Copy)]
pub(crate) struct Field<'a> {
    pub(crate) tree: &'a Tree,
    pub(crate) id: Id,
}

impl<'a> Field<'a> {
    fn kind(self) -> &'a Kind {
        self.tree.kind(self.id)
    }

    fn mark(self) {
        self.tree.node(self.id).read.set(true);
    }

    pub(crate) fn report(self, severity: Severity, code: &'static str, message: impl FnOnce() -> String) {
        self.tree.report(self.id, severity, code, message);
    }

    pub(crate) fn error(self, code: &'static str, message: impl FnOnce() -> String) {
        self.report(Severity::Error, code, message);
    }

    pub(crate) fn warn(self, code: &'static str, message: impl FnOnce() -> String) {
        self.report(Severity::Warning, code, message);
    }

    pub(crate) fn info(self, code: &'static str, message: impl FnOnce() -> String) {
        self.report(Severity::Info, code, message);
    }

    /// Reports that the field, though understood, is not carried over; speaks for all that is in it.
    pub(crate) fn waive(self, waiver: &Waiver) {
        self.cover();
        self.report(waiver.severity, waiver.code, || waiver.reason.to_owned());
    }

    /// Waives those of the named fields that are there.
    pub(crate) fn waive_fields(self, names: &[&'static str], waiver: &Waiver) {
        for name in names {
            if let Some(field) = self.get(name) {
                field.waive(waiver);
            }
        }
    }

    /// Marks everything in it as read.
    pub(crate) fn cover(self) {
        let mut rest = vec![self.id];
        while let Some(id) = rest.pop() {
            self.tree.node(id).read.set(true);
            match self.tree.kind(id) {
                Kind::List(items) => rest.extend(items),
                Kind::Map(entries) => rest.extend(entries.iter().map(|(_, id)| id)),
                _ => {}
            }
        }
    }

    fn mismatch(self, wanted: &str) {
        self.cover();
        self.error("kubevirt.value.type", || match self.kind() {
            Kind::Number(number) => format!("found the number {number}, {wanted} is wanted"),
            Kind::Bool(value) => format!("found the boolean {value}, {wanted} is wanted"),
            Kind::Text(text) => format!("found the string {}, {wanted} is wanted", quote(text)),
            other => format!("found {}, {wanted} is wanted", other.name()),
        });
    }

    /// Says what would be right; the value itself is quoted.
    pub(crate) fn refuse(self, allowed: &str) {
        self.error("kubevirt.value.invalid", || {
            let shown = match self.kind() {
                Kind::Text(text) => quote(text),
                Kind::Number(number) => number.to_string(),
                other => other.name().to_owned(),
            };
            format!("{shown} is not valid here: use {allowed}")
        });
    }

    /// A field of an object; null is as good as absent.
    pub(crate) fn get(self, name: &'static str) -> Option<Self> {
        if !self.object() {
            return None;
        }
        let mut asked = self.tree.asked.borrow_mut();
        let names = asked.entry(self.id).or_default();
        if !names.contains(&name) {
            names.push(name);
        }
        drop(asked);
        let Kind::Map(entries) = self.kind() else { return None };
        let found = entries.iter().find(|(key, _)| **key == *name).map(|(_, id)| self.tree.field(*id))?;
        if *found.kind() == Kind::Null {
            found.mark();
            return None;
        }
        Some(found)
    }

    /// A field further down.
    pub(crate) fn path(self, names: &[&'static str]) -> Option<Self> {
        names.iter().try_fold(self, |at, name| at.get(name))
    }

    /// Whether it is an object; marks it. Anything else is reported, once.
    pub(crate) fn object(self) -> bool {
        if let Kind::Map(_) = self.kind() {
            self.mark();
            return true;
        }
        if !self.tree.node(self.id).read.get() {
            self.mismatch("an object");
        }
        false
    }

    /// The elements of a list; nulls are left out.
    pub(crate) fn items(self) -> Vec<Self> {
        let Kind::List(items) = self.kind() else {
            self.mismatch("a list");
            return Vec::new();
        };
        self.mark();
        let fields = items.iter().map(|id| self.tree.field(*id));
        let (nulls, rest): (Vec<_>, Vec<_>) = fields.partition(|field| *field.kind() == Kind::Null);
        for null in nulls {
            null.mark();
        }
        rest
    }

    /// The elements of a list in a field that may be absent.
    pub(crate) fn list(self, name: &'static str) -> Vec<Self> {
        self.get(name).map(Self::items).unwrap_or_default()
    }

    /// Not more than so many elements; it is an error that there are more.
    pub(crate) fn bounded_list(self, name: &'static str, most: usize) -> Vec<Self> {
        let mut items = self.list(name);
        if items.len() > most {
            for item in items.split_off(most) {
                item.cover();
            }
            if let Some(list) = self.get(name) {
                list.error("kubevirt.value.invalid", || format!("has more than {most} elements"));
            }
        }
        items
    }

    /// Names and values of an object whose names are free.
    pub(crate) fn entries(self) -> Vec<(&'a str, Self)> {
        if !self.object() {
            return Vec::new();
        }
        let Kind::Map(entries) = self.kind() else { return Vec::new() };
        entries.iter().map(|(name, id)| (&**name, self.tree.field(*id))).collect()
    }

    pub(crate) fn string(self) -> Option<&'a str> {
        let Kind::Text(text) = self.kind() else {
            let quotes = matches!(self.kind(), Kind::Number(_) | Kind::Bool(_));
            self.mismatch(if quotes { "a string (put it in quotes)" } else { "a string" });
            return None;
        };
        self.mark();
        Some(text)
    }

    /// A string that may be a secret: no message repeats what stands there.
    pub(crate) fn private_string(self) -> Option<&'a str> {
        if let Kind::Text(_) = self.kind() {
            return self.string();
        }
        self.cover();
        self.error("kubevirt.value.type", || format!("found {}, a string is wanted", self.kind().name()));
        None
    }

    /// Whether there is more than an empty text; nothing is reported.
    pub(crate) fn string_is_not_empty(self) -> bool {
        !matches!(self.kind(), Kind::Text(text) if text.is_empty())
    }

    pub(crate) fn boolean(self) -> Option<bool> {
        let Kind::Bool(value) = self.kind() else {
            self.mismatch("true or false");
            return None;
        };
        self.mark();
        Some(*value)
    }

    /// A whole number within bounds.
    pub(crate) fn integer(self, least: i64, most: i64) -> Option<i64> {
        let Kind::Number(number) = self.kind() else {
            self.mismatch("a whole number");
            return None;
        };
        self.mark();
        let value = number.as_i64().filter(|value| (least..=most).contains(value));
        if value.is_none() {
            self.refuse(&format!("a whole number from {least} to {most}"));
        }
        value
    }

    /// A number or string as a text, for what Kubernetes writes both ways.
    pub(crate) fn scalar_text(self) -> Option<String> {
        self.mark();
        match self.kind() {
            Kind::Text(text) => Some(text.to_string()),
            Kind::Number(number) => Some(number.to_string()),
            _ => {
                self.mismatch("a number or a string");
                None
            }
        }
    }

    /// One of a closed set of strings.
    pub(crate) fn choose<T: Clone>(self, table: &[(&str, T)]) -> Option<T> {
        let text = self.string()?;
        let found = table.iter().find(|(name, _)| *name == text).map(|(_, choice)| choice.clone());
        if found.is_none() {
            let names: Vec<_> = table.iter().map(|(name, _)| *name).collect();
            self.refuse(&format!("one of {}", names.join(", ")));
        }
        found
    }

    /// A string in a field; an empty one is as good as absent, as in Go.
    pub(crate) fn text(self, name: &'static str) -> Option<&'a str> {
        self.get(name).and_then(Self::string).filter(|text| !text.is_empty())
    }

    /// A boolean in a field.
    pub(crate) fn flag(self, name: &'static str) -> Option<bool> {
        self.get(name).and_then(Self::boolean)
    }

    /// A string that has to be there. An object without it is of no use: the rest of it is not reported as well.
    pub(crate) fn required(self, name: &'static str) -> Option<&'a str> {
        let found = self.get(name);
        let missing = match found {
            None => true,
            Some(found) => matches!(found.kind(), Kind::Text(text) if text.is_empty()),
        };
        if missing && self.object() {
            self.cover();
            self.error("kubevirt.value.missing", || format!("\"{name}\" is missing"));
        }
        found.filter(|_| !missing).and_then(Self::string)
    }
}

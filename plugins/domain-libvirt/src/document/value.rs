//! One attribute's or element's text, and where it stands.

use witvirt_sdk::core::domain::Severity;

use super::Waiver;
use super::findings::quote;
use super::sheet::Element;

/// A text of the document. Readers report what does not parse as an error that says what is allowed.
#[derive(Clone, Copy)]
pub(crate) struct Value<'a> {
    /// Without surrounding whitespace.
    pub(crate) text: &'a str,
    pub(crate) element: Element<'a>,
    pub(crate) attribute: Option<usize>,
}

impl<'a> Value<'a> {
    pub(crate) fn report(self, severity: Severity, code: &'static str, message: impl FnOnce() -> String) {
        self.element.sheet.report(severity, code, message, self.element.node, self.attribute);
    }

    pub(crate) fn refuse(self, allowed: &str) {
        self.report(Severity::Error, "libvirt.value.invalid", || {
            format!("{} is not valid here: use {allowed}", quote(self.text))
        });
    }

    /// Reports that the value, though understood, is not carried over.
    pub(crate) fn waive(self, waiver: &Waiver) {
        self.report(waiver.severity, waiver.code, || format!("{}: {}", quote(self.text), waiver.reason));
    }

    /// An attribute's text with its whitespace; an element's text without.
    pub(crate) fn untrimmed(self) -> &'a str {
        let Element { node, sheet } = self.element;
        let attribute = self.attribute.and_then(|index| sheet.document.attributes(node).nth(index));
        attribute.map_or(self.text, |attribute| attribute.value())
    }

    /// One of a closed set.
    pub(crate) fn choose<T: Clone>(self, table: &[(&str, T)]) -> Option<T> {
        let found = table.iter().find(|(name, _)| *name == self.text).map(|(_, choice)| choice.clone());
        if found.is_none() {
            self.refuse_choice(&mut table.iter().map(|(name, _)| *name));
        }
        found
    }

    #[inline(never)]
    fn refuse_choice(self, names: &mut dyn Iterator<Item = &str>) {
        let names: Vec<_> = names.collect();
        self.refuse(&format!("one of {}", names.join(", ")));
    }

    pub(crate) fn yes(self) -> Option<bool> {
        self.choose(&[("yes", true), ("no", false)])
    }

    pub(crate) fn on(self) -> Option<bool> {
        self.choose(&[("on", true), ("off", false)])
    }

    /// A decimal number that fits `T`.
    pub(crate) fn number<T: TryFrom<u64> + Bounded>(self) -> Option<T> {
        let digits = !self.text.is_empty() && self.text.bytes().all(|byte| byte.is_ascii_digit());
        let number =
            digits.then(|| self.text.parse::<u64>().ok()).flatten().and_then(|n| T::try_from(n).ok());
        if number.is_none() {
            self.refuse(&format!("a whole number from 0 to {}", T::MOST));
        }
        number
    }

    /// With a single space for each run of whitespace.
    pub(crate) fn one_line(self) -> String {
        self.text.split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

/// Integers with a name for their largest value.
pub(crate) trait Bounded {
    const MOST: u64;
}

impl Bounded for u8 {
    const MOST: u64 = u8::MAX as u64;
}

impl Bounded for u16 {
    const MOST: u64 = u16::MAX as u64;
}

impl Bounded for u32 {
    const MOST: u64 = u32::MAX as u64;
}

impl Bounded for u64 {
    const MOST: u64 = u64::MAX;
}

//! `-s [[bus:]slot[:function]],emulation[,config]`.

use super::{Text, number};
use crate::findings::{Findings, quote};

/// A place on the PCI bus.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Address {
    pub(crate) bus: u8,
    pub(crate) slot: u8,
    pub(crate) function: u8,
}

/// What is plugged in there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slot<'a> {
    pub(crate) address: Address,
    pub(crate) emulation: &'a str,
    /// Empty where absent.
    pub(crate) config: &'a str,
    pub(crate) text: Text<'a>,
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}:{}", self.bus, self.slot, self.function)
    }
}

pub(crate) fn parse<'a>(text: Text<'a>, findings: &mut Findings) -> Option<Slot<'a>> {
    let Some((place, rest)) = text.text.split_once(',') else {
        let message = format!("{}: a slot is SLOT,DEVICE or SLOT:FUNCTION,DEVICE", quote(text.text));
        findings.error(text.place, "xhyve.slot.invalid", message);
        return None;
    };
    let (emulation, config) = rest.split_once(',').unwrap_or((rest, ""));
    let Some(address) = address(place) else {
        let message = format!(
            "{}: a slot is SLOT, SLOT:FUNCTION or BUS:SLOT:FUNCTION, with a bus up to 255, a slot up to 31 and a \
             function up to 7",
            quote(place)
        );
        findings.error(text.place, "xhyve.slot.invalid", message);
        return None;
    };
    Some(Slot { address, emulation, config, text })
}

/// As `sscanf` reads it: three numbers, else two, else one, and no word on what follows.
fn address(text: &str) -> Option<Address> {
    let (first, rest) = number::decimal(text)?;
    let mut numbers = vec![first];
    let mut rest = rest;
    while let Some((number, more)) =
        rest.strip_prefix(':').and_then(number::decimal).filter(|_| numbers.len() < 3)
    {
        numbers.push(number);
        rest = more;
    }
    let (bus, slot, function) = match numbers[..] {
        [bus, slot, function] => (bus, slot, function),
        [slot, function] => (0, slot, function),
        [slot] => (0, slot, 0),
        _ => return None,
    };
    let bus = u8::try_from(bus).ok()?;
    (slot < 32 && function < 8).then_some(Address { bus, slot: slot as u8, function: function as u8 })
}

#[cfg(test)]
mod tests {
    use super::{Address, address};

    #[test]
    fn places() {
        let at = |bus, slot, function| Some(Address { bus, slot, function });
        for (text, expected) in [
            ("2", at(0, 2, 0)),
            ("2:0", at(0, 2, 0)),
            ("0:2:0", at(0, 2, 0)),
            ("3:1", at(0, 3, 1)),
            ("255:31:7", at(255, 31, 7)),
            (" 3", at(0, 3, 0)),
            ("2:0x", at(0, 2, 0)),
            ("256:1:1", None),
            ("32", None),
            ("1:8", None),
            ("", None),
            ("x", None),
            ("-1", None),
        ] {
            assert_eq!(address(text), expected, "{text}");
        }
    }
}

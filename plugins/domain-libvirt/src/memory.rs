//! Memory, and how much of it.

use witvirt_sdk::core::ByteSize;
use witvirt_sdk::core::domain::Severity;

use crate::document::{Element, TUNING, Value, Waiver};
use crate::draft::Draft;

const HOTPLUG: Waiver = Waiver::warning("libvirt.memory.hotplug", "memory cannot be added later");

pub(crate) fn read(draft: &mut Draft<'_>) {
    let domain = draft.domain;
    match domain.child("memory") {
        Some(memory) => {
            memory.waive_parts(&["@dumpCore"], &TUNING);
            if let Some(size) = size(memory) {
                draft.spec.memory = rounded(memory.text(), size);
            }
        }
        None => domain
            .report(Severity::Error, "libvirt.value.missing", || "the domain has no <memory>".to_owned()),
    }
    if let Some(current) = domain.child("currentMemory")
        && let Some(size) = size(current)
        && rounded_up(size) < draft.spec.memory
    {
        current.report(Severity::Warning, "libvirt.memory.current", || {
            format!("the machine starts with all of its {}; the balloon is not inflated", draft.spec.memory)
        });
    }
    domain.waive_parts(&["maxMemory"], &HOTPLUG);
    domain.waive_parts(&["memoryBacking", "memtune", "numatune"], &TUNING);
}

/// libvirt gives QEMU whole MiB.
fn rounded(value: Value<'_>, size: u64) -> ByteSize {
    let whole = rounded_up(size);
    if whole.get() != size {
        value.report(Severity::Info, "libvirt.memory.rounded", || format!("rounded up to {whole}"));
    }
    whole
}

pub(crate) fn rounded_up(size: u64) -> ByteSize {
    ByteSize(size.div_ceil(1 << 20).saturating_mul(1 << 20))
}

/// An element with a number and an attribute `unit` (KiB where absent), in bytes.
pub(crate) fn size(element: Element<'_>) -> Option<u64> {
    scaled(element.text(), element.attribute("unit"))
}

/// A number and its unit (KiB where absent), in bytes.
pub(crate) fn scaled(number: Value<'_>, unit: Option<Value<'_>>) -> Option<u64> {
    let factor = match unit {
        None => 1 << 10,
        Some(unit) => factor(unit.text).or_else(|| {
            unit.refuse("b, bytes, KB, KiB, k, MB, MiB, M, GB, GiB, G, TB, TiB, T, PB, PiB, P, EB, EiB or E");
            None
        })?,
    };
    let size = number.number::<u64>()?.checked_mul(factor);
    if size.is_none() {
        number.refuse("a size below 16 EiB");
    }
    size
}

/// Units as in libvirt's `virScaleInteger`: case does not matter, a lone letter is binary.
fn factor(unit: &str) -> Option<u64> {
    let unit = unit.to_ascii_lowercase();
    if matches!(unit.as_str(), "b" | "byte" | "bytes") {
        return Some(1);
    }
    let (letter, kind) = unit.split_at_checked(1)?;
    let exponent = 1 + "kmgtpe".find(letter)? as u32;
    match kind {
        "" | "ib" => 1024u64.checked_pow(exponent),
        "b" => 1000u64.checked_pow(exponent),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::factor;

    #[test]
    fn scales_units() {
        for (unit, expected) in [
            ("b", Some(1)),
            ("bytes", Some(1)),
            ("KB", Some(1000)),
            ("k", Some(1024)),
            ("KiB", Some(1024)),
            ("kib", Some(1024)),
            ("MB", Some(1_000_000)),
            ("GiB", Some(1 << 30)),
            ("T", Some(1 << 40)),
            ("PiB", Some(1 << 50)),
            ("EB", Some(1_000_000_000_000_000_000)),
            ("", None),
            ("furlong", None),
            ("Ki", None),
            ("é", None),
            ("ib", None),
        ] {
            assert_eq!(factor(unit), expected, "{unit}");
        }
    }
}

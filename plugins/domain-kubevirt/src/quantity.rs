//! Quantities of Kubernetes: "4Gi", "64M", "1.5", "250m", "1e3".
//! <https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/>

use crate::tree::Field;

/// Most digits of a number.
const MAX_DIGITS: usize = 18;

/// The value in whole units, rounded up.
pub(crate) fn parse(text: &str) -> Option<u64> {
    let text = text.strip_prefix('+').unwrap_or(text);
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = format!("{whole}{fraction}");
    if digits.is_empty() || digits.len() > MAX_DIGITS || fraction.contains('.') {
        return None;
    }
    let mantissa: u128 = digits.parse().ok()?;
    let down = i32::try_from(fraction.len()).ok()?;
    let (factor, exponent) = scale(suffix)?;
    let value = mantissa.checked_mul(factor)?;
    let exponent = exponent - down;
    let power = 10u128.checked_pow(exponent.unsigned_abs())?;
    let value = if exponent < 0 { value.div_ceil(power) } else { value.checked_mul(power)? };
    u64::try_from(value).ok()
}

/// What a suffix multiplies with: a power of two, and a power of ten.
fn scale(suffix: &str) -> Option<(u128, i32)> {
    Some(match suffix {
        "" => (1, 0),
        "Ki" => (1 << 10, 0),
        "Mi" => (1 << 20, 0),
        "Gi" => (1 << 30, 0),
        "Ti" => (1 << 40, 0),
        "Pi" => (1 << 50, 0),
        "Ei" => (1 << 60, 0),
        "n" => (1, -9),
        "u" => (1, -6),
        "m" => (1, -3),
        "k" => (1, 3),
        "M" => (1, 6),
        "G" => (1, 9),
        "T" => (1, 12),
        "P" => (1, 15),
        "E" => (1, 18),
        _ => {
            let exponent = suffix.strip_prefix(['e', 'E'])?;
            let exponent: i32 = exponent.parse().ok()?;
            (-18..=18).contains(&exponent).then_some((1, exponent))?
        }
    })
}

impl Field<'_> {
    /// A quantity in whole units, rounded up.
    pub(crate) fn quantity(self) -> Option<u64> {
        let text = self.scalar_text()?;
        let value = parse(&text);
        if value.is_none() {
            self.refuse("a quantity like 4Gi, 500M or 2");
        }
        value
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn reads_quantities() {
        for (text, expected) in [
            ("4Gi", Some(4 << 30)),
            ("64M", Some(64_000_000)),
            ("1024", Some(1024)),
            ("1.5Gi", Some(3 << 29)),
            ("250m", Some(1)),
            ("1500m", Some(2)),
            ("1e3", Some(1000)),
            ("1E3", Some(1000)),
            ("5E", Some(5_000_000_000_000_000_000)),
            ("15Ei", Some(15 << 60)),
            ("0", Some(0)),
            (".5", Some(1)),
            ("16Ei", None),
            ("-1", None),
            ("", None),
            ("Gi", None),
            (".", None),
            ("1.2.3", None),
            ("4GiB", None),
            ("4 Gi", None),
            ("1e99", None),
            ("9999999999999999999999", None),
        ] {
            assert_eq!(parse(text), expected, "{text}");
        }
    }
}

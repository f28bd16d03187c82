//! What an unquoted scalar means: as kubectl reads it, which is YAML 1.1 as `sigs.k8s.io/yaml` has it.

use serde_json::Number;

use super::Kind;

/// The value of a plain scalar.
pub(super) fn resolve(text: &str) -> Kind {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Kind::Null,
        "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => return Kind::Bool(true),
        "false" | "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => return Kind::Bool(false),
        _ => {}
    }
    number(text).map_or_else(|| Kind::Text(text.into()), Kind::Number)
}

fn number(text: &str) -> Option<Number> {
    if !text.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c)) {
        return None;
    }
    let plain = text.replace('_', "");
    let (negative, digits) = match plain.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, plain.strip_prefix('+').unwrap_or(&plain)),
    };
    if let Some(whole) = integer(digits) {
        return match negative {
            false => Some(whole.into()),
            true => 0i64.checked_sub_unsigned(whole).map(Number::from),
        };
    }
    let decimal = |c: char| c.is_ascii_digit() || ".eE+-".contains(c);
    if !digits.contains(|c: char| c.is_ascii_digit()) || !digits.chars().all(decimal) {
        return None;
    }
    plain.parse().ok().and_then(Number::from_f64)
}

/// Decimal, `0x`, `0b`, `0o`, and octal with a leading zero.
fn integer(digits: &str) -> Option<u64> {
    let based = |rest: &str, base| {
        let plain = !rest.is_empty() && rest.chars().all(|c| c.is_ascii_alphanumeric());
        plain.then(|| u64::from_str_radix(rest, base).ok()).flatten()
    };
    match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => based(&digits[2..], 16),
        [b'0', b'b' | b'B', ..] => based(&digits[2..], 2),
        [b'0', b'o' | b'O', ..] => based(&digits[2..], 8),
        [b'0', _, ..] => based(&digits[1..], 8),
        _ => based(digits, 10),
    }
}

#[cfg(test)]
mod tests {
    use super::resolve;
    use crate::tree::Kind;

    #[test]
    fn resolves_as_kubectl_does() {
        let number = |n: i64| Kind::Number(n.into());
        for (text, expected) in [
            ("", Kind::Null),
            ("~", Kind::Null),
            ("yes", Kind::Bool(true)),
            ("Off", Kind::Bool(false)),
            ("22", number(22)),
            ("-22", number(-22)),
            ("0x10", number(16)),
            ("0o10", number(8)),
            ("010", number(8)),
            ("1_000", number(1000)),
            ("0", number(0)),
            ("1e3", Kind::Number(serde_json::Number::from_f64(1000.0).unwrap())),
            (".5", Kind::Number(serde_json::Number::from_f64(0.5).unwrap())),
        ] {
            assert_eq!(resolve(text), expected, "{text}");
        }
        for text in
            ["4Gi", "64M", "1.2.3.4", "-", "+", ".", "-.", "0x", "1e", "y", "2026-08-01", "52:54:00:12:34:56"]
        {
            assert_eq!(resolve(text), Kind::Text(text.into()), "{text}");
        }
    }

    #[test]
    fn numbers_out_of_range_do_not_wrap() {
        assert_eq!(resolve("18446744073709551615"), Kind::Number(u64::MAX.into()));
        assert!(matches!(resolve("18446744073709551616"), Kind::Number(n) if n.is_f64()));
        assert!(matches!(resolve("-9223372036854775809"), Kind::Text(_) | Kind::Number(_)));
        assert!(matches!(resolve("1e999"), Kind::Text(_)));
    }
}

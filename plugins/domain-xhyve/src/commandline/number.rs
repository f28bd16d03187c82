//! Numbers as C's library reads them.

/// `strtoul` with base 0: blanks, then hexadecimal behind `0x`, octal behind `0`, else decimal. The number, and what
/// follows it; `None` where there is none, or one that is negative or too large.
pub(crate) fn unsigned(text: &str) -> Option<(u64, &str)> {
    let text = text.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == '\u{b}');
    let text = text.strip_prefix('+').unwrap_or(text);
    let hexadecimal = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    let hexadecimal = hexadecimal.filter(|rest| rest.starts_with(|c: char| c.is_ascii_hexdigit()));
    let (digits, radix) = match hexadecimal {
        Some(rest) => (rest, 16),
        None if text.starts_with('0') => (text, 8),
        None => (text, 10),
    };
    let end = digits.find(|c: char| !c.is_digit(radix)).unwrap_or(digits.len());
    let number = u64::from_str_radix(&digits[..end], radix).ok()?;
    Some((number, &digits[end..]))
}

/// `atoi` and a `%d` of `sscanf`: blanks and digits; the rest does not matter.
pub(crate) fn decimal(text: &str) -> Option<(u32, &str)> {
    let text = text.trim_start_matches(|c: char| c.is_ascii_whitespace());
    let text = text.strip_prefix('+').unwrap_or(text);
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    Some((text[..end].parse().ok()?, &text[end..]))
}

/// The argument of `-m` in bytes: a bare number below 1 MiB counts mebibytes, a larger one bytes; else the first letter
/// behind the number is its unit, whatever follows it.
pub(crate) fn memory_size(text: &str) -> Option<u64> {
    const MIB: u64 = 1 << 20;
    let (number, rest) = unsigned(text)?;
    if rest.is_empty() {
        return if number < MIB { number.checked_mul(MIB) } else { Some(number) };
    }
    let letter = rest.chars().next()?.to_ascii_lowercase();
    let exponent = "bkmgtpe".find(letter)?;
    number.checked_mul(1u64.checked_shl(10 * exponent as u32)?)
}

#[cfg(test)]
mod tests {
    use super::{decimal, memory_size};

    #[test]
    fn sizes_of_memory() {
        const MIB: u64 = 1 << 20;
        for (text, expected) in [
            ("512", Some(512 * MIB)),
            ("1048575", Some(1_048_575 * MIB)),
            ("1048576", Some(MIB)),
            ("224395264", Some(224_395_264)),
            ("1G", Some(1024 * MIB)),
            ("2048M", Some(2048 * MIB)),
            ("1024mb", Some(1024 * MIB)),
            ("3GB", Some(3072 * MIB)),
            ("1Tera", Some(1024 * 1024 * MIB)),
            ("0x400", Some(1024 * MIB)),
            ("0x400M", Some(1024 * MIB)),
            ("010", Some(8 * MIB)),
            ("4096k", Some(4 * MIB)),
            ("5000000b", Some(5_000_000)),
            (" 2G", Some(2048 * MIB)),
            ("bogus", None),
            ("", None),
            ("-1", None),
            ("08", None),
            ("1x", None),
            ("16E", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(memory_size(text), expected, "{text}");
        }
    }

    #[test]
    fn decimals_end_where_digits_end() {
        assert_eq!(decimal("2abc"), Some((2, "abc")));
        assert_eq!(decimal(" 31"), Some((31, "")));
        assert_eq!(decimal("x"), None);
        assert_eq!(decimal("99999999999"), None);
    }
}

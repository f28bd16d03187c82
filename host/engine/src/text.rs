//! Text that plugins hand over, made fit for logs and terminals.

/// Bytes of a message (error, diagnostic, log line).
pub(crate) const MESSAGE: usize = 4 << 10;
/// Bytes of a key, a code or another word.
pub(crate) const WORD: usize = 128;

/// At most `max` bytes of `text`, with control characters, and those that reorder what a terminal shows, escaped. A cut
/// is marked with "...".
pub(crate) fn clean(text: &str, max: usize) -> String {
    let mut out = String::with_capacity(text.len().min(max));
    for c in text.chars() {
        let start = out.len();
        if c.is_control() || reorders(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
        if out.len() > max {
            out.truncate(start);
            out.push_str("...");
            break;
        }
    }
    out
}

/// Unicode's explicit directional formatting characters (UAX #9, 2.1 to 2.4) and line separators.
fn reorders(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::clean;

    #[test]
    fn escapes_what_moves_the_cursor() {
        assert_eq!(clean("a\x1b[2Jb\n\u{202e}c", 100), "a\\u{1b}[2Jb\\n\\u{202e}c");
        assert_eq!(clean("grün", 100), "grün");
    }

    #[test]
    fn cuts_between_characters() {
        assert_eq!(clean("äöü", 4), "äö...");
        assert_eq!(clean("ab\n", 3), "ab...");
        assert_eq!(clean("abc", 3), "abc");
    }
}

//! Characters: what XML 1.0 allows where, and how texts are written and read.

/// Of each byte: whether a name can go on with it, and where texts and values have to be looked at closer.
pub(super) static CLASS: [u8; 256] = classes();

/// Part of a name; of a character beyond ASCII it has still to be seen.
pub(super) const NAME: u8 = 1;
/// Ends or may end a text: `<`, `&`, `]`, carriage return, control characters, and the first byte of U+FFFE.
pub(super) const TEXT_STOP: u8 = 2;
/// Ends or may end an attribute's value: as in texts, without `]`, with quotes, tab and line feed.
pub(super) const VALUE_STOP: u8 = 4;
/// Blank.
pub(super) const SPACE: u8 = 8;
/// Part of a name without doubt, and no colon.
pub(super) const PLAIN_NAME: u8 = 16;

const fn classes() -> [u8; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let b = byte as u8;
        let mut class = 0;
        if b.is_ascii_alphanumeric() || matches!(b, b':' | b'_' | b'-' | b'.') || b >= 0x80 {
            class |= NAME;
        }
        if b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.') {
            class |= PLAIN_NAME;
        }
        let control = b < 0x20 && !matches!(b, b'\t' | b'\n');
        if control || matches!(b, b'<' | b'&' | b']' | 0xef) {
            class |= TEXT_STOP;
        }
        if control || matches!(b, b'<' | b'&' | b'"' | b'\'' | b'\t' | b'\n' | 0xef) {
            class |= VALUE_STOP;
        }
        if matches!(b, b' ' | b'\t' | b'\n' | b'\r') {
            class |= SPACE;
        }
        table[byte] = class;
        byte += 1;
    }
    table
}

/// `Char` of XML 1.0.
pub(super) fn is_allowed(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}

/// `NameStartChar` of XML 1.0 without the colon.
pub(super) fn starts_name(c: char) -> bool {
    matches!(c,
        'A'..='Z' | 'a'..='z' | '_'
        | '\u{c0}'..='\u{d6}' | '\u{d8}'..='\u{f6}' | '\u{f8}'..='\u{2ff}' | '\u{370}'..='\u{37d}'
        | '\u{37f}'..='\u{1fff}' | '\u{200c}'..='\u{200d}' | '\u{2070}'..='\u{218f}' | '\u{2c00}'..='\u{2fef}'
        | '\u{3001}'..='\u{d7ff}' | '\u{f900}'..='\u{fdcf}' | '\u{fdf0}'..='\u{fffd}' | '\u{10000}'..='\u{effff}')
}

/// `NameChar` of XML 1.0 without the colon.
pub(super) fn continues_name(c: char) -> bool {
    starts_name(c)
        || matches!(c, '0'..='9' | '-' | '.' | '\u{b7}' | '\u{300}'..='\u{36f}' | '\u{203f}'..='\u{2040}')
}

/// A name that can be written, whatever it was: what no name can have becomes `_`.
pub(super) fn push_name(out: &mut String, name: &str) {
    let start = out.len();
    let mut colon = false;
    for c in name.chars() {
        let first = out.len() == start || out.ends_with(':');
        let prefix_ends = c == ':' && !first && !std::mem::replace(&mut colon, true);
        let fits = if first { starts_name(c) } else { continues_name(c) };
        out.push(if prefix_ends || fits { c } else { '_' });
    }
    if out.len() == start || out.ends_with(':') {
        out.push('_');
    }
}

/// A text as it stands between tags. What XML has no way to write becomes U+FFFD.
pub(super) fn push_text(out: &mut String, text: &str) {
    push_escaped(out, text, |c| match c {
        '<' => Some("&lt;"),
        '>' => Some("&gt;"),
        '&' => Some("&amp;"),
        '\r' => Some("&#13;"),
        c => (!is_allowed(c)).then_some("\u{fffd}"),
    });
}

/// A text as it stands between these quotes.
pub(super) fn push_value(out: &mut String, text: &str, quote: char) {
    push_escaped(out, text, |c| match c {
        '<' => Some("&lt;"),
        '>' => Some("&gt;"),
        '&' => Some("&amp;"),
        '"' if quote == '"' => Some("&quot;"),
        '\'' if quote == '\'' => Some("&apos;"),
        '\t' => Some("&#9;"),
        '\n' => Some("&#10;"),
        '\r' => Some("&#13;"),
        c => (!is_allowed(c)).then_some("\u{fffd}"),
    });
}

fn push_escaped(out: &mut String, text: &str, replacement: impl Fn(char) -> Option<&'static str>) {
    let mut done = 0;
    for (at, c) in text.char_indices() {
        if let Some(replacement) = replacement(c) {
            out.push_str(&text[done..at]);
            out.push_str(replacement);
            done = at + c.len_utf8();
        }
    }
    out.push_str(&text[done..]);
}

/// What a reference stands for; the argument is what is between `&` and `;`.
pub(super) fn reference(name: &str) -> Option<char> {
    match name {
        "lt" => return Some('<'),
        "gt" => return Some('>'),
        "amp" => return Some('&'),
        "quot" => return Some('"'),
        "apos" => return Some('\''),
        _ => {}
    }
    let number = name.strip_prefix('#')?;
    let (digits, radix) = match number.strip_prefix('x') {
        Some(digits) => (digits, 16),
        None => (number, 10),
    };
    // `from_str_radix` would take a sign.
    if !digits.starts_with(|c: char| c.is_digit(radix)) {
        return None;
    }
    let code = u32::from_str_radix(digits, radix).ok()?;
    char::from_u32(code).filter(|c| is_allowed(*c))
}

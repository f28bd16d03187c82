//! Patterns of `case` and `[[`.

/// Whether the whole text fits a pattern with `*` and `?`; `None` for a pattern with more than these.
pub(super) fn fits(pattern: &str, text: &str) -> Option<bool> {
    if pattern.contains(['[', '\\']) || pattern.contains("@(") {
        return None;
    }
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t) = (0, 0);
    // Where the last star was, and the text that it has taken so far.
    let mut star = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(c) if *c == '?' || *c == text[t] => {
                p += 1;
                t += 1;
            }
            _ => {
                let Some((at, taken)) = star else { return Some(false) };
                star = Some((at, taken + 1));
                (p, t) = (at + 1, taken + 1);
            }
        }
    }
    Some(pattern[p..].iter().all(|c| *c == '*'))
}

#[cfg(test)]
mod tests {
    use super::fits;

    #[test]
    fn stars_and_question_marks() {
        for (pattern, text, expected) in [
            ("", "", Some(true)),
            ("*", "", Some(true)),
            ("a*c", "abbc", Some(true)),
            ("a*c", "abbd", Some(false)),
            ("*.iso", "a.iso.iso", Some(true)),
            ("?", "", Some(false)),
            ("-?", "-h", Some(true)),
            ("[yY]", "y", None),
        ] {
            assert_eq!(fits(pattern, text), expected, "{pattern} {text}");
        }
    }
}

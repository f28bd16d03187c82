//! Names of other files that an image contains. Their author may be anybody.

use crate::error::{Error, ErrorKind, Result};

/// Checks a name that an image gives for one of its parts: a plain path or nothing.
///
/// QEMU reads whatever stands before the first ':' as a protocol (`nbd:`, `json:`, `fat:rw:`) when no '/' comes earlier,
/// so such names mean something else than a file to it; here they mean nothing.
pub(super) fn check(image: &str, role: &str, name: &str) -> Result<()> {
    let why = if name.is_empty() {
        "it is empty"
    } else if name.len() > 1023 {
        "it is longer than 1023 bytes"
    } else if name.chars().any(char::is_control) {
        "it contains control characters"
    } else if name.split('/').next().is_some_and(|first| first.contains(':')) {
        "it names a protocol, not a file"
    } else if name.split('/').any(|part| part == "..") {
        "it contains \"..\""
    } else {
        return Ok(());
    };
    let message =
        format!("{image} names \"{}\" as its {} file, which is refused: {why}", show(name), show(role));
    Err(Error::new(ErrorKind::Denied, message))
}

/// A text from an image for messages: escaped, and cut when it is long.
pub(super) fn show(text: &str) -> String {
    const LONGEST: usize = 160;
    let mut shown: String = text.chars().take(LONGEST).flat_map(char::escape_debug).collect();
    if text.chars().nth(LONGEST).is_some() {
        shown.push_str("...");
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn only_plain_file_names_pass() {
        for good in
            ["base.qcow2", "sub/base.img", "/srv/images/base", "a b", "./x:y", "./base", "..base", "ünï"]
        {
            check("a", "backing", good).unwrap();
        }
        for bad in [
            "",
            "json:{\"driver\":\"file\"}",
            "nbd://localhost/x",
            "nbd:unix:/run/x",
            "http://x/y",
            "file:/etc/passwd",
            "fat:rw:/tmp",
            "../x",
            "a/../../x",
            "/srv/../etc/passwd",
            "..",
            "a\nb",
            "a\u{1b}[2Jb",
            "a\0b",
            &"x".repeat(1024),
        ] {
            let error = check("a", "backing", bad).unwrap_err().to_string();
            assert!(!error.contains(['\n', '\u{1b}', '\0']), "{error:?}");
            assert!(error.len() < 400, "{error}");
        }
    }
}

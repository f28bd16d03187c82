//! Names of URLs in messages.

use sha2::{Digest as _, Sha256};
use url::Url;

/// The URL without user, password and fragment. Queries of signed URLs are as good as passwords, so of a query no more is
/// shown than a hash: enough to tell two of them apart.
pub(crate) fn of(url: &Url) -> String {
    let mut shown = url.clone();
    // Fails for URLs without a host alone, which hold no user either.
    let _ = shown.set_username("");
    let _ = shown.set_password(None);
    shown.set_fragment(None);
    shown.set_query(None);
    let Some(query) = url.query() else { return shown.to_string() };
    let hash = Sha256::digest(query.as_bytes());
    let short: String = hash[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{shown}?(query {short})")
}

/// Text of a server for a message: short, without control characters.
pub(crate) fn quoted(text: &str) -> String {
    const LONGEST: usize = 120;
    let short: String = text.chars().take(LONGEST).collect();
    format!("\"{}\"", short.escape_debug())
}

#[cfg(test)]
mod tests {
    use url::Url;

    #[test]
    fn shows_no_secrets() {
        let label =
            super::of(&Url::parse("https://joe:hunter2@h.example:81/a b?X-Signature=abc#part").unwrap());
        assert!(label.starts_with("https://h.example:81/a%20b?(query "), "{label}");
        let other = super::of(&Url::parse("https://h.example:81/a b?X-Signature=abd").unwrap());
        assert!(!label.contains("hunter2") && !label.contains("abc") && label != other);
        assert_eq!(super::of(&Url::parse("http://h/x").unwrap()), "http://h/x");
    }
}

//! Bounds on a document before it is parsed: its parser takes time and stack that grow faster than the text.

use crate::{Error, ErrorKind};

/// Nesting of elements; a descriptor has four levels.
const MAX_DEPTH: usize = 32;
/// Attributes of an element, namespaces among them.
const MAX_ATTRIBUTES: usize = 16;

/// Refuses document types (and with them entities), deep nesting and elements with many attributes.
pub(crate) fn check(text: &str) -> Result<(), Error> {
    let mut rest = text;
    let mut depth = 0usize;
    while let Some((_, tail)) = rest.split_once('<') {
        rest = if let Some(comment) = tail.strip_prefix("!--") {
            after(comment, "-->")
        } else if let Some(data) = tail.strip_prefix("![CDATA[") {
            after(data, "]]>")
        } else if tail.starts_with('!') {
            return Err(unsupported("the descriptor has a document type declaration, which is not read"));
        } else if let Some(instruction) = tail.strip_prefix('?') {
            after(instruction, "?>")
        } else {
            let (tag, rest) = split_tag(tail);
            if tag.starts_with('/') {
                depth = depth.saturating_sub(1);
            } else if !tag.ends_with('/') {
                depth += 1;
            }
            if depth > MAX_DEPTH {
                return Err(unsupported("the descriptor's elements are nested too deeply"));
            }
            if tag.bytes().filter(|byte| *byte == b'=').count() > MAX_ATTRIBUTES {
                return Err(unsupported("an element of the descriptor has too many attributes"));
            }
            rest
        };
    }
    Ok(())
}

fn after<'a>(text: &'a str, mark: &str) -> &'a str {
    text.split_once(mark).map_or("", |(_, rest)| rest)
}

/// A tag without its brackets, and what follows it. Values of attributes may have brackets in them.
fn split_tag(text: &str) -> (&str, &str) {
    let mut quote = None;
    for (index, byte) in text.bytes().enumerate() {
        match (quote, byte) {
            (None, b'"' | b'\'') => quote = Some(byte),
            (Some(open), _) if open == byte => quote = None,
            (None, b'>') => return (text.get(..index).unwrap_or(""), text.get(index + 1..).unwrap_or("")),
            _ => {}
        }
    }
    (text, "")
}

fn unsupported(message: &str) -> Error {
    Error::new(ErrorKind::Unsupported, message)
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn bounds() {
        check("<?xml version='1.0'?><!-- <!DOCTYPE> --><a b='>'><![CDATA[<!DOCTYPE]]><c/></a>").unwrap();
        let refused = |text: &str| check(text).unwrap_err().message;
        assert!(refused("<!DOCTYPE a [<!ENTITY b \"c\">]><a/>").contains("document type"));
        assert!(refused(&"<a>".repeat(33)).contains("nested"));
        check(&"<a>".repeat(32)).unwrap();
        check(&"<a></a>".repeat(1000)).unwrap();
        let many: String = (0..17).map(|index| format!(" a{index}=''")).collect();
        assert!(refused(&format!("<a{many}/>")).contains("attributes"));
        for cut in ["<", "<a", "<a b='", "<!--", "<![CDATA[", "<?", "a < b"] {
            check(cut).unwrap();
        }
    }
}

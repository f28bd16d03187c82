//! Bounds on a document before it is parsed: what makes an XML parser recurse, square or explode is refused here.

use crate::ConvertError;

/// Most bytes of a document; the contract's own bound.
const MAX_BYTES: usize = 4 << 20;
const MAX_DEPTH: usize = 64;
/// One bit each in the record of what was read.
const MAX_ATTRIBUTES: usize = 64;
const MAX_NAMESPACES: usize = 256;

/// Checks size, depth, attributes per element and namespace declarations. Only counts: whether the text is well formed is
/// for the parser to say.
///
/// # Errors
/// [`ConvertError::TooLarge`] with the bound that was passed.
pub(crate) fn check(xml: &str) -> Result<(), ConvertError> {
    if xml.len() > MAX_BYTES {
        return Err(ConvertError::TooLarge { what: "bytes", most: MAX_BYTES, offset: MAX_BYTES });
    }
    Scanner { bytes: xml.as_bytes(), at: 0, depth: 0, namespaces: 0 }.run()
}

struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
    depth: usize,
    namespaces: usize,
}

impl Scanner<'_> {
    fn run(mut self) -> Result<(), ConvertError> {
        while self.skip_until(b"<") {
            let rest = self.bytes.get(self.at..).unwrap_or_default();
            let go_on = if rest.starts_with(b"!--") {
                self.at += 3;
                self.skip_until(b"-->")
            } else if rest.starts_with(b"![CDATA[") {
                self.at += 8;
                self.skip_until(b"]]>")
            } else if rest.starts_with(b"?") {
                self.skip_until(b"?>")
            } else if rest.starts_with(b"/") {
                self.depth = self.depth.saturating_sub(1);
                true
            } else {
                self.tag()?
            };
            if !go_on {
                break;
            }
        }
        Ok(())
    }

    /// Moves past the next occurrence of `end`; false where there is none.
    fn skip_until(&mut self, end: &[u8]) -> bool {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let found = match end {
            [byte] => rest.iter().position(|b| b == byte),
            _ => rest.windows(end.len()).position(|window| window == end),
        };
        self.at += found.map_or(rest.len(), |at| at + end.len());
        found.is_some()
    }

    /// Reads a start tag after its `<`; false at the end of the text.
    fn tag(&mut self) -> Result<bool, ConvertError> {
        let start = self.at;
        let mut attributes = 0;
        let mut last = 0;
        while let Some(&byte) = self.bytes.get(self.at) {
            self.at += 1;
            match byte {
                b'"' | b'\'' => {
                    let closed = self.skip_until(&[byte]);
                    if !closed {
                        return Ok(false);
                    }
                }
                b'=' => {
                    attributes += 1;
                    self.bound("attributes on one element", attributes, MAX_ATTRIBUTES, start)?;
                }
                b'x' if self.bytes.get(self.at..).is_some_and(|rest| rest.starts_with(b"mlns")) => {
                    self.namespaces += 1;
                    self.bound("namespace declarations", self.namespaces, MAX_NAMESPACES, start)?;
                }
                b'>' => {
                    if last != b'/' {
                        self.depth += 1;
                        self.bound("levels of elements", self.depth, MAX_DEPTH, start)?;
                    }
                    return Ok(true);
                }
                _ => {}
            }
            last = byte;
        }
        Ok(false)
    }

    fn bound(
        &self,
        what: &'static str,
        count: usize,
        most: usize,
        offset: usize,
    ) -> Result<(), ConvertError> {
        if count > most {
            return Err(ConvertError::TooLarge { what, most, offset });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{MAX_BYTES, check};

    fn refusal(xml: &str) -> String {
        check(xml).map_or_else(|error| error.to_string(), |()| "accepted".to_owned())
    }

    #[test]
    fn accepts_what_is_ordinary() {
        for xml in [
            "",
            "<a b='>' c=\"<\"/>",
            "<a><!-- <x><x> --><![CDATA[<x><x>]]><?p <x> ?></a>",
            &"<a/>".repeat(1000),
            &"<a></a>".repeat(1000),
            "<a b='",
            "<!--",
            "<",
            "text",
        ] {
            assert_eq!(refusal(xml), "accepted", "{xml}");
        }
    }

    #[test]
    fn bounds_size_depth_attributes_and_namespaces() {
        assert!(refusal(&"x".repeat(MAX_BYTES + 1)).contains("bytes"));
        assert!(refusal(&"<a>".repeat(65)).contains("64 levels of elements"));
        assert_eq!(refusal(&"<a>".repeat(64)), "accepted");
        let wide = |count: usize| {
            let attributes: String = (0..count).map(|n| format!(" a{n}='='")).collect();
            format!("<a{attributes}/>")
        };
        assert_eq!(refusal(&wide(64)), "accepted");
        assert!(refusal(&wide(65)).contains("64 attributes"));
        assert!(refusal(&"<a xmlns:x='y'/>".repeat(257)).contains("256 namespace"));
    }
}

//! The tables in an XML property list: `dict` → key `resource-fork` → `dict` → key `blkx` → `array` → `dict` → key `Data`.
//!
//! Only as much XML as that takes: elements, attributes (skipped), comments, processing instructions and a document type
//! without a subset of its own. Entities are never expanded; where one would matter, its text is no key and no base 64.

use std::ops::Range;

use crate::{Error, ErrorKind};

/// The longest property list that is read, in bytes: tables of some 600,000 runs.
pub const MAX_LENGTH: u64 = 32 << 20;
/// The most tables; a disk has one for each partition and for each gap.
pub const MAX_TABLES: usize = 4_096;

const MAX_DEPTH: usize = 32;

/// An element that is open.
struct Open<'a> {
    name: &'a [u8],
    /// The key before, where this is a dictionary.
    key: &'a [u8],
}

/// Where the base 64 of each table lies in `xml`.
///
/// # Errors
/// `corrupt` for XML that is not well formed or has entities, `limit` for too many tables.
pub fn tables(xml: &[u8]) -> Result<Vec<Range<usize>>, Error> {
    let mut parser = Parser { xml, at: 0, open: Vec::new(), tables: Vec::new() };
    while parser.at < xml.len() {
        parser.step()?;
    }
    if parser.open.is_empty() { Ok(parser.tables) } else { Err(parser.bad("an element is not closed")) }
}

struct Parser<'a> {
    xml: &'a [u8],
    at: usize,
    open: Vec<Open<'a>>,
    tables: Vec<Range<usize>>,
}

impl<'a> Parser<'a> {
    fn bad(&self, what: &str) -> Error {
        Error::new(ErrorKind::Corrupt, format!("the property list: {what}")).with("at-byte", self.at)
    }

    /// Text up to the next mark, and the mark.
    fn step(&mut self) -> Result<(), Error> {
        let xml = self.xml;
        let text = self.at..self.end_of(self.at, b"<").unwrap_or(xml.len() + 1) - 1;
        self.at = text.end;
        let rest = &xml[text.end..];
        if rest.is_empty() {
            return Ok(());
        }
        if rest.starts_with(b"<!--") {
            return self.skip(b"-->", "a comment does not end");
        }
        if rest.starts_with(b"<?") {
            return self.skip(b"?>", "an instruction does not end");
        }
        if rest.starts_with(b"<!DOCTYPE") {
            let start = self.at;
            self.skip(b">", "the document type does not end")?;
            let subset = xml[start..self.at].contains(&b'[');
            return if subset {
                Err(self.bad("it declares entities or elements of its own"))
            } else {
                Ok(())
            };
        }
        let start = self.at + 1;
        self.skip(b">", "a mark does not end")?;
        let mark = &xml[start..self.at - 1];
        match mark {
            [b'/', name @ ..] => self.close(name.trim_ascii_end(), text),
            [inner @ .., b'/'] => self.empty(inner),
            [b'!', ..] => Err(self.bad("a declaration or a section that no property list has")),
            _ => self.start(element(mark)),
        }
    }

    /// The offset after the next `pattern` from `from` on.
    fn end_of(&self, from: usize, pattern: &[u8]) -> Option<usize> {
        let found = match pattern {
            [byte] => self.xml.get(from..)?.iter().position(|at| at == byte),
            _ => self.xml.get(from..)?.windows(pattern.len()).position(|at| at == pattern),
        };
        Some(from + found? + pattern.len())
    }

    fn skip(&mut self, pattern: &[u8], otherwise: &str) -> Result<(), Error> {
        self.at = self.end_of(self.at, pattern).ok_or_else(|| self.bad(otherwise))?;
        Ok(())
    }

    fn start(&mut self, name: &'a [u8]) -> Result<(), Error> {
        if self.open.len() == MAX_DEPTH {
            return Err(self.bad("elements are nested too deep"));
        }
        self.open.push(Open { name, key: b"" });
        Ok(())
    }

    fn empty(&mut self, mark: &'a [u8]) -> Result<(), Error> {
        let name = element(mark);
        self.start(name)?;
        self.close(name, self.at..self.at)
    }

    /// `text` is what stands before the closing mark.
    fn close(&mut self, name: &[u8], text: Range<usize>) -> Result<(), Error> {
        let Some(closed) = self.open.pop().filter(|open| open.name == name) else {
            return Err(self.bad("an element is closed that was not opened"));
        };
        if closed.name == b"data" && self.in_table() {
            if self.tables.len() == MAX_TABLES {
                let message = format!("the property list has more than {MAX_TABLES} tables");
                return Err(Error::new(ErrorKind::Limit, message));
            }
            self.tables.push(text.clone());
        }
        let xml = self.xml;
        if let Some(outer) = self.open.last_mut() {
            outer.key = if closed.name == b"key" { &xml[text] } else { b"" };
        }
        Ok(())
    }

    /// Whether the innermost open elements are the path to a table.
    fn in_table(&self) -> bool {
        let path: [(&[u8], &[u8]); 5] = [
            (b"plist", b""),
            (b"dict", b"resource-fork"),
            (b"dict", b"blkx"),
            (b"array", b""),
            (b"dict", b"Data"),
        ];
        self.open.len() == path.len()
            && self.open.iter().zip(path).all(|(open, (name, key))| open.name == name && open.key == key)
    }
}

/// The name of an element, without its attributes.
fn element(mark: &[u8]) -> &[u8] {
    mark.split(u8::is_ascii_whitespace).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::tables;

    fn texts(xml: &str) -> Result<Vec<String>, String> {
        let found = tables(xml.as_bytes()).map_err(|error| error.message)?;
        Ok(found.into_iter().map(|range| xml[range].trim().to_owned()).collect())
    }

    fn list(inner: &str) -> String {
        format!(
            "<?xml version=\"1.0\"?>\n<!DOCTYPE plist PUBLIC \"-//Apple//DTD PLIST 1.0//EN\" \"http://x/y.dtd\">\n\
             <plist version=\"1.0\"><dict><key>other</key><dict/><key>resource-fork</key>\n<dict>{inner}</dict></dict>\
             </plist>\n"
        )
    }

    #[test]
    fn finds_the_data_of_blkx_only() {
        let xml = list(
            "<key>blkx</key><array><!-- <dict> --><dict><key>Data</key> <data>\n AAAA \n</data><key>ID</key>\
             <string>&lt;</string><key>Name</key><data>no</data></dict><dict><key>Data</key><data>BB==</data></dict>\
             <data>no</data></array><key>plst</key><array><dict><key>Data</key><data>no</data></dict></array>",
        );
        assert_eq!(texts(&xml).unwrap(), ["AAAA", "BB=="]);
        assert_eq!(texts(&list("")).unwrap(), [""; 0]);
        assert_eq!(texts("").unwrap(), [""; 0]);
        assert_eq!(
            texts(&list("<key>blkx</key><array><dict><key>Data</key><data/></dict></array>")).unwrap(),
            [""]
        );
    }

    #[test]
    fn refuses_what_is_no_property_list() {
        let bomb = "<!DOCTYPE plist [<!ENTITY a \"aa\"><!ENTITY b \"&a;&a;\">]><plist>&b;</plist>";
        for (xml, part) in [
            (bomb, "entities"),
            ("<plist><dict></plist>", "not opened"),
            ("<plist>", "not closed"),
            ("</plist>", "not opened"),
            ("<plist", "does not end"),
            ("<!-- ", "comment"),
            ("<?xml ", "instruction"),
            ("<plist><![CDATA[x]]></plist>", "section"),
            (&"<a>".repeat(40), "nested"),
        ] {
            let message = texts(xml).unwrap_err();
            assert!(message.contains(part), "{xml}: {message}");
        }
        let many = "<dict><key>Data</key><data/></dict>".repeat(5000);
        let message = texts(&list(&format!("<key>blkx</key><array>{many}</array>"))).unwrap_err();
        assert!(message.contains("more than 4096 tables"), "{message}");
    }
}

//! YAML, event by event: the parser keeps its state on the heap, and the tree is built without recursion, so that depth and
//! size are bounded here. Aliases are copied within the same bounds.

use std::cell::Cell;
use std::collections::{BTreeMap, HashSet};

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Tag};

use super::{Id, Kind, MAX_DEPTH, MAX_NODES, ParseError, Tree, scalar};

/// A map or list that is not complete.
struct Open {
    id: Id,
    anchor: usize,
    /// Of a map: a key whose value is awaited.
    key: Option<Box<str>>,
    /// Of a map: the values of merge keys (`<<`).
    merges: Vec<Id>,
    /// Of a map: names so far.
    names: HashSet<Box<str>>,
}

struct Builder<'t> {
    tree: &'t mut Tree,
    open: Vec<Open>,
    anchors: BTreeMap<usize, Id>,
    line: u32,
}

/// Most flow indicators between two events. A collection in flow style may turn out to be a key, and the scanner keeps all tokens
/// until it knows.
const MAX_INDICATORS: usize = 1 << 17;

/// The text, which ends early when the scanner has to keep too much of it.
struct Watched<'a> {
    chars: std::str::Chars<'a>,
    indicators: &'a Cell<usize>,
}

impl Iterator for Watched<'_> {
    type Item = char;

    fn next(&mut self) -> Option<char> {
        let next = self.chars.next()?;
        if matches!(next, ',' | ':' | '{' | '}' | '[' | ']') {
            self.indicators.set(self.indicators.get() + 1);
        }
        (self.indicators.get() <= MAX_INDICATORS).then_some(next)
    }
}

pub(super) fn parse(text: &str, tree: &mut Tree) -> Result<(), ParseError> {
    let indicators = Cell::new(0);
    let mut parser = Parser::new_from_iter(Watched { chars: text.chars(), indicators: &indicators });
    let mut builder = Builder { tree, open: Vec::new(), anchors: BTreeMap::new(), line: 1 };
    while let Some(event) = parser.next_event() {
        if indicators.replace(0) > MAX_INDICATORS {
            let line = builder.line;
            return Err(ParseError::TooLarge { what: "values in flow style", most: MAX_INDICATORS, line });
        }
        let (event, span) = event.map_err(|error| syntax(&error))?;
        builder.line = u32::try_from(span.start.line()).unwrap_or(u32::MAX);
        builder.take(event)?;
    }
    Ok(())
}

fn syntax(error: &ScanError) -> ParseError {
    let line = u32::try_from(error.marker().line()).unwrap_or(u32::MAX);
    let info = error.info();
    ParseError::Syntax { reason: info[..info.floor_char_boundary(200)].to_owned(), line }
}

impl Builder<'_> {
    fn take(&mut self, event: Event<'_>) -> Result<(), ParseError> {
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
            Event::DocumentStart(_) => {
                self.anchors.clear();
                Ok(())
            }
            Event::Alias(anchor) => {
                let Some(source) = self.anchors.get(&anchor).copied() else {
                    return self.refuse("an alias stands inside of what it repeats".to_owned());
                };
                let copy = self.tree.copy(source, 0).ok_or_else(|| self.full())?;
                self.check_depth(copy)?;
                self.place(copy)
            }
            Event::Scalar(text, style, anchor, tag) => {
                let kind = self.scalar(&text, style, tag.as_deref())?;
                let id = self.add(kind)?;
                self.anchor(anchor, id);
                self.place(id)
            }
            Event::SequenceStart(anchor, tag) => {
                self.start(Kind::List(Vec::new()), anchor, tag.as_deref(), "seq")
            }
            Event::MappingStart(anchor, tag) => {
                self.start(Kind::Map(Vec::new()), anchor, tag.as_deref(), "map")
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(),
        }
    }

    fn scalar(&self, text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Result<Kind, ParseError> {
        match tag {
            None if style == ScalarStyle::Plain => Ok(scalar::resolve(text)),
            None => Ok(Kind::Text(text.into())),
            Some(tag) if tag.is_yaml_core_schema() && tag.suffix == "str" => Ok(Kind::Text(text.into())),
            Some(tag)
                if tag.is_yaml_core_schema() && matches!(&*tag.suffix, "int" | "bool" | "null" | "float") =>
            {
                Ok(scalar::resolve(text))
            }
            Some(tag) => self.refuse_tag(tag),
        }
    }

    fn refuse_tag<T>(&self, tag: &Tag) -> Result<T, ParseError> {
        let suffix: String = tag.suffix.chars().take(64).collect();
        self.refuse(format!("the tag \"{}\" means nothing in a manifest", suffix.escape_debug()))
    }

    fn start(&mut self, kind: Kind, anchor: usize, tag: Option<&Tag>, usual: &str) -> Result<(), ParseError> {
        if let Some(tag) = tag.filter(|tag| !(tag.is_yaml_core_schema() && tag.suffix == usual)) {
            return self.refuse_tag(tag);
        }
        if self.open.len() >= MAX_DEPTH {
            return Err(self.too_deep());
        }
        let id = self.add(kind)?;
        self.open.push(Open { id, anchor, key: None, merges: Vec::new(), names: HashSet::new() });
        Ok(())
    }

    fn end(&mut self) -> Result<(), ParseError> {
        let Some(open) = self.open.pop() else { return self.refuse("an end without a start".to_owned()) };
        let Open { id, anchor, merges, mut names, .. } = open;
        for source in merges {
            self.merge(id, source, &mut names)?;
        }
        self.anchor(anchor, id);
        self.place(id)
    }

    /// A merge key's map, or list of maps: what is not there yet.
    fn merge(&mut self, into: Id, source: Id, names: &mut HashSet<Box<str>>) -> Result<(), ParseError> {
        let sources = match self.tree.kind(source) {
            Kind::Map(_) => vec![source],
            Kind::List(items) => items.clone(),
            _ => return self.refuse("a merge key (<<) needs a map".to_owned()),
        };
        for source in sources {
            let Kind::Map(entries) = self.tree.kind(source).clone() else {
                return self.refuse("a merge key (<<) needs a map".to_owned());
            };
            for (name, value) in entries {
                if names.insert(name.clone()) {
                    let copy = self.tree.copy(value, 0).ok_or_else(|| self.full())?;
                    self.tree.add_entry(into, &name, copy);
                }
            }
        }
        Ok(())
    }

    /// Puts a complete value where it belongs.
    fn place(&mut self, id: Id) -> Result<(), ParseError> {
        let Some(open) = self.open.last_mut() else {
            self.tree.documents.push(id);
            return Ok(());
        };
        if let Kind::List(_) = self.tree.kind(open.id) {
            self.tree.append(open.id, id);
            return Ok(());
        }
        let Some(name) = open.key.take() else {
            let name = key(self.tree.kind(id));
            let Some(name) = name else { return self.refuse("a key is not a string".to_owned()) };
            if name.as_ref() != "<<" && !open.names.insert(name.clone()) {
                let shown: String = name.chars().take(64).collect();
                return self.refuse(format!("the key \"{}\" is there twice", shown.escape_debug()));
            }
            open.key = Some(name);
            return Ok(());
        };
        if name.as_ref() == "<<" {
            open.merges.push(id);
        } else {
            self.tree.add_entry(open.id, &name, id);
        }
        Ok(())
    }

    fn add(&mut self, kind: Kind) -> Result<Id, ParseError> {
        self.tree.push(kind, self.line, 0).ok_or_else(|| self.full())
    }

    fn anchor(&mut self, anchor: usize, id: Id) {
        if anchor > 0 {
            self.anchors.insert(anchor, id);
        }
    }

    fn check_depth(&self, id: Id) -> Result<(), ParseError> {
        if self.open.len() + self.tree.depth(id) > MAX_DEPTH { Err(self.too_deep()) } else { Ok(()) }
    }

    fn full(&self) -> ParseError {
        ParseError::TooLarge { what: "values", most: MAX_NODES, line: self.line }
    }

    fn too_deep(&self) -> ParseError {
        ParseError::TooLarge { what: "levels", most: MAX_DEPTH, line: self.line }
    }

    fn refuse<T>(&self, reason: String) -> Result<T, ParseError> {
        Err(ParseError::Syntax { reason, line: self.line })
    }
}

/// The text of a key; unquoted booleans and numbers are keys as they stand in JSON.
fn key(kind: &Kind) -> Option<Box<str>> {
    match kind {
        Kind::Text(text) => Some(text.clone()),
        Kind::Bool(value) => Some(value.to_string().into()),
        Kind::Number(number) => Some(number.to_string().into()),
        Kind::Null | Kind::List(_) | Kind::Map(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use crate::tree::{ParseError, Tree};

    fn json(text: &str) -> String {
        let tree = Tree::parse(text).unwrap();
        let documents: Vec<_> = tree.documents().iter().map(|id| tree.to_json(*id).to_string()).collect();
        documents.join(" ")
    }

    #[test]
    fn reads_documents_aliases_and_merges() {
        assert_eq!(json("a: 1\n---\nb: [x, 'y', \"z\"]\n"), r#"{"a":1} {"b":["x","y","z"]}"#);
        assert_eq!(json("a: &x {b: 1}\nc: *x\n"), r#"{"a":{"b":1},"c":{"b":1}}"#);
        assert_eq!(
            json("base: &x {b: 1, c: 2}\nd:\n  <<: *x\n  c: 3\n"),
            r#"{"base":{"b":1,"c":2},"d":{"c":3,"b":1}}"#
        );
        assert_eq!(json("a: !!str 5\nb: |\n  two\n  lines\n"), "{\"a\":\"5\",\"b\":\"two\\nlines\\n\"}");
        assert_eq!(json("{\"a\": \"\\ud83d\\ude00\"}"), "{\"a\":\"😀\"}");
        assert_eq!(json("{a: b}\n---\n{c: d}\n"), r#"{"a":"b"} {"c":"d"}"#);
        assert_eq!(json("---\n# nothing\n---\na: b\n"), r#"null {"a":"b"}"#);
    }

    #[test]
    fn refuses_what_would_pass_in_silence() {
        for (text, part) in [
            ("a: 1\na: 2\n", "\"a\" is there twice, at line 2"),
            ("a: !custom 1\n", "\"custom\""),
            ("a: &x [*x]\n", "inside of what it repeats"),
            ("? [a]\n: b\n", "not a string"),
            ("a: [\n", "at line"),
            ("a: b\n c: d\n", "at line"),
        ] {
            let error = Tree::parse(text).err().unwrap().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn bounds_hold() {
        let mut laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..12 {
            let alias = format!("*a{}", level - 1);
            laughs.push_str(&format!("a{level}: &a{level} [{}]\n", [alias.as_str(); 10].join(", ")));
        }
        let merges = "a: &a {k: v}\nb: &b\n".to_owned() + &"  - *a\n".repeat(40_000) + "c: *b\n";
        for text in [laughs, merges, "[".repeat(100_000), "- ".repeat(1000), "a: b\n---\n".repeat(70_000)] {
            let error = Tree::parse(&text).err().unwrap();
            assert!(matches!(error, ParseError::TooLarge { .. } | ParseError::Syntax { .. }), "{error}");
        }
        for item in ["a: b, ", "a: b,\n"] {
            let flow = "{".to_owned() + &item.repeat(100_000) + "}";
            let error = Tree::parse(&flow).err().unwrap();
            assert!(matches!(error, ParseError::TooLarge { what: "values in flow style", .. }), "{error}");
        }
        let error = Tree::parse(&" ".repeat(5 << 20)).err().unwrap();
        assert!(matches!(error, ParseError::TooLarge { what: "bytes", .. }), "{error}");
    }
}

//! From a text to a tree. The tokenizer and the checks of well-formedness are one pass; XML 1.0 with namespaces, without
//! document type declarations.

use super::character::{
    CLASS, NAME, PLAIN_NAME, SPACE, TEXT_STOP, VALUE_STOP, continues_name, is_allowed, reference, starts_name,
};
use super::error::{
    Fault, MAX_ATTRIBUTES, MAX_BYTES, MAX_DEPTH, MAX_NAME, MAX_NAMESPACES, MAX_NODES, ParseError, clipped,
};
use super::tree::{
    DOCUMENT, Document, Kind, NONE, Pair, QName, Span, Tag, XML_NAMESPACE, XML_NAMESPACE_INDEX, XML_PREFIX,
    XMLNS_NAMESPACE,
};

/// What is wrong, and at which byte.
type Failure = (Fault, usize);

impl Document {
    /// Reads a document.
    ///
    /// # Errors
    /// [`ParseError`] when it is not well-formed, has a document type declaration, or passes a bound.
    pub fn parse(source: &str) -> Result<Self, ParseError> {
        if source.len() > MAX_BYTES {
            let fault = Fault::TooMany { what: "bytes", most: MAX_BYTES };
            return Err(ParseError { fault, line: 1, column: 1 });
        }
        let parser = Parser {
            source,
            bytes: source.as_bytes(),
            at: 0,
            document: Self::empty(source),
            open: Vec::with_capacity(16),
            scope: Vec::new(),
        };
        parser.run().map_err(|(fault, at)| locate(source, fault, at))
    }
}

#[cold]
fn locate(source: &str, fault: Fault, at: usize) -> ParseError {
    let before = &source[..source.floor_char_boundary(at)];
    let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
    let start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let column = before[start..].chars().count() + 1;
    ParseError { fault, line: line as u32, column: column as u32 }
}

struct Parser<'s> {
    source: &'s str,
    bytes: &'s [u8],
    at: usize,
    document: Document,
    /// Elements that are open, and how many declarations were in scope before each.
    open: Vec<(u32, usize)>,
    /// Prefix and index of the namespace.
    scope: Vec<(Span, u16)>,
}

impl<'s> Parser<'s> {
    fn run(mut self) -> Result<Document, Failure> {
        let start = if self.source.starts_with('\u{feff}') { 3 } else { 0 };
        self.at = start;
        if self.rest().starts_with(b"<?xml") && self.peek_at(5).is_some_and(is_space) {
            self.declaration()?;
            self.push(Kind::Other, start)?;
        }
        loop {
            match self.open.last() {
                Some(_) => self.text()?,
                None => {
                    if self.blank()? {
                        break;
                    }
                }
            }
            self.markup()?;
        }
        if self.document.root == NONE {
            return Err((Fault::Expected("a root element"), self.at));
        }
        Ok(self.document)
    }

    /// Whatever stands between elements on the document's own level; true at the end.
    fn blank(&mut self) -> Result<bool, Failure> {
        let start = self.at;
        self.skip_space();
        if self.at > start {
            self.push(Kind::Text, start)?;
        }
        match self.peek() {
            None => Ok(true),
            Some(b'<') => Ok(false),
            Some(_) if self.document.root == NONE => Err((Fault::Expected("a root element"), self.at)),
            Some(_) => Err((Fault::Expected("nothing after the root element"), self.at)),
        }
    }

    /// A text up to the next `<`.
    fn text(&mut self) -> Result<(), Failure> {
        let start = self.at;
        let mut plain = true;
        loop {
            let rest = self.rest();
            let Some(stop) = rest.iter().position(|byte| CLASS[usize::from(*byte)] & TEXT_STOP != 0) else {
                self.at = self.bytes.len();
                return Err((Fault::EndsIn("an element: its end tag is missing"), start));
            };
            self.at += stop;
            match rest[stop] {
                b'<' => break,
                b'&' | b'\r' => plain = false,
                b']' if rest[stop..].starts_with(b"]]>") => return Err((Fault::SectionEnd, self.at)),
                b']' => {}
                _ => self.check_character()?,
            }
            self.at += 1;
        }
        if self.at == start {
            return Ok(());
        }
        let node = self.push(Kind::Text, start)?;
        if !plain {
            let decoded = self.decode(Span::new(start, self.at), false)?;
            self.document.nodes[node as usize].data = self.document.decoded.len() as u32;
            self.document.decoded.push(decoded);
        }
        Ok(())
    }

    fn markup(&mut self) -> Result<(), Failure> {
        let start = self.at;
        match self.peek_at(1) {
            Some(b'/') => self.end_tag(),
            Some(b'?') => {
                self.instruction()?;
                self.push(Kind::Other, start).map(drop)
            }
            Some(b'!') => self.declaration_like(start),
            Some(_) => self.start_tag(),
            None => Err((Fault::EndsIn("a tag"), start)),
        }
    }

    fn declaration_like(&mut self, start: usize) -> Result<(), Failure> {
        let rest = self.rest();
        if rest.starts_with(b"<!--") {
            self.at += 4;
            self.checked_until(b"--", "a comment")?;
            if self.peek() != Some(b'>') {
                return Err((Fault::CommentDashes, self.at - 2));
            }
            self.at += 1;
            return self.push(Kind::Other, start).map(drop);
        }
        if rest.starts_with(b"<![CDATA[") && !self.open.is_empty() {
            self.at += 9;
            let inside = self.at;
            self.checked_until(b"]]>", "a CDATA section")?;
            let span = Span::new(inside, self.at - 3);
            let node = self.push(Kind::Section, start)?;
            let decoded = match span.of(self.source).contains('\r') {
                true => self.normalized(span),
                false => span,
            };
            self.document.nodes[node as usize].data = self.document.decoded.len() as u32;
            self.document.decoded.push(decoded);
            return Ok(());
        }
        if rest.starts_with(b"<!DOCTYPE") {
            return Err((Fault::Doctype, start));
        }
        Err((Fault::Expected("an element, a comment or a processing instruction"), start))
    }

    /// Moves behind the next `end`; nothing that XML cannot have may stand before it.
    fn checked_until(&mut self, end: &[u8], inside: &'static str) -> Result<(), Failure> {
        let start = self.at;
        while let Some(byte) = self.peek() {
            if byte == end[0] && self.rest().starts_with(end) {
                self.at += end.len();
                return Ok(());
            }
            if (byte < 0x20 && !is_space(byte)) || byte == 0xef {
                self.check_character()?;
            }
            self.at += 1;
        }
        Err((Fault::EndsIn(inside), start))
    }

    /// A processing instruction.
    fn instruction(&mut self) -> Result<(), Failure> {
        let start = self.at;
        self.at += 2;
        let name = self.name()?;
        let target = name.of(self.source);
        if name.prefix != 0 {
            return Err((Fault::Name(clipped(target)), start + 2));
        }
        if target.eq_ignore_ascii_case(XML_PREFIX) {
            return Err((Fault::XmlDeclaration, start));
        }
        if !self.peek().is_some_and(is_space) && !self.rest().starts_with(b"?>") {
            return Err((Fault::Expected("?>"), self.at));
        }
        self.checked_until(b"?>", "a processing instruction")
    }

    /// `<?xml version="1.0" encoding="..." standalone="..."?>`. The encoding is history: the text has been decoded.
    fn declaration(&mut self) -> Result<(), Failure> {
        let start = self.at;
        self.at += 5;
        let body = self.at;
        self.checked_until(b"?>", "the XML declaration")?;
        let mut rest = &self.source[body..self.at - 2];
        let mut known = ["version", "encoding", "standalone"].iter();
        let mut first = true;
        while !rest.trim_start().is_empty() {
            let (name, value, after) = pseudo_attribute(rest).ok_or((Fault::XmlDeclaration, start))?;
            let ordered = known.any(|known| *known == name);
            let sound = match name {
                "version" => value.strip_prefix("1.").is_some_and(|minor| {
                    !minor.is_empty() && minor.bytes().all(|byte| byte.is_ascii_digit())
                }),
                "standalone" => matches!(value, "yes" | "no"),
                _ => value.starts_with(|c: char| c.is_ascii_alphabetic()),
            };
            if !ordered || !sound || (first && name != "version") {
                return Err((Fault::XmlDeclaration, start));
            }
            (first, rest) = (false, after);
        }
        if first { Err((Fault::XmlDeclaration, start)) } else { Ok(()) }
    }

    fn end_tag(&mut self) -> Result<(), Failure> {
        let start = self.at;
        self.at += 2;
        let Some((tag, scope)) = self.open.last().copied() else {
            return Err((Fault::Expected("an element"), start));
        };
        let open = self.document.tags[tag as usize].name.of(self.source);
        let ends = self.rest().get(open.len()).is_none_or(|byte| CLASS[usize::from(*byte)] & NAME == 0);
        if !ends || !self.rest().starts_with(open.as_bytes()) {
            return Err(self.mismatch(tag, start));
        }
        self.at += open.len();
        self.skip_space();
        if self.peek() != Some(b'>') {
            return Err((Fault::Expected("the '>' of the end tag"), self.at));
        }
        self.at += 1;
        let record = &mut self.document.tags[tag as usize];
        record.close = start as u32;
        self.document.nodes[record.node as usize].span.end = self.at as u32;
        self.open.pop();
        self.scope.truncate(scope);
        Ok(())
    }

    #[cold]
    fn mismatch(&mut self, tag: u32, start: usize) -> Failure {
        let found = match self.name() {
            Ok(name) => clipped(name.of(self.source)),
            Err(failure) => return failure,
        };
        let record = self.document.tags[tag as usize];
        let begin = self.document.node(record.node).span.start as usize;
        let line = self.source[..begin].bytes().filter(|byte| *byte == b'\n').count() + 1;
        let open = clipped(record.name.of(self.source));
        (Fault::EndTag { open, line: line as u32, found }, start)
    }

    fn start_tag(&mut self) -> Result<(), Failure> {
        let start = self.at;
        if self.open.is_empty() && self.document.root != NONE {
            return Err((Fault::Expected("nothing after the root element"), start));
        }
        if self.open.len() >= MAX_DEPTH {
            return Err((Fault::TooMany { what: "levels of elements", most: MAX_DEPTH }, start));
        }
        self.at += 1;
        let name = self.name()?;
        let tag = self.document.tags.len() as u32;
        let node = self.push(Kind::Element, start)?;
        self.document.nodes[node as usize].data = tag;
        let pairs = self.document.pairs.len();
        self.document.tags.push(Tag::new(node, name, pairs as u32));
        if self.document.root == NONE {
            self.document.root = tag;
        }
        let scope = self.scope.len();
        let tail = loop {
            let blank = self.at;
            self.skip_space();
            match self.peek() {
                Some(b'>' | b'/') => break blank,
                Some(_) if self.at > blank => self.attribute(blank, pairs)?,
                Some(_) => return Err((Fault::Expected("a blank, '>' or '/>'"), self.at)),
                None => return Err((Fault::EndsIn("a tag"), start)),
            }
        };
        let empty = self.peek() == Some(b'/');
        self.at += usize::from(empty);
        if self.peek() != Some(b'>') {
            return Err((Fault::Expected("the '>' of the tag"), self.at));
        }
        self.at += 1;
        self.resolve(tag, pairs)?;
        let count = self.document.pairs.len() - pairs;
        let record = &mut self.document.tags[tag as usize];
        record.tail = Span::new(tail, self.at);
        record.empty = empty;
        record.close = self.at as u32;
        record.attribute_count = count as u16;
        if empty {
            self.document.nodes[node as usize].span.end = self.at as u32;
            self.scope.truncate(scope);
        } else {
            self.open.push((tag, scope));
        }
        Ok(())
    }

    /// An attribute after the blank that begins at `blank`; the element's own begin at `pairs`.
    fn attribute(&mut self, blank: usize, pairs: usize) -> Result<(), Failure> {
        let start = self.at;
        let name = self.name()?;
        self.skip_space();
        if self.peek() != Some(b'=') {
            return Err((Fault::Expected("the '=' of an attribute"), self.at));
        }
        self.at += 1;
        self.skip_space();
        let Some(quote @ (b'"' | b'\'')) = self.peek() else {
            return Err((Fault::Expected("a value in quotes"), self.at));
        };
        self.at += 1;
        let head = Span::new(blank, self.at);
        let (raw, plain) = self.value(quote)?;
        let text = name.of(self.source);
        let earlier = &self.document.pairs[pairs..];
        if earlier.iter().any(|pair| pair.name.len == name.len && pair.name.of(self.source) == text) {
            return Err((Fault::Repeated(clipped(text)), start));
        }
        if earlier.len() >= MAX_ATTRIBUTES {
            return Err((Fault::TooMany { what: "attributes on one element", most: MAX_ATTRIBUTES }, start));
        }
        let value = if plain { raw } else { self.decode(raw, true)? };
        let declaration = text == "xmlns" || (name.prefix == 5 && text.starts_with("xmlns:"));
        let namespace = if declaration { self.declare(name, value, start)? } else { 0 };
        self.document.pairs.push(Pair { name, head, raw, value, namespace, declaration });
        Ok(())
    }

    /// The value up to its closing quote, and whether it stands for itself.
    fn value(&mut self, quote: u8) -> Result<(Span, bool), Failure> {
        let start = self.at;
        let mut plain = true;
        loop {
            let rest = self.rest();
            let Some(stop) = rest.iter().position(|byte| CLASS[usize::from(*byte)] & VALUE_STOP != 0) else {
                return Err((Fault::EndsIn("an attribute's value"), start));
            };
            self.at += stop;
            match rest[stop] {
                byte if byte == quote => break,
                b'"' | b'\'' => {}
                b'<' => return Err((Fault::Character('<'), self.at)),
                b'&' | b'\t' | b'\n' | b'\r' => plain = false,
                _ => self.check_character()?,
            }
            self.at += 1;
        }
        self.at += 1;
        Ok((Span::new(start, self.at - 1), plain))
    }

    fn declare(&mut self, name: QName, value: Span, at: usize) -> Result<u16, Failure> {
        if self.document.namespaces.len() >= MAX_NAMESPACES {
            let fault = Fault::TooMany { what: "namespace declarations", most: MAX_NAMESPACES };
            return Err((fault, at));
        }
        let local = if name.prefix == 0 { "" } else { name.local_of(self.source) };
        let uri = self.document.read(value);
        let reserved = uri == XMLNS_NAMESPACE || (uri == XML_NAMESPACE) != (local == XML_PREFIX);
        if reserved || local == "xmlns" || (uri.is_empty() && !local.is_empty()) {
            return Err((Fault::Declaration(clipped(name.of(self.source))), at));
        }
        let end = (name.start + u32::from(name.len)) as usize;
        let prefix = Span::new(end - local.len(), end);
        let index = if uri.is_empty() {
            0
        } else {
            self.document.namespaces.push(value);
            self.document.namespaces.len() as u16
        };
        self.scope.push((prefix, index));
        Ok(index)
    }

    /// Finds the namespaces of an element and of its attributes.
    fn resolve(&mut self, tag: u32, pairs: usize) -> Result<(), Failure> {
        let name = self.document.tags[tag as usize].name;
        if name.prefix != 0 || !self.scope.is_empty() {
            self.document.tags[tag as usize].namespace = self.lookup(name)?;
        }
        let mut prefixed = false;
        for at in pairs..self.document.pairs.len() {
            let pair = self.document.pairs[at];
            if pair.name.prefix != 0 && !pair.declaration {
                self.document.pairs[at].namespace = self.lookup(pair.name)?;
                prefixed = true;
            }
        }
        if prefixed { self.check_expanded(pairs) } else { Ok(()) }
    }

    fn lookup(&self, name: QName) -> Result<u16, Failure> {
        let prefix = name.prefix_of(self.source);
        let found = self.scope.iter().rev().find(|(declared, _)| declared.of(self.source) == prefix);
        match found {
            Some((_, index)) => Ok(*index),
            None if prefix.is_empty() => Ok(0),
            None if prefix == XML_PREFIX => Ok(XML_NAMESPACE_INDEX),
            None => Err((Fault::Prefix(clipped(prefix)), name.start as usize)),
        }
    }

    /// Two prefixes may stand for one namespace.
    fn check_expanded(&self, pairs: usize) -> Result<(), Failure> {
        let pairs = &self.document.pairs[pairs..];
        let prefixed = |pair: &Pair| pair.namespace != 0 && !pair.declaration;
        for (at, pair) in pairs.iter().enumerate().filter(|(_, pair)| prefixed(pair)) {
            let same = |other: &&Pair| {
                prefixed(other)
                    && other.name.local_of(self.source) == pair.name.local_of(self.source)
                    && self.document.namespace_at(other.namespace)
                        == self.document.namespace_at(pair.namespace)
            };
            if let Some(again) = pairs[at + 1..].iter().find(same) {
                let name = clipped(again.name.of(self.source));
                return Err((Fault::Repeated(name), again.name.start as usize));
            }
        }
        Ok(())
    }

    /// A name, with at most one prefix.
    fn name(&mut self) -> Result<QName, Failure> {
        let start = self.at;
        let rest = self.rest();
        let not = |class: u8| move |byte: &u8| CLASS[usize::from(*byte)] & class == 0;
        let mut len = rest.iter().position(not(PLAIN_NAME)).unwrap_or(rest.len());
        let starts = rest.first().is_some_and(|byte| byte.is_ascii_alphabetic() || *byte == b'_');
        let more = rest.get(len).is_some_and(|byte| CLASS[usize::from(*byte)] & NAME != 0);
        let simple = starts && !more;
        if more {
            len += rest[len..].iter().position(not(NAME)).unwrap_or(rest.len() - len);
        }
        if len > MAX_NAME {
            return Err((Fault::TooMany { what: "bytes in a name", most: MAX_NAME }, start));
        }
        self.at += len;
        let prefix = if simple { 0 } else { self.prefix(start)? };
        Ok(QName { start: start as u32, len: len as u16, prefix })
    }

    /// Checks a name that is not of the simple kind, and finds its colon.
    #[inline(never)]
    fn prefix(&self, start: usize) -> Result<u16, Failure> {
        let text = &self.source[start..self.at];
        if text.is_empty() {
            return Err((Fault::Expected("a name"), start));
        }
        let mut parts = text.splitn(2, ':');
        let sound = parts.by_ref().all(|part| {
            let mut chars = part.chars();
            chars.next().is_some_and(starts_name) && chars.all(continues_name)
        });
        if !sound {
            return Err((Fault::Name(clipped(text)), start));
        }
        Ok(text.find(':').unwrap_or(0) as u16)
    }

    /// Reads references and line ends; in values every blank is a space.
    #[inline(never)]
    fn decode(&mut self, raw: Span, value: bool) -> Result<Span, Failure> {
        let start = self.document.aside.len();
        let text = raw.of(self.source);
        let mut at = 0;
        while let Some(stop) = text[at..].find(['&', '\t', '\n', '\r']) {
            self.document.aside.push_str(&text[at..at + stop]);
            at += stop;
            let (character, len) = match text.as_bytes()[at] {
                b'&' => self.reference(&text[at..], raw.start as usize + at)?,
                b'\r' => (if value { ' ' } else { '\n' }, 1 + usize::from(text[at..].starts_with("\r\n"))),
                _ if value => (' ', 1),
                byte => (char::from(byte), 1),
            };
            self.document.aside.push(character);
            at += len;
        }
        self.document.aside.push_str(&text[at..]);
        Ok(self.document.aside_from(start))
    }

    /// The character that a reference stands for, and how long the reference is.
    fn reference(&self, text: &str, at: usize) -> Result<(char, usize), Failure> {
        let name = &text[1..];
        let end = name.find(|c: char| !c.is_ascii_alphanumeric() && c != '#').unwrap_or(name.len());
        if !name[end..].starts_with(';') || end == 0 {
            return Err((Fault::Expected("a reference like &lt; after '&', or &amp; in its place"), at));
        }
        match reference(&name[..end]) {
            Some(character) => Ok((character, end + 2)),
            None => Err((Fault::Reference(clipped(&name[..end])), at)),
        }
    }

    /// The text with line ends as XML has them.
    fn normalized(&mut self, span: Span) -> Span {
        let start = self.document.aside.len();
        let text = span.of(self.source).replace("\r\n", "\n").replace('\r', "\n");
        self.document.aside.push_str(&text);
        self.document.aside_from(start)
    }

    /// The node from `start` to here, as the last in what is open.
    fn push(&mut self, kind: Kind, start: usize) -> Result<u32, Failure> {
        if self.document.nodes.len() >= MAX_NODES {
            return Err((Fault::TooMany { what: "nodes", most: MAX_NODES }, start));
        }
        let node = self.document.new_node(kind, Span::new(start, self.at), NONE);
        let parent = self.open.last().map_or(DOCUMENT, |(tag, _)| *tag);
        self.document.link_last(parent, node);
        Ok(node)
    }

    /// At a byte that may begin a character that XML cannot have.
    fn check_character(&self) -> Result<(), Failure> {
        let character = self.source.get(self.at..).and_then(|rest| rest.chars().next());
        match character.filter(|c| !is_allowed(*c)) {
            Some(character) => Err((Fault::Character(character), self.at)),
            None => Ok(()),
        }
    }

    fn rest(&self) -> &'s [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn peek_at(&self, ahead: usize) -> Option<u8> {
        self.bytes.get(self.at + ahead).copied()
    }

    fn skip_space(&mut self) {
        while self.peek().is_some_and(is_space) {
            self.at += 1;
        }
    }
}

fn is_space(byte: u8) -> bool {
    CLASS[usize::from(byte)] & SPACE != 0
}

/// ` name="value"` of an XML declaration, and what comes after it.
fn pseudo_attribute(text: &str) -> Option<(&str, &str, &str)> {
    let blank = |c: char| c.is_ascii() && is_space(c as u8);
    let name = text.trim_start_matches(blank);
    if name.len() == text.len() {
        return None;
    }
    let (name, rest) = name.split_once('=')?;
    let rest = rest.trim_start_matches(blank);
    let quote = rest.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let (value, after) = rest[1..].split_once(quote)?;
    Some((name.trim_end_matches(blank), value, after))
}

//! Characters to words.

use super::ShellError;
use super::ast::{Index, Operator, OperatorKind, Parameter, Part, Word};
use super::substitution;

/// Deepest nesting of commands and of `${a:-${b:-...}}`.
pub(super) const MAX_DEPTH: usize = 32;

/// A place in a script.
#[derive(Clone)]
pub(super) struct Cursor<'a> {
    pub(super) rest: &'a str,
    pub(super) line: u32,
    pub(super) depth: usize,
}

/// What ends a word besides blanks and operators.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// Nothing else.
    Word,
    /// A `}`, before which blanks and operators are text.
    Brace,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { rest: text, line: 1, depth: 0 }
    }

    pub(super) fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    pub(super) fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.rest = &self.rest[c.len_utf8()..];
        self.line += u32::from(c == '\n');
        Some(c)
    }

    pub(super) fn eat(&mut self, text: &str) -> bool {
        let Some(rest) = self.rest.strip_prefix(text) else { return false };
        self.line += text.matches('\n').count() as u32;
        self.rest = rest;
        true
    }

    pub(super) fn error<T>(&self, what: impl Into<String>) -> Result<T, ShellError> {
        Err(ShellError::Syntax { line: self.line, what: what.into() })
    }

    /// Goes one level deeper.
    pub(super) fn enter(&mut self) -> Result<(), ShellError> {
        if self.depth == MAX_DEPTH {
            return Err(ShellError::Limit { line: self.line, most: MAX_DEPTH, what: "levels of nesting" });
        }
        self.depth += 1;
        Ok(())
    }

    /// Blanks, continued lines and a comment.
    pub(super) fn skip_blanks(&mut self) {
        loop {
            if self.eat("\\\n") || self.eat("\\\r\n") {
                continue;
            }
            match self.peek() {
                Some(' ' | '\t') => drop(self.next()),
                Some('\r') if self.rest.starts_with("\r\n") => drop(self.next()),
                _ => break,
            }
        }
        if self.peek() == Some('#') {
            let end = self.rest.find('\n').unwrap_or(self.rest.len());
            self.rest = &self.rest[end..];
        }
    }

    /// The word that begins here; `None` before an operator, a new line or the end.
    pub(super) fn word(&mut self) -> Result<Option<Word>, ShellError> {
        let line = self.line;
        let word = self.parts(End::Word)?;
        Ok((!word.is_empty()).then_some(Word { parts: word, line }))
    }

    fn parts(&mut self, end: End) -> Result<Vec<Part>, ShellError> {
        let mut parts = Parts::default();
        loop {
            if self.eat("\\\n") || self.eat("\\\r\n") {
                continue;
            }
            let line = self.line;
            let Some(c) = self.peek() else { break };
            match c {
                '}' if end != End::Word => break,
                ' ' | '\t' | '\n' | '\r' | ';' | '&' | '|' | '<' | '>' | '(' | ')' if end == End::Word => {
                    break;
                }
                '\'' => {
                    self.next();
                    let Some(close) = self.rest.find('\'') else {
                        return Err(ShellError::Syntax { line, what: "a ' that is not closed".to_owned() });
                    };
                    let text = &self.rest[..close];
                    parts.text(text, true);
                    self.eat(text);
                    self.next();
                }
                '"' => {
                    self.next();
                    parts.text("", true);
                    self.double_quoted(&mut parts, line)?;
                }
                '\\' => {
                    self.next();
                    parts.character(self.next().unwrap_or('\\'), true);
                }
                '$' => self.dollar(&mut parts, false)?,
                '`' => {
                    self.backquoted()?;
                    parts.unknown("a command's output (`...`)", line);
                }
                '~' if parts.list.is_empty() && end == End::Word => {
                    self.next();
                    parts.unknown("a home directory (~)", line);
                }
                _ => {
                    self.next();
                    parts.character(c, false);
                }
            }
        }
        if end == End::Word && has_braces(&parts.list) {
            let line = self.line;
            return Ok(vec![Part::Unknown { what: "a list in braces ({a,b})", line }]);
        }
        Ok(parts.list)
    }

    fn double_quoted(&mut self, parts: &mut Parts, from: u32) -> Result<(), ShellError> {
        loop {
            let line = self.line;
            match self.peek() {
                None => {
                    return Err(ShellError::Syntax {
                        line: from,
                        what: "a \" that is not closed".to_owned(),
                    });
                }
                Some('"') => {
                    self.next();
                    return Ok(());
                }
                Some('\\') => {
                    self.next();
                    match self.next() {
                        Some('\n') | None => {}
                        Some(c) if "$`\"\\".contains(c) => parts.character(c, true),
                        Some(c) => {
                            parts.character('\\', true);
                            parts.character(c, true);
                        }
                    }
                }
                Some('$') => self.dollar(parts, true)?,
                Some('`') => {
                    self.backquoted()?;
                    parts.unknown("a command's output (`...`)", line);
                }
                Some(c) => {
                    self.next();
                    parts.character(c, true);
                }
            }
        }
    }

    fn backquoted(&mut self) -> Result<(), ShellError> {
        let from = self.line;
        self.next();
        loop {
            match self.next() {
                Some('`') => return Ok(()),
                Some('\\') => drop(self.next()),
                Some(_) => {}
                None => {
                    return Err(ShellError::Syntax { line: from, what: "a ` that is not closed".to_owned() });
                }
            }
        }
    }

    fn dollar(&mut self, parts: &mut Parts, quoted: bool) -> Result<(), ShellError> {
        let line = self.line;
        self.next();
        match self.peek() {
            Some('(') => {
                let arithmetic = self.rest.starts_with("((");
                substitution::skip(self)?;
                let what = if arithmetic { "a sum ($((...)))" } else { "a command's output ($(...))" };
                parts.unknown(what, line);
            }
            Some('{') => {
                self.next();
                self.enter()?;
                let parameter = self.braced()?;
                self.depth -= 1;
                match parameter {
                    Some(parameter) => parts.list.push(Part::Parameter { parameter, quoted, line }),
                    None => parts.unknown("an edited variable (${...})", line),
                }
            }
            Some('\'') if !quoted => {
                self.next();
                let text = self.ansi(line)?;
                parts.text(&text, true);
            }
            Some('"') if !quoted => {}
            Some(c) if c.is_ascii_alphabetic() || c == '_' => {
                let name = self.name();
                let parameter = Parameter { name, index: None, operator: None };
                parts.list.push(Part::Parameter { parameter, quoted, line });
            }
            Some(c) if c.is_ascii_digit() || "@*#?-$!".contains(c) => {
                self.next();
                let parameter = Parameter { name: c.to_string(), index: None, operator: None };
                parts.list.push(Part::Parameter { parameter, quoted, line });
            }
            _ => parts.character('$', quoted),
        }
        Ok(())
    }

    pub(super) fn name(&mut self) -> String {
        let end = self.rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(self.rest.len());
        let name = self.rest[..end].to_owned();
        self.rest = &self.rest[end..];
        name
    }

    /// After `${`, up to and with `}`. `None`: something that is not followed.
    fn braced(&mut self) -> Result<Option<Parameter>, ShellError> {
        let mut name = self.name();
        if name.is_empty() {
            match self.peek() {
                // A lone special parameter; `${#name}` is a length.
                Some(c) if "@*#?-$!".contains(c) && self.rest[1..].starts_with(['}', ':']) => {
                    self.next();
                    name.push(c);
                }
                _ => {
                    self.rest_of_braces()?;
                    return Ok(None);
                }
            }
        }
        let index = match self.index() {
            Ok(index) => index,
            Err(()) => {
                self.rest_of_braces()?;
                return Ok(None);
            }
        };
        if self.eat("}") {
            return Ok(Some(Parameter { name, index, operator: None }));
        }
        let mut ahead = self.clone();
        let or_empty = ahead.eat(":");
        let kind = match ahead.next() {
            Some('-') => OperatorKind::Default,
            Some('=') => OperatorKind::Assign,
            Some('?') => OperatorKind::Require,
            Some('+') => OperatorKind::Alternative,
            _ => {
                self.rest_of_braces()?;
                return Ok(None);
            }
        };
        *self = ahead;
        let word = self.rest_of_braces()?;
        Ok(Some(Parameter { name, index, operator: Some(Operator { kind, or_empty, word }) }))
    }

    fn index(&mut self) -> Result<Option<Index>, ()> {
        if !self.rest.starts_with('[') {
            return Ok(None);
        }
        for (text, index) in [("[@]", Index::All), ("[*]", Index::Joined)] {
            if self.eat(text) {
                return Ok(Some(index));
            }
        }
        let close = self.rest.find(']').ok_or(())?;
        let index = self.rest[1..close].parse().map_err(|_| ())?;
        self.rest = &self.rest[close + 1..];
        Ok(Some(Index::At(index)))
    }

    fn rest_of_braces(&mut self) -> Result<Word, ShellError> {
        let line = self.line;
        let parts = self.parts(End::Brace)?;
        if !self.eat("}") {
            return Err(ShellError::Syntax { line, what: "a ${ that is not closed".to_owned() });
        }
        Ok(Word { parts, line })
    }

    /// After `$'`.
    fn ansi(&mut self, from: u32) -> Result<String, ShellError> {
        let mut text = String::new();
        loop {
            match self.next() {
                Some('\'') => return Ok(text),
                Some('\\') => match self.next() {
                    Some('n') => text.push('\n'),
                    Some('t') => text.push('\t'),
                    Some('r') => text.push('\r'),
                    Some(c @ ('\\' | '\'' | '"' | '?')) => text.push(c),
                    _ => {
                        return self
                            .error("an escape in $'...' that is not read: \\n, \\t, \\r, \\\\, \\' are");
                    }
                },
                Some(c) => text.push(c),
                None => {
                    return Err(ShellError::Syntax {
                        line: from,
                        what: "a $' that is not closed".to_owned(),
                    });
                }
            }
        }
    }
}

/// Parts in the making; neighbouring texts of the same kind are joined.
#[derive(Default)]
struct Parts {
    list: Vec<Part>,
}

impl Parts {
    fn text(&mut self, more: &str, quoted: bool) {
        if let Some(Part::Text { text, quoted: last }) = self.list.last_mut()
            && *last == quoted
        {
            return text.push_str(more);
        }
        self.list.push(Part::Text { text: more.to_owned(), quoted });
    }

    fn character(&mut self, c: char, quoted: bool) {
        self.text(c.encode_utf8(&mut [0; 4]), quoted);
    }

    fn unknown(&mut self, what: &'static str, line: u32) {
        self.list.push(Part::Unknown { what, line });
    }
}

/// Whether bash would make several words of it.
fn has_braces(parts: &[Part]) -> bool {
    parts.iter().any(|part| {
        let Part::Text { text, quoted: false } = part else { return false };
        let Some((_, inner)) = text.split_once('{') else { return false };
        let Some((inner, _)) = inner.split_once('}') else { return false };
        inner.contains(',') || inner.contains("..")
    })
}

//! Words to commands.

use std::rc::Rc;

use super::ShellError;
use super::ast::{Assigned, Assignment, List, Node, Simple, Word};
use super::lexer::Cursor;

/// Most commands of a script.
const MAX_NODES: usize = 4096;
/// Words that have a meaning where a command begins.
const RESERVED: [&str; 15] = [
    "if", "then", "elif", "else", "fi", "while", "until", "for", "do", "done", "case", "esac", "{", "}", "!",
];

struct Parser<'a> {
    cursor: Cursor<'a>,
    /// Ends of here-documents that begin behind the current line; `true`: their lines may be indented.
    heredocs: Vec<(String, bool)>,
    nodes: usize,
}

/// The commands of a script.
///
/// # Errors
/// [`ShellError`] where the text is no script, or is one that is not read.
pub(super) fn parse(text: &str) -> Result<List, ShellError> {
    let mut parser = Parser { cursor: Cursor::new(text), heredocs: Vec::new(), nodes: 0 };
    let list = parser.list(&[])?;
    parser.blank_lines();
    match parser.cursor.peek() {
        None => Ok(list),
        Some(c) => parser.cursor.error(format!("\"{}\" is not expected here", c.escape_debug())),
    }
}

impl Parser<'_> {
    /// Commands up to one of the words that end this list, which is not taken.
    fn list(&mut self, ends: &[&str]) -> Result<List, ShellError> {
        let mut list = List::new();
        loop {
            self.blank_lines();
            if self.at_end(ends) {
                return Ok(list);
            }
            let before = self.cursor.rest.len();
            list.push(self.and_or()?);
            self.cursor.skip_blanks();
            match self.cursor.peek() {
                Some('&') if !self.cursor.rest.starts_with("&&") => drop(self.cursor.next()),
                Some(';') if !self.cursor.rest.starts_with(";;") => drop(self.cursor.next()),
                _ => {}
            }
            if self.cursor.rest.len() == before {
                let found = self.cursor.rest.chars().next().unwrap_or(' ');
                return self.cursor.error(format!("\"{}\" is not expected here", found.escape_debug()));
            }
        }
    }

    fn at_end(&self, ends: &[&str]) -> bool {
        match self.cursor.peek() {
            None | Some(')') => true,
            _ => ends.iter().any(|end| self.is_at(end)),
        }
    }

    /// Whether a reserved word or an operator stands here.
    fn is_at(&self, word: &str) -> bool {
        let Some(rest) = self.cursor.rest.strip_prefix(word) else { return false };
        word == ";;" || rest.chars().next().is_none_or(|c| c.is_whitespace() || ";&|<>()".contains(c))
    }

    fn eat_word(&mut self, word: &str) -> bool {
        self.blank_lines();
        self.is_at(word) && self.cursor.eat(word)
    }

    fn expect(&mut self, word: &str, of: &str) -> Result<(), ShellError> {
        if self.eat_word(word) {
            return Ok(());
        }
        self.cursor.error(format!("\"{word}\" of \"{of}\" is missing"))
    }

    fn blank_lines(&mut self) {
        loop {
            self.cursor.skip_blanks();
            if self.cursor.peek() != Some('\n') {
                return;
            }
            self.cursor.next();
            for (end, indented) in std::mem::take(&mut self.heredocs) {
                self.skip_heredoc(&end, indented);
            }
        }
    }

    fn skip_heredoc(&mut self, end: &str, indented: bool) {
        while self.cursor.peek().is_some() {
            let stop = self.cursor.rest.find('\n').map_or(self.cursor.rest.len(), |at| at + 1);
            let line = &self.cursor.rest[..stop];
            self.cursor.eat(line);
            let line = line.trim_end_matches(['\n', '\r']);
            if (if indented { line.trim_start_matches('\t') } else { line }) == end {
                return;
            }
        }
    }

    fn and_or(&mut self) -> Result<Node, ShellError> {
        let first = self.pipeline()?;
        let mut rest = Vec::new();
        loop {
            self.cursor.skip_blanks();
            let and = self.cursor.eat("&&");
            if !and && !self.cursor.eat("||") {
                break;
            }
            self.blank_lines();
            rest.push((and, self.pipeline()?));
        }
        Ok(if rest.is_empty() { first } else { Node::AndOr { first: Box::new(first), rest } })
    }

    fn pipeline(&mut self) -> Result<Node, ShellError> {
        self.cursor.skip_blanks();
        let mut negated = false;
        while self.is_at("!") && self.cursor.eat("!") {
            negated = !negated;
            self.cursor.skip_blanks();
        }
        let mut nodes = vec![self.command()?];
        loop {
            self.cursor.skip_blanks();
            if self.cursor.rest.starts_with("||") || !self.cursor.eat("|") {
                break;
            }
            self.cursor.eat("&");
            self.blank_lines();
            nodes.push(self.command()?);
        }
        if nodes.len() == 1 && !negated {
            return Ok(nodes.remove(0));
        }
        Ok(Node::Pipeline { nodes, negated })
    }

    fn command(&mut self) -> Result<Node, ShellError> {
        self.cursor.skip_blanks();
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return Err(ShellError::Limit { line: self.cursor.line, most: MAX_NODES, what: "commands" });
        }
        self.cursor.enter()?;
        let node = match self.compound()? {
            Some(node) => {
                self.redirections()?;
                node
            }
            None => self.simple()?,
        };
        self.cursor.depth -= 1;
        Ok(node)
    }

    fn compound(&mut self) -> Result<Option<Node>, ShellError> {
        let line = self.cursor.line;
        if self.cursor.rest.starts_with("((") {
            super::substitution::skip(&mut self.cursor)?;
            return Ok(Some(Node::Arithmetic { line }));
        }
        if self.cursor.eat("(") {
            let list = self.list(&[])?;
            if !self.cursor.eat(")") {
                return Err(ShellError::Syntax { line, what: "a ( that is not closed".to_owned() });
            }
            return Ok(Some(Node::Subshell(list)));
        }
        if self.eat_word("{") {
            let list = self.list(&["}"])?;
            self.expect("}", "{")?;
            return Ok(Some(Node::Group(list)));
        }
        if self.eat_word("[[") {
            return self.test(line).map(Some);
        }
        if self.eat_word("if") {
            return self.conditional(line).map(Some);
        }
        for (word, until) in [("while", false), ("until", true)] {
            if self.eat_word(word) {
                let condition = self.list(&["do"])?;
                let body = self.body(word)?;
                return Ok(Some(Node::Loop { until, condition, body, line }));
            }
        }
        if self.eat_word("for") {
            return self.for_loop(line).map(Some);
        }
        if self.eat_word("case") {
            return self.case(line).map(Some);
        }
        if self.eat_word("function") {
            self.cursor.skip_blanks();
            let name = self.cursor.word()?.and_then(|word| word.plain().map(str::to_owned));
            let Some(name) = name else { return self.cursor.error("a function without a name") };
            self.cursor.skip_blanks();
            self.cursor.eat("()");
            return self.function(name).map(Some);
        }
        if let Some(word) = RESERVED.iter().find(|word| self.is_at(word)) {
            return self.cursor.error(format!("\"{word}\" is not expected here"));
        }
        Ok(None)
    }

    fn body(&mut self, of: &str) -> Result<List, ShellError> {
        self.expect("do", of)?;
        let body = self.list(&["done"])?;
        self.expect("done", of)?;
        Ok(body)
    }

    fn conditional(&mut self, line: u32) -> Result<Node, ShellError> {
        let mut arms = Vec::new();
        let mut otherwise = List::new();
        loop {
            let condition = self.list(&["then"])?;
            self.expect("then", "if")?;
            arms.push((condition, self.list(&["elif", "else", "fi"])?));
            if self.eat_word("elif") {
                continue;
            }
            if self.eat_word("else") {
                otherwise = self.list(&["fi"])?;
            }
            self.expect("fi", "if")?;
            return Ok(Node::If { arms, otherwise, line });
        }
    }

    fn for_loop(&mut self, line: u32) -> Result<Node, ShellError> {
        self.cursor.skip_blanks();
        if self.cursor.rest.starts_with("((") {
            return self.cursor.error("a counting loop (for ((...))), which is not read");
        }
        let name = self.cursor.name();
        if name.is_empty() {
            return self.cursor.error("a name has to follow \"for\"");
        }
        let mut words = None;
        if self.eat_word("in") {
            words = Some(self.words()?);
        }
        self.cursor.skip_blanks();
        self.cursor.eat(";");
        let body = self.body("for")?;
        Ok(Node::For { name, words, body, line })
    }

    fn words(&mut self) -> Result<Vec<Word>, ShellError> {
        let mut words = Vec::new();
        loop {
            self.cursor.skip_blanks();
            let Some(word) = self.cursor.word()? else { return Ok(words) };
            words.push(word);
        }
    }

    fn case(&mut self, line: u32) -> Result<Node, ShellError> {
        self.cursor.skip_blanks();
        let Some(subject) = self.cursor.word()? else { return self.cursor.error("\"case\" without a word") };
        self.expect("in", "case")?;
        let mut arms = Vec::new();
        loop {
            if self.eat_word("esac") {
                return Ok(Node::Case { subject, arms, line });
            }
            self.cursor.eat("(");
            let mut patterns = Vec::new();
            loop {
                self.cursor.skip_blanks();
                let Some(pattern) = self.cursor.word()? else {
                    return self.cursor.error("a pattern of \"case\" is missing");
                };
                patterns.push(pattern);
                self.cursor.skip_blanks();
                if !self.cursor.eat("|") {
                    break;
                }
            }
            if !self.cursor.eat(")") {
                return self.cursor.error("a ) is missing after a pattern of \"case\"");
            }
            let body = self.list(&[";;", "esac"])?;
            arms.push((patterns, body));
            if !self.cursor.eat(";;") && !self.is_at("esac") {
                return self.cursor.error("\"esac\" of \"case\" is missing");
            }
        }
    }

    /// After `[[`.
    fn test(&mut self, line: u32) -> Result<Node, ShellError> {
        let mut words = Vec::new();
        let mut complex = false;
        loop {
            self.blank_lines();
            if self.eat_word("]]") {
                return Ok(Node::Test { words, complex, line });
            }
            match self.cursor.word()? {
                Some(word) => words.push(word),
                None if self.cursor.next().is_some() => complex = true,
                None => return Err(ShellError::Syntax { line, what: "a [[ that is not closed".to_owned() }),
            }
        }
    }

    fn function(&mut self, name: String) -> Result<Node, ShellError> {
        self.blank_lines();
        let body = Rc::new(self.command()?);
        Ok(Node::Function { name, body })
    }

    fn simple(&mut self) -> Result<Node, ShellError> {
        let line = self.cursor.line;
        let mut simple = Simple { assignments: Vec::new(), words: Vec::new(), line };
        loop {
            self.cursor.skip_blanks();
            if self.redirection()? {
                continue;
            }
            if simple.words.is_empty()
                && let Some(assignment) = self.assignment()?
            {
                simple.assignments.push(assignment);
                continue;
            }
            let Some(word) = self.cursor.word()? else { break };
            if let Some(name) = word.plain().filter(|_| simple.words.is_empty()) {
                let name = name.to_owned();
                let mut ahead = self.cursor.clone();
                ahead.skip_blanks();
                let open = ahead.eat("(");
                ahead.skip_blanks();
                if open && ahead.eat(")") {
                    self.cursor = ahead;
                    return self.function(name);
                }
            }
            simple.words.push(word);
        }
        Ok(Node::Simple(simple))
    }

    /// `NAME=...`, `NAME+=...`, `NAME=(...)`.
    fn assignment(&mut self) -> Result<Option<Assignment>, ShellError> {
        let line = self.cursor.line;
        let mut ahead = self.cursor.clone();
        let name = ahead.name();
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
            return Ok(None);
        }
        let append = ahead.eat("+=");
        if !append && !ahead.eat("=") {
            return Ok(None);
        }
        self.cursor = ahead;
        if self.cursor.eat("(") {
            let words = self.array(line)?;
            return Ok(Some(Assignment { name, append, value: Assigned::Array(words), line }));
        }
        let value = self.cursor.word()?.unwrap_or(Word { parts: Vec::new(), line });
        Ok(Some(Assignment { name, append, value: Assigned::Scalar(value), line }))
    }

    fn array(&mut self, line: u32) -> Result<Vec<Word>, ShellError> {
        let mut words = Vec::new();
        loop {
            self.blank_lines();
            if self.cursor.eat(")") {
                return Ok(words);
            }
            match self.cursor.word()? {
                Some(word) => words.push(word),
                None => {
                    return Err(ShellError::Syntax { line, what: "a list =( that is not closed".to_owned() });
                }
            }
        }
    }

    fn redirections(&mut self) -> Result<(), ShellError> {
        loop {
            self.cursor.skip_blanks();
            if !self.redirection()? {
                return Ok(());
            }
        }
    }

    /// `>file`, `2>&1`, `<<END` and the like: where input and output go is no part of a machine.
    fn redirection(&mut self) -> Result<bool, ShellError> {
        let mut ahead = self.cursor.clone();
        while ahead.peek().is_some_and(|c| c.is_ascii_digit()) {
            ahead.next();
        }
        if ahead.rest.starts_with("&>") {
            ahead.next();
        }
        if !matches!(ahead.peek(), Some('<' | '>')) {
            return Ok(false);
        }
        self.cursor = ahead;
        if self.cursor.rest.starts_with("<(") || self.cursor.rest.starts_with(">(") {
            return self.cursor.error("a process as a file (<(...)), which is not read");
        }
        let heredoc = self.cursor.rest.starts_with("<<") && !self.cursor.rest.starts_with("<<<");
        while matches!(self.cursor.peek(), Some('<' | '>' | '&' | '|')) {
            self.cursor.next();
        }
        let indented = heredoc && self.cursor.eat("-");
        self.cursor.skip_blanks();
        let Some(target) = self.cursor.word()? else { return self.cursor.error("a file name is missing") };
        if heredoc {
            let text = target.parts.iter().map(|part| match part {
                super::ast::Part::Text { text, .. } => text.as_str(),
                _ => "",
            });
            self.heredocs.push((text.collect(), indented));
        }
        Ok(true)
    }
}

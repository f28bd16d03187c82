//! Follows a script from its first command to its last.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::ast::{Assigned, Assignment, List, Node, Simple, Word};
use super::condition::holds;
use super::parser::parse;
use super::pattern::fits;
use super::state::{State, Status, Variable};
use super::{Command, Field, MAX_TEXT, Script, ShellError, Unknown, Value};

/// Most steps: commands, words and variables.
const MAX_STEPS: usize = 20_000;
/// Most bytes of all values together.
const MAX_BYTES: usize = 8 << 20;
/// Most commands that are kept.
const MAX_COMMANDS: usize = 64;
/// Most variables.
const MAX_VARIABLES: usize = 512;
/// Deepest calls of functions.
const MAX_CALLS: usize = 16;
/// Most unset variables that are told.
const MAX_UNSET: usize = 32;

/// Where the script goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    Next,
    /// Out of a loop, or on to its next round: loops are followed once.
    Leave,
    Return,
    Exit,
}

pub(super) struct Follower<'a> {
    wanted: &'a dyn Fn(&[Field]) -> bool,
    script: Script,
    functions: BTreeMap<String, Rc<Node>>,
    steps: usize,
    bytes: usize,
    calls: usize,
    loops: usize,
    condition: Option<u32>,
}

/// Follows a script that is started in `directory`. `wanted` tells which commands to keep.
///
/// # Errors
/// [`ShellError`] where the text is no script, or does too much.
pub(crate) fn follow(
    text: &str,
    directory: Option<&str>,
    wanted: &dyn Fn(&[Field]) -> bool,
) -> Result<Script, ShellError> {
    if text.len() > MAX_TEXT {
        return Err(ShellError::Limit { line: 1, most: MAX_TEXT, what: "bytes in a script" });
    }
    let list = parse(text)?;
    let mut follower = Follower {
        wanted,
        script: Script::default(),
        functions: BTreeMap::new(),
        steps: 0,
        bytes: 0,
        calls: 0,
        loops: 0,
        condition: None,
    };
    follower.list(&list, &mut State::new(directory))?;
    Ok(follower.script)
}

impl Follower<'_> {
    /// Counts one more step.
    pub(super) fn step(&mut self, line: u32) -> Result<(), ShellError> {
        self.steps += 1;
        if self.steps > MAX_STEPS {
            return Err(ShellError::Limit { line, most: MAX_STEPS, what: "steps of the script" });
        }
        Ok(())
    }

    /// Counts bytes of values.
    pub(super) fn spend(&mut self, bytes: usize, line: u32) -> Result<(), ShellError> {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > MAX_BYTES {
            return Err(ShellError::Limit {
                line,
                most: MAX_BYTES,
                what: "bytes in all values of the script",
            });
        }
        Ok(())
    }

    pub(super) fn note_unset(&mut self, name: &str, line: u32) {
        let unset = &mut self.script.unset;
        if unset.len() < MAX_UNSET && !unset.iter().any(|(known, _)| known == name) {
            unset.push((name.to_owned(), line));
        }
    }

    pub(super) fn assign(
        &mut self,
        name: &str,
        variable: Variable,
        line: u32,
        state: &mut State,
    ) -> Result<(), ShellError> {
        if state.get(name).is_none() && state.count() == MAX_VARIABLES {
            return Err(ShellError::Limit { line, most: MAX_VARIABLES, what: "variables" });
        }
        state.set(name, variable);
        Ok(())
    }

    fn list(&mut self, list: &List, state: &mut State) -> Result<Flow, ShellError> {
        for node in list {
            let flow = self.node(node, state)?;
            if flow != Flow::Next {
                return Ok(flow);
            }
        }
        Ok(Flow::Next)
    }

    fn node(&mut self, node: &Node, state: &mut State) -> Result<Flow, ShellError> {
        match node {
            Node::Simple(simple) => self.simple(simple, state),
            Node::Test { words, complex, line } => {
                self.step(*line)?;
                let mut fields = Vec::new();
                for word in words {
                    fields.push(Field { value: self.value(word, state)?, line: word.line });
                }
                let holds = holds(&fields, true).filter(|_| !complex);
                state.status = holds.map_or(Status::Unknown(*line), Status::Known);
                Ok(Flow::Next)
            }
            Node::Arithmetic { line } => {
                state.status = Status::Unknown(*line);
                Ok(Flow::Next)
            }
            Node::Pipeline { nodes, negated } => self.pipeline(nodes, *negated, state),
            Node::AndOr { first, rest } => self.and_or(first, rest, state),
            Node::If { arms, otherwise, line } => self.conditional(arms, otherwise, *line, state),
            Node::Loop { until, condition, body, line } => {
                self.loops += 1;
                let flow = self.repeat(*until, condition, body, *line, state);
                self.loops -= 1;
                flow
            }
            Node::For { name, words, body, line } => {
                self.for_loop(name, words.as_deref(), body, *line, state)
            }
            Node::Case { subject, arms, line } => self.case(subject, arms, *line, state),
            Node::Group(list) => self.list(list, state),
            Node::Subshell(list) => {
                let mut inner = state.clone();
                self.list(list, &mut inner)?;
                state.status = inner.status;
                Ok(Flow::Next)
            }
            Node::Function { name, body } => {
                self.functions.insert(name.clone(), Rc::clone(body));
                state.status = Status::Known(true);
                Ok(Flow::Next)
            }
        }
    }

    fn pipeline(&mut self, nodes: &List, negated: bool, state: &mut State) -> Result<Flow, ShellError> {
        let mut flow = Flow::Next;
        if let [node] = nodes.as_slice() {
            flow = self.node(node, state)?;
        } else {
            for node in nodes {
                let mut inner = state.clone();
                self.node(node, &mut inner)?;
                state.status = inner.status;
            }
        }
        if let Status::Known(success) = &mut state.status
            && negated
        {
            *success = !*success;
        }
        Ok(flow)
    }

    fn and_or(&mut self, first: &Node, rest: &[(bool, Node)], state: &mut State) -> Result<Flow, ShellError> {
        let mut flow = self.node(first, state)?;
        for (and, node) in rest {
            if flow != Flow::Next {
                return Ok(flow);
            }
            flow = match state.status {
                Status::Known(success) if success == *and => self.node(node, state)?,
                Status::Known(_) => Flow::Next,
                Status::Unknown(line) => {
                    let follow = |follower: &mut Self, state: &mut State| follower.node(node, state);
                    self.either(line, state, follow, |_, _| Ok(Flow::Next))?
                }
            };
        }
        Ok(flow)
    }

    /// Follows two ways, of which nobody knows the right one.
    fn either(
        &mut self,
        line: u32,
        state: &mut State,
        first: impl FnOnce(&mut Self, &mut State) -> Result<Flow, ShellError>,
        second: impl FnOnce(&mut Self, &mut State) -> Result<Flow, ShellError>,
    ) -> Result<Flow, ShellError> {
        self.step(line)?;
        let outer = self.condition.replace(line);
        let mut other = state.clone();
        let flow = first(self, state)?;
        let other_flow = second(self, &mut other)?;
        self.condition = outer;
        let ends = |flow| matches!(flow, Flow::Exit | Flow::Return);
        match (ends(flow), ends(other_flow)) {
            (true, true) => return Ok(flow),
            (true, false) => *state = other,
            (false, true) => {}
            (false, false) => {
                *state = state.clone().merge(other, line);
                return Ok(Flow::Next);
            }
        }
        if !self.script.guards.contains(&line) && self.script.guards.len() < MAX_COMMANDS {
            self.script.guards.push(line);
        }
        Ok(Flow::Next)
    }

    fn conditional(
        &mut self,
        arms: &[(List, List)],
        otherwise: &List,
        line: u32,
        state: &mut State,
    ) -> Result<Flow, ShellError> {
        let Some(((condition, body), rest)) = arms.split_first() else {
            return self.list(otherwise, state);
        };
        let flow = self.list(condition, state)?;
        if flow != Flow::Next {
            return Ok(flow);
        }
        match state.status {
            Status::Known(true) => self.list(body, state),
            Status::Known(false) => {
                // Of an `if` without `else`, whatever its condition was.
                state.status = Status::Known(true);
                self.conditional(rest, otherwise, line, state)
            }
            Status::Unknown(_) => {
                let line = condition.first().and_then(first_line).unwrap_or(line);
                let then = |follower: &mut Self, state: &mut State| follower.list(body, state);
                self.either(line, state, then, |follower, state| {
                    follower.conditional(rest, otherwise, line, state)
                })
            }
        }
    }

    /// A loop's first round.
    fn repeat(
        &mut self,
        until: bool,
        condition: &List,
        body: &List,
        line: u32,
        state: &mut State,
    ) -> Result<Flow, ShellError> {
        let flow = self.list(condition, state)?;
        if flow != Flow::Next {
            return Ok(flow);
        }
        let flow = match state.status {
            Status::Known(success) if success == until => Flow::Next,
            Status::Known(_) => self.list(body, state)?,
            Status::Unknown(_) => {
                let round = |follower: &mut Self, state: &mut State| follower.list(body, state);
                self.either(line, state, round, |_, _| Ok(Flow::Next))?
            }
        };
        Ok(if flow == Flow::Leave { Flow::Next } else { flow })
    }

    fn for_loop(
        &mut self,
        name: &str,
        words: Option<&[Word]>,
        body: &List,
        line: u32,
        state: &mut State,
    ) -> Result<Flow, ShellError> {
        let values: Vec<Value> = match words {
            Some(words) => self.fields(words, state)?.into_iter().map(|field| field.value).collect(),
            None => state.positional.clone(),
        };
        self.loops += 1;
        let mut flow = Flow::Next;
        for value in values {
            self.step(line)?;
            self.assign(name, Variable::One(value), line, state)?;
            flow = self.list(body, state)?;
            if matches!(flow, Flow::Exit | Flow::Return) {
                break;
            }
            flow = Flow::Next;
        }
        self.loops -= 1;
        Ok(flow)
    }

    fn case(
        &mut self,
        subject: &Word,
        arms: &[(Vec<Word>, List)],
        line: u32,
        state: &mut State,
    ) -> Result<Flow, ShellError> {
        self.step(line)?;
        let subject = self.value(subject, state)?;
        self.arms(&subject, arms, line, state)
    }

    fn arms(
        &mut self,
        subject: &Value,
        arms: &[(Vec<Word>, List)],
        line: u32,
        state: &mut State,
    ) -> Result<Flow, ShellError> {
        let Some(((patterns, body), rest)) = arms.split_first() else { return Ok(Flow::Next) };
        let mut matches = Some(false);
        for pattern in patterns {
            let pattern = self.value(pattern, state)?;
            let this = match (&pattern, subject) {
                (Ok(pattern), _) if &**pattern == "*" => Some(true),
                (Ok(pattern), Ok(subject)) => fits(pattern, subject),
                _ => None,
            };
            matches = match (matches, this) {
                (Some(true), _) | (_, Some(true)) => Some(true),
                (Some(false), Some(false)) => Some(false),
                _ => None,
            };
        }
        match matches {
            Some(true) => self.list(body, state),
            Some(false) => self.arms(subject, rest, line, state),
            None => {
                let then = |follower: &mut Self, state: &mut State| follower.list(body, state);
                self.either(line, state, then, |follower, state| follower.arms(subject, rest, line, state))
            }
        }
    }

    fn simple(&mut self, simple: &Simple, state: &mut State) -> Result<Flow, ShellError> {
        self.step(simple.line)?;
        let fields = self.fields(&simple.words, state)?;
        if fields.is_empty() {
            state.status = Status::Known(true);
            return self.assignments(&simple.assignments, state).map(|()| Flow::Next);
        }
        // Before a command they are for that command alone: its words were expanded without them.
        let program = fields.first().and_then(|field| field.value.clone().ok());
        if let Some(flow) = self.builtin(program.as_deref(), simple, &fields, state)? {
            return Ok(flow);
        }
        if let Some(body) = program.as_ref().and_then(|name| self.functions.get(&**name)).cloned() {
            return self.call(&body, &fields, simple.line, state);
        }
        // Without a program it only redirects.
        let replaces = program.as_deref() == Some("exec") && fields.len() > 1;
        self.command(fields, simple.line, state);
        Ok(if replaces { Flow::Exit } else { Flow::Next })
    }

    fn command(&mut self, words: Vec<Field>, line: u32, state: &mut State) {
        state.status = Status::Unknown(line);
        if self.script.commands.len() < MAX_COMMANDS && (self.wanted)(&words) {
            let (directory, condition) = (state.directory.clone(), self.condition);
            let in_loop = self.loops > 0;
            self.script.commands.push(Command { words, line, directory, condition, in_loop });
        }
    }

    fn assignments(&mut self, assignments: &[Assignment], state: &mut State) -> Result<(), ShellError> {
        for assignment in assignments {
            let Assignment { name, append, value, line } = assignment;
            let made = match value {
                Assigned::Scalar(word) => {
                    let value = self.value(word, state)?;
                    match state.get(name) {
                        Some(Variable::One(old)) if *append => {
                            let both = both(old.clone(), value, *line)?;
                            Variable::One(both)
                        }
                        Some(Variable::Many(_)) => Variable::One(Err(Rc::new(Unknown {
                            line: *line,
                            what: format!("the list {name}, of which one value is set,"),
                        }))),
                        _ => Variable::One(value),
                    }
                }
                Assigned::Array(words) => {
                    let values = self.fields(words, state)?.into_iter().map(|field| field.value);
                    let mut all = match state.get(name) {
                        Some(Variable::Many(old)) if *append => old.clone(),
                        Some(Variable::One(old)) if *append => vec![old.clone()],
                        _ => Vec::new(),
                    };
                    all.extend(values);
                    if all.len() > 4096 {
                        return Err(ShellError::Limit { line: *line, most: 4096, what: "words in a list" });
                    }
                    Variable::Many(all)
                }
            };
            self.assign(name, made, *line, state)?;
        }
        Ok(())
    }

    fn call(
        &mut self,
        body: &Node,
        fields: &[Field],
        line: u32,
        state: &mut State,
    ) -> Result<Flow, ShellError> {
        if self.calls == MAX_CALLS {
            return Err(ShellError::Limit {
                line,
                most: MAX_CALLS,
                what: "calls of functions in one another",
            });
        }
        self.calls += 1;
        let arguments = fields.iter().skip(1).map(|field| field.value.clone()).collect();
        let outer = std::mem::replace(&mut state.positional, arguments);
        let flow = self.node(body, state)?;
        state.positional = outer;
        self.calls -= 1;
        Ok(if flow == Flow::Return { Flow::Next } else { flow })
    }

    /// Commands of the shell itself that matter here; `None` for all others.
    fn builtin(
        &mut self,
        program: Option<&str>,
        simple: &Simple,
        fields: &[Field],
        state: &mut State,
    ) -> Result<Option<Flow>, ShellError> {
        let line = simple.line;
        let arguments = fields.get(1..).unwrap_or_default();
        let mut status = Status::Known(true);
        let mut flow = Flow::Next;
        match program {
            Some(
                ":" | "true" | "echo" | "printf" | "umask" | "ulimit" | "trap" | "sleep" | "wait" | "return"
                | "exit" | "break" | "continue" | "shopt",
            ) => {
                flow = match program {
                    Some("exit") => Flow::Exit,
                    Some("return") => Flow::Return,
                    Some("break" | "continue") => Flow::Leave,
                    _ => Flow::Next,
                };
            }
            Some("false") => status = Status::Known(false),
            Some("[" | "test") => status = test(program, arguments, line),
            Some("getopts") if state.positional.is_empty() => status = Status::Known(false),
            Some("export" | "readonly" | "local" | "declare" | "typeset") => {
                self.declare(simple, state)?;
            }
            Some("unset") => {
                for name in arguments.iter().filter_map(|field| field.value.as_ref().ok()) {
                    self.assign(name, Variable::Unset, line, state)?;
                }
            }
            Some("read" | "getopts" | "mapfile" | "readarray") => {
                let why = || Rc::new(Unknown { line, what: "what is typed or read".to_owned() });
                for name in arguments.iter().filter_map(|field| field.value.as_ref().ok()) {
                    if !name.starts_with('-') {
                        self.assign(name, Variable::One(Err(why())), line, state)?;
                    }
                }
                status = Status::Unknown(line);
            }
            Some("set") => set(arguments, state),
            Some("shift") => drop((!state.positional.is_empty()).then(|| state.positional.remove(0))),
            Some("cd") => {
                let home = || Err(Rc::new(Unknown { line, what: "a home directory (cd)".to_owned() }));
                let to = arguments.iter().find(|field| field.value.as_deref() != Ok("--"));
                let to = to.map_or_else(home, |field| field.value.clone());
                state.directory = state.directory.enter(&to);
            }
            Some("pushd" | "popd") => {
                let why = Rc::new(Unknown { line, what: "a directory (pushd, popd)".to_owned() });
                state.directory = state.directory.enter(&Err(why));
            }
            Some("." | "source" | "eval") => {
                let what = match program {
                    Some("eval") => "what a command (eval) sets",
                    _ => "what another file (source) sets",
                };
                state.sourced = Some(Rc::new(Unknown { line, what: what.to_owned() }));
                status = Status::Unknown(line);
                if program == Some("eval") && (self.wanted)(arguments) {
                    let what = "a hypervisor that \"eval\" starts is not read: write it as a plain command";
                    return Err(ShellError::Syntax { line, what: what.to_owned() });
                }
            }
            _ => return Ok(None),
        }
        state.status = status;
        Ok(Some(flow))
    }

    /// `export NAME=value` and its kin: their words are assignments, which the parser took for words.
    fn declare(&mut self, simple: &Simple, state: &mut State) -> Result<(), ShellError> {
        for word in &simple.words[1..] {
            let value = self.value(word, state)?;
            let Ok(text) = &value else {
                // The name, at least, is usually known.
                if let Some(super::ast::Part::Text { text, .. }) = word.parts.first()
                    && let Some((name, _)) = text.split_once('=')
                {
                    self.assign(name, Variable::One(value), word.line, state)?;
                }
                continue;
            };
            if let Some((name, text)) = text.split_once('=') {
                self.assign(name, Variable::One(Ok(text.into())), word.line, state)?;
            }
        }
        Ok(())
    }
}

fn test(program: Option<&str>, arguments: &[Field], line: u32) -> Status {
    let arguments = match (program, arguments.split_last()) {
        (Some("["), Some((_, arguments))) => arguments,
        _ => arguments,
    };
    holds(arguments, false).map_or(Status::Unknown(line), Status::Known)
}

/// `set -- words`; options of the shell do not matter here.
fn set(arguments: &[Field], state: &mut State) {
    let start = arguments.iter().position(|field| field.value.as_deref() == Ok("--"));
    let words = match (start, arguments.first()) {
        (Some(start), _) => &arguments[start + 1..],
        (None, Some(first)) if first.value.as_deref().is_ok_and(|text| !text.starts_with(['-', '+'])) => {
            arguments
        }
        _ => return,
    };
    state.positional = words.iter().map(|field| field.value.clone()).collect();
}

fn both(old: Value, new: Value, line: u32) -> Result<Value, ShellError> {
    match (old, new) {
        (Ok(old), Ok(new)) if old.len() + new.len() <= 64 << 10 => Ok(Ok(format!("{old}{new}").into())),
        (Ok(_), Ok(_)) => Err(ShellError::Limit { line, most: 64 << 10, what: "bytes in a value" }),
        (Err(why), _) | (_, Err(why)) => Ok(Err(why)),
    }
}

/// The line that a condition begins on.
fn first_line(node: &Node) -> Option<u32> {
    match node {
        Node::Simple(simple) => Some(simple.line),
        Node::Test { line, .. } | Node::Arithmetic { line } => Some(*line),
        Node::Pipeline { nodes, .. } => nodes.first().and_then(first_line),
        Node::AndOr { first, .. } => first_line(first),
        _ => None,
    }
}

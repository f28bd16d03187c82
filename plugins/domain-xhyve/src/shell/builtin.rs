//! Commands of the shell itself.

use std::rc::Rc;

use super::ast::{Part, Simple};
use super::condition::holds;
use super::follow::{Flow, Follower};
use super::state::{State, Status, Variable};
use super::{Field, ShellError, Unknown};

impl Follower<'_> {
    /// Commands of the shell itself that matter here; `None` for all others.
    pub(super) fn builtin(
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
            Some("shift") => state.positional = state.positional.get(1..).unwrap_or_default().into(),
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
                if let Some(Part::Text { text, .. }) = word.parts.first()
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

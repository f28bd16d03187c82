//! Words to fields.

use std::rc::Rc;

use super::ast::{Index, OperatorKind, Parameter, Part, Word};
use super::follow::Follower;
use super::state::{Directory, State, Status, Variable};
use super::{Field, ShellError, Unknown, Value};

/// Longest value, in bytes.
const MAX_VALUE: usize = 64 << 10;
/// Most fields of a command.
const MAX_FIELDS: usize = 4096;
/// Variables that a shell takes from its surroundings.
const ENVIRONMENT: [&str; 13] = [
    "HOME",
    "USER",
    "LOGNAME",
    "PATH",
    "OLDPWD",
    "SHELL",
    "TMPDIR",
    "HOSTNAME",
    "RANDOM",
    "UID",
    "EUID",
    "SUDO_USER",
    "BASH_SOURCE",
];

/// Fields of a command in the making.
struct Fields {
    done: Vec<Field>,
    current: Option<Value>,
    line: u32,
}

impl Fields {
    fn add(&mut self, text: &str) -> Result<(), ShellError> {
        match &mut self.current {
            None => self.current = Some(Ok(text.into())),
            Some(Err(_)) => {}
            Some(Ok(_)) if text.is_empty() => {}
            Some(Ok(value)) => {
                let joined = format!("{value}{text}");
                check_length(&joined, self.line)?;
                *value = joined.into();
            }
        }
        Ok(())
    }

    fn add_value(&mut self, value: &Value) -> Result<(), ShellError> {
        match value {
            Ok(text) => self.add(text),
            Err(why) => {
                if !matches!(self.current, Some(Err(_))) {
                    self.current = Some(Err(Rc::clone(why)));
                }
                Ok(())
            }
        }
    }

    fn end(&mut self) -> Result<(), ShellError> {
        let Some(value) = self.current.take() else { return Ok(()) };
        if self.done.len() == MAX_FIELDS {
            let (line, most) = (self.line, MAX_FIELDS);
            return Err(ShellError::Limit { line, most, what: "words in a command" });
        }
        self.done.push(Field { value, line: self.line });
        Ok(())
    }

    /// A value outside quotes: blanks in it end words.
    fn split(&mut self, value: &Value, separators: &Value) -> Result<(), ShellError> {
        let (text, separators) = match (value, separators) {
            (Ok(text), Ok(separators)) => (text, separators),
            (Err(why), _) | (_, Err(why)) => return self.add_value(&Err(Rc::clone(why))),
        };
        let mut word = String::new();
        for c in text.chars() {
            if !separators.contains(c) {
                word.push(c);
                continue;
            }
            // Blanks come in runs; any other separator ends a word, an empty one too.
            if !word.is_empty() || !c.is_ascii_whitespace() {
                self.add(&std::mem::take(&mut word))?;
            }
            self.end()?;
        }
        if !word.is_empty() {
            self.add(&word)?;
        }
        Ok(())
    }
}

/// Bytes of a value, with some for keeping it.
fn length(value: &Value) -> usize {
    16 + value.as_ref().map_or(0, |text| text.len())
}

fn check_length(text: &str, line: u32) -> Result<(), ShellError> {
    if text.len() > MAX_VALUE {
        return Err(ShellError::Limit { line, most: MAX_VALUE, what: "bytes in a value" });
    }
    Ok(())
}

/// What a parameter stands for.
enum Expansion {
    One(Value),
    /// Several words inside quotes too.
    Many(Rc<[Value]>),
}

impl Follower<'_> {
    /// The fields that words become.
    pub(super) fn fields(&mut self, words: &[Word], state: &mut State) -> Result<Vec<Field>, ShellError> {
        let mut fields = Fields { done: Vec::new(), current: None, line: 0 };
        let mut counted = 0;
        for word in words {
            fields.line = word.line;
            self.step(word.line)?;
            self.expand(word, state, &mut fields, false)?;
            fields.end()?;
            let made = fields.done.get(counted..).unwrap_or_default();
            self.spend(made.iter().map(|field| length(&field.value)).sum(), word.line)?;
            counted = fields.done.len();
        }
        Ok(fields.done)
    }

    /// The value of a word where it is not split: in assignments and after `case`.
    pub(super) fn value(&mut self, word: &Word, state: &mut State) -> Result<Value, ShellError> {
        let mut fields = Fields { done: Vec::new(), current: Some(Ok("".into())), line: word.line };
        self.expand(word, state, &mut fields, true)?;
        fields.end()?;
        let mut values = fields.done.into_iter().map(|field| field.value);
        let first = values.next().unwrap_or(Ok("".into()));
        let value = values.try_fold(first, |joined, value| join(joined, value, word.line))?;
        self.spend(length(&value), word.line)?;
        Ok(value)
    }

    fn expand(
        &mut self,
        word: &Word,
        state: &mut State,
        fields: &mut Fields,
        whole: bool,
    ) -> Result<(), ShellError> {
        let separators = match state.get("IFS") {
            Some(Variable::One(value)) => value.clone(),
            _ => Ok(" \t\n".into()),
        };
        // "$@" without arguments is no word, though the quotes alone would be one.
        let (mut vanished, mut solid) = (false, false);
        for part in &word.parts {
            solid |= !matches!(part, Part::Text { text, .. } if text.is_empty())
                && !matches!(part, Part::Parameter { .. });
            match part {
                Part::Text { text, .. } => fields.add(text)?,
                Part::Unknown { what, line, .. } => {
                    fields.add_value(&Err(Rc::new(Unknown { line: *line, what: (*what).to_owned() })))?;
                }
                Part::ScriptDirectory => {
                    let directory = self.start.unwrap_or(".");
                    fields.add(directory)?;
                }
                Part::Parameter { parameter, quoted, line } => {
                    let quoted = *quoted || whole;
                    match self.parameter(parameter, quoted, *line, state)? {
                        Expansion::One(value) if quoted => {
                            solid = true;
                            fields.add_value(&value)?;
                        }
                        Expansion::One(value) => {
                            solid = true;
                            fields.split(&value, &separators)?;
                        }
                        Expansion::Many(values) => {
                            vanished |= values.is_empty();
                            solid |= !values.is_empty();
                            for (index, value) in values.iter().enumerate() {
                                if index > 0 {
                                    fields.end()?;
                                }
                                if quoted {
                                    fields.add_value(value)?;
                                } else {
                                    fields.split(value, &separators)?;
                                }
                            }
                        }
                    }
                }
            }
        }
        if vanished && !solid {
            fields.current = None;
        }
        Ok(())
    }

    fn parameter(
        &mut self,
        parameter: &Parameter,
        quoted: bool,
        line: u32,
        state: &mut State,
    ) -> Result<Expansion, ShellError> {
        self.step(line)?;
        let found = look_up(parameter, quoted, line, state)?;
        let Some(operator) = &parameter.operator else {
            return Ok(found.unwrap_or_else(|| {
                self.note_unset(&parameter.name, line);
                Expansion::One(Ok("".into()))
            }));
        };
        let empty = match &found {
            None => true,
            Some(Expansion::One(Ok(text))) => operator.or_empty && text.is_empty(),
            Some(Expansion::Many(values)) => operator.or_empty && values.is_empty(),
            // Whether it is set at all is not known.
            Some(Expansion::One(Err(_))) => return Ok(found.unwrap_or(Expansion::Many(Rc::new([])))),
        };
        match (operator.kind, empty) {
            (OperatorKind::Alternative, true) => Ok(Expansion::One(Ok("".into()))),
            (OperatorKind::Alternative, false) | (OperatorKind::Default, true) => {
                self.value(&operator.word, state).map(Expansion::One)
            }
            (OperatorKind::Assign, true) => {
                let value = self.value(&operator.word, state)?;
                self.assign(&parameter.name, Variable::One(value.clone()), line, state)?;
                Ok(Expansion::One(value))
            }
            (OperatorKind::Require, true) => Ok(Expansion::One(Err(Rc::new(Unknown {
                line,
                what: format!("the variable {}, which the script asks for,", parameter.name),
            })))),
            _ => Ok(found.unwrap_or(Expansion::One(Ok("".into())))),
        }
    }
}

/// `None`: not set.
fn look_up(
    parameter: &Parameter,
    quoted: bool,
    line: u32,
    state: &State,
) -> Result<Option<Expansion>, ShellError> {
    let name = parameter.name.as_str();
    let unknown = |what: String| Some(Expansion::One(Err(Rc::new(Unknown { line, what }))));
    let first = name.chars().next().unwrap_or('?');
    if first.is_ascii_digit() {
        let Ok(number) = name.parse::<usize>() else { return Ok(None) };
        if number == 0 {
            return Ok(unknown("the script's own path ($0)".to_owned()));
        }
        return Ok(state.positional.get(number - 1).cloned().map(Expansion::One));
    }
    match name {
        "@" => return Ok(Some(Expansion::Many(Rc::clone(&state.positional)))),
        "*" => return several(&state.positional, quoted, line).map(Some),
        "#" => {
            let unknown = state.positional.iter().find_map(|value| value.as_ref().err());
            let count: Value = match unknown {
                Some(why) => Err(Rc::clone(why)),
                None => Ok(state.positional.len().to_string().into()),
            };
            return Ok(Some(Expansion::One(count)));
        }
        "?" => {
            return Ok(match &state.status {
                Status::Known(success) => Some(Expansion::One(Ok(if *success { "0" } else { "1" }.into()))),
                Status::Unknown(_) => unknown("a command's exit status ($?)".to_owned()),
            });
        }
        "PWD" => {
            return Ok(match &state.directory {
                Directory::Absolute(path) => Some(Expansion::One(Ok(path.as_str().into()))),
                Directory::Relative(_) => unknown("the directory of the script ($PWD)".to_owned()),
                Directory::Unknown(why) => Some(Expansion::One(Err(Rc::clone(why)))),
            });
        }
        "$" | "!" | "-" => return Ok(unknown(format!("a number of the shell (${name})"))),
        _ => {}
    }
    let variable = match state.get(name) {
        Some(variable) => variable,
        None if ENVIRONMENT.contains(&name) => {
            return Ok(unknown(format!("the environment variable {name}")));
        }
        None => return Ok(state.sourced.clone().map(|why| Expansion::One(Err(why)))),
    };
    match (variable, parameter.index) {
        (Variable::Unset, _) => Ok(None),
        (Variable::One(value), None | Some(Index::All | Index::Joined | Index::At(0))) => {
            Ok(Some(Expansion::One(value.clone())))
        }
        (Variable::One(_), Some(Index::At(_))) => Ok(None),
        (Variable::Many(values), Some(Index::All)) => Ok(Some(Expansion::Many(values.clone()))),
        (Variable::Many(values), Some(Index::Joined)) => several(values, quoted, line).map(Some),
        (Variable::Many(values), Some(Index::At(at))) => Ok(values.get(at).cloned().map(Expansion::One)),
        (Variable::Many(values), None) => Ok(values.first().cloned().map(Expansion::One)),
    }
}

/// `$*` and `${name[*]}`.
fn several(values: &Rc<[Value]>, quoted: bool, line: u32) -> Result<Expansion, ShellError> {
    if !quoted {
        return Ok(Expansion::Many(Rc::clone(values)));
    }
    let mut joined: Value = Ok("".into());
    for (index, value) in values.iter().enumerate() {
        joined = if index == 0 { value.clone() } else { join(joined, value.clone(), line)? };
    }
    Ok(Expansion::One(joined))
}

/// Two values with a blank between them.
fn join(first: Value, second: Value, line: u32) -> Result<Value, ShellError> {
    match (first, second) {
        (Ok(first), Ok(second)) => {
            let joined = format!("{first} {second}");
            check_length(&joined, line)?;
            Ok(Ok(joined.into()))
        }
        (Err(why), _) | (_, Err(why)) => Ok(Err(why)),
    }
}

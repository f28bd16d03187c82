//! What is known at a point of a script.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::{Unknown, Value};

/// Where a script is, relative to where it was started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Directory {
    /// Below where it was started; empty: there.
    Relative(String),
    Absolute(String),
    Unknown(Rc<Unknown>),
}

/// What a variable holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Variable {
    Unset,
    One(Value),
    /// An array.
    Many(Vec<Value>),
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Status {
    Known(bool),
    /// Line of the command.
    Unknown(u32),
}

#[derive(Debug, Clone)]
pub(super) struct State {
    variables: BTreeMap<Rc<str>, Variable>,
    pub(super) positional: Vec<Value>,
    pub(super) directory: Directory,
    /// A file was read into the script, which may set any variable.
    pub(super) sourced: Option<Rc<Unknown>>,
    /// Of the last command.
    pub(super) status: Status,
}

impl State {
    pub(super) fn new(directory: Option<&str>) -> Self {
        let directory = directory.map(|path| Directory::Absolute(path.to_owned()));
        Self {
            variables: BTreeMap::new(),
            positional: Vec::new(),
            directory: directory.unwrap_or(Directory::Relative(String::new())),
            sourced: None,
            status: Status::Known(true),
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<&Variable> {
        self.variables.get(name)
    }

    pub(super) fn count(&self) -> usize {
        self.variables.len()
    }

    pub(super) fn set(&mut self, name: &str, variable: Variable) {
        match self.variables.get_mut(name) {
            Some(place) => *place = variable,
            None => drop(self.variables.insert(name.into(), variable)),
        }
    }

    /// What holds whichever of two ways was taken; `line` is that of the condition.
    pub(super) fn merge(mut self, other: Self, line: u32) -> Self {
        let why = Rc::new(Unknown { line, what: "what a condition decides".to_owned() });
        let names: Vec<Rc<str>> = self.variables.keys().chain(other.variables.keys()).cloned().collect();
        let unset = Variable::Unset;
        for name in names {
            let (ours, theirs) = (self.variables.get(&name), other.variables.get(&name));
            if ours.unwrap_or(&unset) != theirs.unwrap_or(&unset) {
                self.variables.insert(name, Variable::One(Err(Rc::clone(&why))));
            }
        }
        if self.directory != other.directory {
            self.directory = Directory::Unknown(Rc::clone(&why));
        }
        if self.positional != other.positional {
            self.positional = vec![Err(why)];
        }
        self.sourced = self.sourced.or(other.sourced);
        if self.status != other.status {
            self.status = Status::Unknown(line);
        }
        self
    }
}

impl Directory {
    /// After `cd`.
    pub(super) fn enter(&self, to: &Value) -> Self {
        let to = match to {
            Ok(to) => to,
            Err(why) => return Self::Unknown(Rc::clone(why)),
        };
        match self {
            _ if to.starts_with('/') => Self::Absolute(to.to_string()),
            Self::Unknown(why) => Self::Unknown(Rc::clone(why)),
            Self::Absolute(from) => Self::Absolute(format!("{from}/{to}")),
            Self::Relative(from) if from.is_empty() => Self::Relative(to.to_string()),
            Self::Relative(from) => Self::Relative(format!("{from}/{to}")),
        }
    }
}

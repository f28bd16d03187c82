//! The part of the shell's language that scripts around a hypervisor are written in, read without running anything.
//!
//! A script is followed as a shell without arguments would follow it. What only running could tell (the output of a
//! command, a file's existence, the environment) is an [`Unknown`]: it does no harm until a word of a hypervisor's command
//! line depends on it, and is the reason for refusing that word then. A condition that cannot be known is followed both
//! ways: what both ways agree on is known afterwards; a way that ends the script is taken for a check that did not strike.
//!
//! The grammar is that of the POSIX shell, chapter 2 of its volume on shell and utilities, with arrays, `[[` and `$'...'`
//! of bash.

mod ast;
mod condition;
mod expand;
mod follow;
mod lexer;
mod parser;
mod pattern;
mod state;
mod substitution;

use std::rc::Rc;

pub(crate) use follow::follow;
pub(crate) use state::Directory;

/// Most bytes of a script.
pub(crate) const MAX_TEXT: usize = 256 << 10;

/// Why a word is not known, and where that comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unknown {
    /// Line of the cause, from 1.
    pub(crate) line: u32,
    /// The cause, to be continued with "is only known when the script runs".
    pub(crate) what: String,
}

/// A value, or why it is not known.
pub(crate) type Value = Result<Rc<str>, Rc<Unknown>>;

/// A word of a command, as the shell would pass it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Field {
    pub(crate) value: Value,
    /// Line of the word, from 1.
    pub(crate) line: u32,
}

/// A command that would be run.
#[derive(Debug, Clone)]
pub(crate) struct Command {
    /// Program and arguments.
    pub(crate) words: Vec<Field>,
    pub(crate) line: u32,
    /// Where the script is by then.
    pub(crate) directory: Directory,
    /// Line of a condition that is not known, and that this command depends on.
    pub(crate) condition: Option<u32>,
    /// Whether it is in a loop.
    pub(crate) in_loop: bool,
}

/// What a script does, as far as it matters here.
#[derive(Debug, Default)]
pub(crate) struct Script {
    /// Commands that the caller asked for, in order.
    pub(crate) commands: Vec<Command>,
    /// Variables that are used without being set, with the line of the first use.
    pub(crate) unset: Vec<(String, u32)>,
    /// Lines of conditions that are taken not to strike, since they would end the script.
    pub(crate) guards: Vec<u32>,
}

/// Why a text is no script that can be followed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ShellError {
    /// Not the shell's grammar, or a part of it that is not read.
    #[error("line {line}: {what}")]
    Syntax {
        /// From 1.
        line: u32,
        /// What was found, and what was expected.
        what: String,
    },
    /// A bound was passed.
    #[error("line {line}: more than {most} {what}")]
    Limit {
        /// From 1.
        line: u32,
        /// The bound.
        most: usize,
        /// Of what.
        what: &'static str,
    },
}

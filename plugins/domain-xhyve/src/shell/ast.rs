//! A script's structure.

use std::rc::Rc;

/// Commands one after another.
pub(super) type List = Vec<Node>;

#[derive(Debug, Clone)]
pub(super) enum Node {
    Simple(Simple),
    /// `[[ ... ]]`; `complex` with operators that are not followed.
    Test {
        words: Vec<Word>,
        complex: bool,
        line: u32,
    },
    /// `(( ... ))`.
    Arithmetic {
        line: u32,
    },
    Pipeline {
        nodes: List,
        negated: bool,
    },
    /// `first` and what `&&` (true) or `||` (false) join to it.
    AndOr {
        first: Box<Node>,
        rest: Vec<(bool, Node)>,
    },
    If {
        arms: Vec<(List, List)>,
        otherwise: List,
        line: u32,
    },
    Loop {
        until: bool,
        condition: List,
        body: List,
        line: u32,
    },
    For {
        name: String,
        words: Option<Vec<Word>>,
        body: List,
        line: u32,
    },
    Case {
        subject: Word,
        arms: Vec<(Vec<Word>, List)>,
        line: u32,
    },
    Group(List),
    Subshell(List),
    Function {
        name: String,
        body: Rc<Node>,
    },
}

#[derive(Debug, Clone)]
pub(super) struct Simple {
    pub(super) assignments: Vec<Assignment>,
    pub(super) words: Vec<Word>,
    pub(super) line: u32,
}

#[derive(Debug, Clone)]
pub(super) struct Assignment {
    pub(super) name: String,
    /// `+=`.
    pub(super) append: bool,
    pub(super) value: Assigned,
    pub(super) line: u32,
}

#[derive(Debug, Clone)]
pub(super) enum Assigned {
    Scalar(Word),
    Array(Vec<Word>),
}

/// A word before expansion.
#[derive(Debug, Clone, Default)]
pub(super) struct Word {
    pub(super) parts: Vec<Part>,
    pub(super) line: u32,
}

#[derive(Debug, Clone)]
pub(super) enum Part {
    Text {
        text: String,
        quoted: bool,
    },
    Parameter {
        parameter: Parameter,
        quoted: bool,
        line: u32,
    },
    /// What only running tells.
    Unknown {
        what: &'static str,
        line: u32,
    },
}

/// `$name` or `${name...}`.
#[derive(Debug, Clone)]
pub(super) struct Parameter {
    pub(super) name: String,
    /// `[@]`, `[*]` or a number.
    pub(super) index: Option<Index>,
    pub(super) operator: Option<Operator>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Index {
    All,
    Joined,
    At(usize),
}

/// `:-` and its kin.
#[derive(Debug, Clone)]
pub(super) struct Operator {
    pub(super) kind: OperatorKind,
    /// With a colon: empty counts as unset.
    pub(super) or_empty: bool,
    pub(super) word: Word,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OperatorKind {
    Default,
    Assign,
    Require,
    Alternative,
}

impl Word {
    /// The text, where it is one without quotes and expansions.
    pub(super) fn plain(&self) -> Option<&str> {
        match self.parts.as_slice() {
            [Part::Text { text, quoted: false }] => Some(text),
            _ => None,
        }
    }
}

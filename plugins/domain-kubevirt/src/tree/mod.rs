//! The text as a tree of values, with lines, marks of what has been read, and what is to be said of it.
//!
//! YAML and JSON become the same [`Tree`]: an arena, so that instancetypes, preferences and defaults can be written into a
//! machine before it is read, and every value still knows its path, its line, and which object it came from.

mod edit;
mod field;
mod findings;
mod json;
mod scalar;
mod unread;
mod yaml;

pub(crate) use field::{Field, Waiver};
pub(crate) use findings::quote;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use findings::Findings;

/// Most bytes of a text.
const MAX_TEXT: usize = 4 << 20;
/// Most values in a text, those that aliases repeat included.
const MAX_NODES: usize = 1 << 16;
/// Most levels of maps and lists.
const MAX_DEPTH: usize = 64;

/// Why a text cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ParseError {
    /// A bound was passed.
    #[error("the document has more than {most} {what}, at line {line}")]
    TooLarge {
        /// What there is too much of.
        what: &'static str,
        /// The bound.
        most: usize,
        /// Where it was passed.
        line: u32,
    },
    /// Not YAML or JSON.
    #[error("not YAML: {reason}, at line {line}")]
    Syntax {
        /// What is wrong.
        reason: String,
        /// Where.
        line: u32,
    },
}

/// A value's place in the arena.
pub(crate) type Id = u32;

/// What a value is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Kind {
    Null,
    Bool(bool),
    Number(serde_json::Number),
    Text(Box<str>),
    List(Vec<Id>),
    Map(Vec<(Box<str>, Id)>),
}

impl Kind {
    /// For messages.
    fn name(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::Text(_) => "a string",
            Self::List(_) => "a list",
            Self::Map(_) => "an object",
        }
    }
}

struct Node {
    kind: Kind,
    line: u32,
    /// Where it hangs; itself for the root of a document.
    parent: Id,
    /// Which of [`Tree::origins`] it was copied from.
    origin: u16,
    read: Cell<bool>,
}

/// All documents of a text.
pub(crate) struct Tree {
    nodes: Vec<Node>,
    /// Roots of the documents, in their order.
    documents: Vec<Id>,
    /// Objects, and what their paths start with.
    objects: BTreeMap<Id, String>,
    /// What values are copied from; the first is the text itself.
    origins: Vec<String>,
    /// Names that were asked for in maps.
    asked: RefCell<BTreeMap<Id, Vec<&'static str>>>,
    findings: RefCell<Findings>,
}

impl Tree {
    /// Reads YAML or JSON, one or many documents.
    ///
    /// # Errors
    /// See [`ParseError`].
    pub(crate) fn parse(text: &str) -> Result<Self, ParseError> {
        if text.len() > MAX_TEXT {
            return Err(ParseError::TooLarge { what: "bytes", most: MAX_TEXT, line: 1 });
        }
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        if text.trim_start().starts_with(['{', '[']) {
            // YAML has no pairs of surrogates, and flow style in YAML may start alike.
            let mut tree = Self::empty();
            if json::parse(text, &mut tree).is_ok() {
                return Ok(tree);
            }
        }
        let mut tree = Self::empty();
        yaml::parse(text, &mut tree)?;
        Ok(tree)
    }

    fn empty() -> Self {
        Self {
            nodes: Vec::new(),
            documents: Vec::new(),
            objects: BTreeMap::new(),
            origins: vec![String::new()],
            asked: RefCell::default(),
            findings: RefCell::default(),
        }
    }

    /// Roots of the documents.
    pub(crate) fn documents(&self) -> &[Id] {
        &self.documents
    }

    /// Says that an object starts at a value, and what paths in it start with; "" for the machine itself.
    pub(crate) fn name_object(&mut self, id: Id, prefix: String) {
        self.objects.insert(id, prefix);
    }

    /// A view of a value.
    pub(crate) fn field(&self, id: Id) -> Field<'_> {
        Field { tree: self, id }
    }

    pub(crate) fn kind(&self, id: Id) -> &Kind {
        &self.nodes[id as usize].kind
    }

    pub(crate) fn line(&self, id: Id) -> u32 {
        self.node(id).line
    }

    fn node(&self, id: Id) -> &Node {
        &self.nodes[id as usize]
    }

    /// Adds a value; `None` when the tree is full.
    fn push(&mut self, kind: Kind, line: u32, origin: u16) -> Option<Id> {
        if self.nodes.len() >= MAX_NODES {
            return None;
        }
        let id = self.nodes.len() as Id;
        self.nodes.push(Node { kind, line, parent: id, origin, read: Cell::new(false) });
        Some(id)
    }

    /// Like `spec.domain.devices.disks[1].tag`, from the object that the value is in.
    pub(crate) fn path(&self, id: Id) -> String {
        let mut steps = Vec::new();
        let mut at = id;
        let mut prefix = "";
        loop {
            if let Some(found) = self.objects.get(&at) {
                prefix = found;
                break;
            }
            let parent = self.node(at).parent;
            if parent == at {
                break;
            }
            steps.push((parent, at));
            at = parent;
        }
        let mut path = prefix.to_owned();
        for (parent, child) in steps.into_iter().rev() {
            match self.kind(parent) {
                Kind::Map(entries) => {
                    let name = entries.iter().find(|(_, id)| *id == child).map_or("", |(name, _)| name);
                    push_name(&mut path, name);
                }
                Kind::List(items) => {
                    let index = items.iter().position(|id| *id == child).unwrap_or(0);
                    path.push_str(&format!("[{index}]"));
                }
                _ => {}
            }
        }
        path
    }

    /// A value with all that is in it as JSON; nothing is marked.
    pub(crate) fn to_json(&self, id: Id) -> serde_json::Value {
        json::write(self, id)
    }
}

/// Adds a name to a path; one with other than the usual characters in brackets and quotes, cut where it is long.
fn push_name(path: &mut String, name: &str) {
    const MOST: usize = 64;
    let end = name.floor_char_boundary(MOST);
    let dots = if end < name.len() { "..." } else { "" };
    let usual = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c));
    if !usual {
        path.push_str(&format!("[\"{}{dots}\"]", name[..end].escape_debug()));
        return;
    }
    if !path.is_empty() && !path.ends_with(':') {
        path.push('.');
    }
    path.push_str(&name[..end]);
    path.push_str(dots);
}

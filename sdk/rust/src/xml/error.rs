//! Why a text is no document.

use std::fmt;

use super::character::is_allowed;

/// Most bytes of a document; the contract's own bound.
pub const MAX_BYTES: usize = 4 << 20;
/// Most elements inside each other.
pub const MAX_DEPTH: usize = 64;
/// Most attributes of one element, namespace declarations included.
pub const MAX_ATTRIBUTES: usize = 64;
/// Most elements, texts, comments and processing instructions together.
pub const MAX_NODES: usize = 1 << 16;
/// Most namespace declarations of a document.
pub const MAX_NAMESPACES: usize = 256;
/// Most bytes of a name.
pub const MAX_NAME: usize = 1024;

/// Why a text is no document, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{fault} (line {line}, column {column})")]
pub struct ParseError {
    /// What is wrong.
    pub fault: Fault,
    /// From 1.
    pub line: u32,
    /// In characters, from 1.
    pub column: u32,
}

/// What is wrong with a document.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// A bound was passed.
    TooMany {
        /// Of what.
        what: &'static str,
        /// The bound.
        most: usize,
    },
    /// A document type declaration, which could define entities.
    Doctype,
    /// The text ended inside something.
    EndsIn(&'static str),
    /// Something else should stand here.
    Expected(&'static str),
    /// A character that XML cannot have, or not here.
    Character(char),
    /// `]]>` in a text.
    SectionEnd,
    /// `--` in a comment.
    CommentDashes,
    /// A reference to anything but the five entities of XML and characters.
    Reference(String),
    /// No name of an element or attribute.
    Name(String),
    /// An end tag of another element than the one that is open.
    EndTag {
        /// The element that is open.
        open: String,
        /// The line it begins in.
        line: u32,
        /// What the end tag says.
        found: String,
    },
    /// An attribute a second time.
    Repeated(String),
    /// A prefix that no namespace is declared for.
    Prefix(String),
    /// A namespace declaration that is not allowed.
    Declaration(String),
    /// A processing instruction called xml that is no XML declaration at the beginning.
    XmlDeclaration,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooMany { what, most } => write!(f, "the document has more than {most} {what}"),
            Self::Doctype => f.write_str("document type declarations are not allowed: remove the <!DOCTYPE>"),
            Self::EndsIn(what) => write!(f, "the document ends inside {what}"),
            Self::Expected(what) => write!(f, "expected {what}"),
            Self::Character(c) if is_allowed(*c) => write!(f, "'{}' is not allowed here", c.escape_debug()),
            Self::Character(c) => write!(f, "XML cannot have the character {}", c.escape_unicode()),
            Self::SectionEnd => f.write_str("\"]]>\" in a text: write \"]]&gt;\""),
            Self::CommentDashes => f.write_str("\"--\" inside a comment"),
            Self::Reference(name) => {
                let name = name.escape_debug();
                write!(
                    f,
                    "&{name}; is not known: XML has &lt; &gt; &amp; &quot; &apos; and characters like &#10;"
                )
            }
            Self::Name(name) => write!(f, "\"{}\" is no name", name.escape_debug()),
            Self::EndTag { open, line, found } => {
                write!(f, "</{found}> where <{open}> of line {line} is to be closed")
            }
            Self::Repeated(name) => write!(f, "the attribute {name} stands here twice"),
            Self::Prefix(prefix) => {
                write!(f, "no namespace is declared for the prefix {prefix}: add xmlns:{prefix}=\"...\"")
            }
            Self::Declaration(name) => write!(f, "the namespace declaration {name} is not allowed"),
            Self::XmlDeclaration => {
                f.write_str("<?xml ...?> is only allowed as the very beginning, with version=\"1.0\" first")
            }
        }
    }
}

/// As much of a name as belongs into a message.
pub(super) fn clipped(name: &str) -> String {
    let end = name.floor_char_boundary(64);
    let dots = if end < name.len() { "..." } else { "" };
    format!("{}{dots}", &name[..end])
}

//! XML that plugins edit: a lossless, namespace-aware tree. What was not edited is written as it was read, byte for byte:
//! comments, order, unknown elements, prefixes, quotes, blanks. An edit touches its place alone, and what is new is indented
//! as its neighbours are.
//!
//! XML 1.0 with namespaces, with two restrictions for texts of strangers: document type declarations are refused, and with
//! them all entities but the five that everybody has, and there are bounds ([`MAX_BYTES`], [`MAX_DEPTH`], [`MAX_NODES`],
//! [`MAX_ATTRIBUTES`], [`MAX_NAMESPACES`], [`MAX_NAME`]). See <https://www.w3.org/TR/xml/> and
//! <https://www.w3.org/TR/xml-names/>.
//!
//! ```
//! use witvirt_sdk::xml::{Document, Element};
//!
//! let source = "<domain>\n  <devices>\n    <disk type='file'/> <!-- root -->\n  </devices>\n</domain>\n";
//! let mut document = Document::parse(source).unwrap();
//! assert_eq!(document.to_string(), source);
//!
//! let disk = document.find(document.root(), "devices/disk").unwrap();
//! document.set_attribute(disk, "device", "cdrom");
//! let devices = document.parent(disk).unwrap();
//! document.append(devices, Element::new("rng").child(Element::new("backend").text("/dev/urandom")));
//! assert_eq!(
//!     document.to_string(),
//!     "<domain>\n  <devices>\n    <disk type='file' device='cdrom'/> <!-- root -->\n    \
//!      <rng>\n      <backend>/dev/urandom</backend>\n    </rng>\n  </devices>\n</domain>\n"
//! );
//! ```

mod build;
mod character;
mod edit;
mod element;
mod error;
mod layout;
mod parse;
mod print;
mod read;
mod tree;

pub use element::Element;
pub use error::{
    Fault, MAX_ATTRIBUTES, MAX_BYTES, MAX_DEPTH, MAX_NAME, MAX_NAMESPACES, MAX_NODES, ParseError,
};
pub use read::Attribute;
pub use tree::{Document, Id};

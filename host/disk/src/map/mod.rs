//! The maps of format plugins: checked page by page, merged over a chain of images.

mod chain;
mod layer;
mod merge;
mod name;
mod parent;
mod probe;
mod raw;
mod validator;

pub(crate) use chain::{Chain, plugin_for};
pub(crate) use merge::{Codec, EncodedPiece, Piece, PieceKind, Survey};
pub(crate) use parent::{Stored, StoredImages};
pub(crate) use probe::Ends;
pub use validator::{Validator, Violation};

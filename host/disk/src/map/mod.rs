//! The maps of format plugins: checked page by page, merged over a chain of images.

mod chain;
mod layer;
mod merge;
mod name;
mod parent;
mod raw;
mod validator;

pub(crate) use chain::Chain;
pub(crate) use merge::{Codec, EncodedPiece, Piece, PieceKind, Survey};
pub use validator::{Validator, Violation};

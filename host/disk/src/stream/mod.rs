//! Images that arrive as a stream: unpacked, hashed and handed on while they arrive.

mod transport;

pub use transport::{InvalidUnpack, Transport, Unpack};

//! Images that arrive as a stream: unpacked, hashed and handed on while they arrive.
//!
//! ```text
//! source -> Incoming (a thread reads and hashes) -> decoders, a member of an archive -> RawStream: straight into the target
//!                                                                                   \-> Spool: a plugin's map over it
//! ```
//!
//! Everything between is bounded: a few megabytes wait for the next stage, and a stream that nobody reads stops.

mod blocks;
mod budget;
mod decode;
mod hash;
mod holes;
mod incoming;
mod intervals;
mod lz4;
mod open;
mod raw;
mod spool;
mod tar;
mod transport;
mod window;

pub(crate) use blocks::Blocks;
pub(crate) use budget::Budget;
pub(crate) use hash::{Hashers, SavedHashers, hex, unhex};
pub(crate) use holes::{Plain, Stream};
pub(crate) use incoming::{Arrival, Beginning, Incoming, failure};
pub(crate) use open::{Arriving, Plan, Unwrapped, Wrappings, unwrap_source, unwrap_stream};
pub(crate) use raw::{Leaf, RawStream};
pub(crate) use spool::{Ahead, Remote, Spool, Spooling};
pub use tar::Whiteouts;
pub(crate) use tar::{Meant, Skip};
pub use transport::{InvalidUnpack, Transport, Unpack};

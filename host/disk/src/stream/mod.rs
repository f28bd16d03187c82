//! Images that arrive as a stream: unpacked, hashed and handed on while they arrive.
//!
//! ```text
//! source -> Incoming (a thread reads and hashes) -> decoders, a member of an archive -> RawStream: straight into the target
//!                                                                                   \-> Spool: a plugin's map over it
//! ```
//!
//! Everything between is bounded: a few megabytes wait for the next stage, and a stream that nobody reads stops.

mod decode;
mod hash;
mod incoming;
mod intervals;
mod lz4;
mod open;
mod raw;
mod spool;
mod tar;
mod transport;

pub(crate) use hash::{Hashers, SavedHashers, hex, unhex};
pub(crate) use incoming::{Arrival, Beginning, Incoming, failure};
pub(crate) use open::{Arriving, Plan, Unwrapped, Wrappings, unwrap_source, unwrap_stream};
pub(crate) use raw::{Leaf, RawStream};
pub(crate) use spool::{Remote, Spool, Spooling};
pub(crate) use tar::Skip;
pub use transport::{InvalidUnpack, Transport, Unpack};

//! Objects behind HTTP: what is known of them, reading ranges, reading on after a cut.

mod blob;
mod facts;
mod reader;

pub(crate) use blob::RemoteBlob;
pub(crate) use reader::Remote;

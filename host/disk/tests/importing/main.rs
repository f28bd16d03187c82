//! Importing from wherever an image comes: streams, archives, servers that cut and lie, pieces, directories.
#![allow(missing_docs)]

mod artifact;
mod beside;
mod bounds;
mod covered;
mod directory;
mod endings;
mod fake;
#[path = "../formats/mod.rs"]
mod formats;
mod memory;
mod remote;
mod resume;
mod sharing;
mod transports;

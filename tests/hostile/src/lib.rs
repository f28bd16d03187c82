//! Images that were made to do harm, and what becomes of an import of each.
//!
//! [`cases::all`] makes them, a few for every way in which a format or a transport can be abused. [`run`] imports one
//! by the path that a daemon takes (components of `target/plugins` under the limits of `config/witvirt.toml`, the store) in
//! a process of its own and judges the end of it: [`case::Verdict`], the message, the time, the memory and what is left.

pub mod bytes;
pub mod case;
pub mod cases;
pub mod child;
pub mod corpus;
pub mod crc32c;
pub mod judge;
pub mod meddle;
pub mod plugins;
pub mod run;

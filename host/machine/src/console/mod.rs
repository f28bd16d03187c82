//! What guests print and what is typed to them.
//!
//! The hypervisor itself appends a guest's output to `console.log`, so that history is complete while no daemon runs. The
//! daemon notices growth by inotify, keeps a time index, and rotates: what goes beyond the limit moves to `console.log.1`,
//! which replaces an older one. Where the filesystem can take bytes out of the front of a file (ext4, XFS), rotation loses
//! nothing; elsewhere the file is copied and truncated, and bytes that arrive between the two calls are lost. While no
//! daemon runs, nothing is rotated.
//!
//! Positions are logical: they count from the first byte the machine ever printed and survive rotation and restarts.
//! Bytes are kept as the guest sent them; whoever shows them on a terminal has to make them safe.

mod index;
mod log;
mod reader;
mod rotate;
mod session;
#[cfg(test)]
mod tests;
mod watcher;

pub use reader::{LogChunk, LogQuery, LogReader};
pub use session::{ConsoleFrom, ConsoleInput, ConsoleOutput, ConsoleSession, SessionEvent};

pub(crate) use log::ConsoleLog;
pub(crate) use session::Sessions;
pub(crate) use watcher::{Watch, Watcher};

//! Admits machines as long as the host has room: bounds on the number of machines, their vCPUs and their memory, for the
//! host, for each machine and for each guest OS.
//!
//! What counts is what takes resources: machines that are starting, running, paused or stopping. A start is denied when it
//! would exceed a bound. A machine that could never start is denied when it is created or updated; one that only has no
//! room now is let through with a warning, because nothing is taken before it starts and the start is reviewed again.

#[cfg(target_family = "wasm")]
mod glue;
mod host;
pub mod judge;
pub mod settings;

pub use witvirt_sdk::{Error, ErrorKind};

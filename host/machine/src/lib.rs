//! Machines: the pure state machine, a driver task for each, their state on disk, and their consoles.
//!
//! ```text
//!  Machines ── mailbox ──> Driver (one task per machine) ── effects ──> Instance (hypervisor)
//!     ^                      │  ^                                           │
//!     └── watch: Published ──┘  └──────────────── events, timers ───────────┘
//!                            v
//!                  STATE/machines/NAME/state.json   (written before each effect)
//! ```
//!
//! [`Machines`] is the whole interface for the daemon. [`state`] decides, the driver acts, `storage` remembers, `console`
//! keeps what guests print. Machines outlive the daemon: dropping [`Machines`] ends none of them, and [`Machines::open`]
//! finds them again.
#![forbid(unsafe_code)]

mod blocking;
mod console;
mod driver;
mod error;
mod machines;
mod options;
mod resources;
pub mod state;
mod status;
mod storage;
mod time;

pub use console::{
    ConsoleFrom, ConsoleInput, ConsoleOutput, ConsoleSession, LogChunk, LogQuery, LogReader, SessionEvent,
};
pub use error::{Error, ErrorKind};
pub use machines::Machines;
pub use options::MachinesOptions;
pub use resources::{ResourceError, Resources};
pub use state::{Backoff, Desired, State};
pub use status::{
    Arrival, ArrivingDisk, Condition, EventKind, ExitInfo, MachineDetail, MachineEvent, MachineStatus,
};
pub use time::{Clock, InvalidTimestamp, Timestamp};

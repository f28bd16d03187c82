//! Moving the bytes of a merged map into a file.
//!
//! One thread plans ([`Planner`]): it alone talks to plugins, and cuts the map into units of about a megabyte. Others read,
//! decode, hash, encode and write them ([`pipeline`]). Between encoding and writing the planning thread has each unit once, in
//! order: to ask the plugin of the target where it goes.

mod buffer;
mod difference;
mod encode;
mod large;
mod layout;
mod pipeline;
mod planner;
mod raw;
mod read;

pub(crate) use difference::Difference;
pub(crate) use layout::{LayoutTarget, Units, write_layout};
pub(crate) use planner::{Planner, Unit};
pub(crate) use raw::{Observer, RawTarget, Window, is_zero, write_nonzero, write_raw};

/// Threads to use where the caller does not say: more than 8 would break the bound on memory before they help.
pub(crate) fn default_threads() -> usize {
    std::thread::available_parallelism().map_or(2, usize::from).clamp(2, 8)
}

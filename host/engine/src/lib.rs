//! Loads, confines and calls plugins; the only crate on wasmtime.
//!
//! [`Engine::load`] takes an entry of the config to something that implements the traits of `witvirt-core`:
//! file -> sha256 -> shape of the component -> compiled code (from the cache, or from a confined child process) ->
//! `describe` -> `configure`. Each call of a converter, policy or artifact layout, and each open image, has its own store with its own
//! limits; after a trap a store is never used again. Whatever a plugin says is bounded and cleaned before it leaves this
//! crate; whether extents make sense is decided in the data path.

mod artifact;
mod bindings;
mod cache;
mod compile;
mod converter;
mod engine;
mod file;
mod format;
mod interface;
mod load;
mod log;
mod policy;
mod revision;
mod state;
mod text;
mod trap;

pub use cache::CacheError;
pub use compile::CompileError;
pub use compile::child::main as compile_child_main;
pub use engine::{CompileCommand, Engine, EngineError, EngineOptions};
pub use interface::{InspectError, Inspection, inspect, offered};
pub use load::{CacheUse, LoadError, LoadReport, Loaded, Plugin};

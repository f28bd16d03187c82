//! Types that the parts of witvirt share.
//!
//! Nothing here does IO, keeps state or knows of wasmtime, tokio or QEMU. [`spec`] is the machine as users and plugins
//! describe it, [`extent`] the vocabulary between format plugins and the data path, [`mod@format`] and [`source`] the seams
//! between the two, [`artifact`] the one between registries and artifact plugins, [`hook`] the one between pipelines and hooks
//! that are programs, [`plugin`] what the config says of a plugin.

pub mod artifact;
pub mod bytes;
pub mod digest;
pub mod domain;
pub mod duration;
pub mod error;
pub mod extent;
pub mod format;
pub mod hook;
pub mod name;
pub mod plugin;
pub mod policy;
pub mod source;
pub mod spec;

pub use bytes::ByteSize;
pub use digest::Digest;
pub use duration::{InvalidSpan, Span};
pub use error::{ErrorKind, PluginError};
pub use name::Name;

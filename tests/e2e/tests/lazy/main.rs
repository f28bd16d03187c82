//! Machines that are started before their images are here: from servers and from registries.
#![allow(missing_docs)]

mod guest;
mod http;
mod oci;
mod registry;

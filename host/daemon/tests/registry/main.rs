//! The daemon and the command line with a real registry: Debian's docker-registry, skopeo as the other client, and a proxy
//! between the daemon and the registry that notes and counts.

mod artifacts;
mod policy;
mod pulling;
mod push;
mod resume;
#[path = "../support/mod.rs"]
mod support;
mod upload;

//! The witvirt daemon and its command line.
//!
//! [`config`] reads `witvirt.toml`; [`service`] is the daemon without its socket: plugins, pipelines, admission, images and
//! machines; [`server`] puts it behind HTTP on a unix socket; [`api`] is what goes over that socket; [`client`] and [`cli`]
//! are its users.

#![forbid(unsafe_code)]

mod accounts;
pub mod api;
pub mod cli;
pub mod client;
pub mod config;
pub mod document;
pub mod server;
pub mod service;

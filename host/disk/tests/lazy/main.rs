//! Disks that are read while their image arrives: from servers that leave and come back, over kills, out of archives and
//! artifacts in pieces, and by the NBD clients of others.
#![allow(missing_docs)]

mod archives;
mod arrival;
mod clients;
#[path = "../formats/mod.rs"]
mod formats;
mod lost;
mod pieces;
mod reading;
mod refused;
mod support;

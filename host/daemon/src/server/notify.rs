//! The readiness protocol of systemd, sd_notify(3).

use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Sends a state ("READY=1") to whoever started the daemon and wants to know; does nothing otherwise.
pub fn notify(state: &str) {
    let Some(address) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let target = match address.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(&address),
    };
    let sent = target.and_then(|target| UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &target));
    if let Err(error) = sent {
        tracing::warn!(%error, "cannot tell the service manager {state}");
    }
}

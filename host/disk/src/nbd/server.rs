//! The socket and its connections.

use std::io;
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags};

use super::Export;
use super::negotiate::negotiate;
use super::transmit::{Budget, transmit};

/// Connections at a time: a hypervisor has one, and for a moment two after it lost one. Others may look on.
const MAX_CONNECTIONS: usize = 8;

/// How long a client may take for each message of the negotiation.
const NEGOTIATION: Duration = Duration::from_secs(10);

/// How long an answer may take to be written: a client that reads nothing must not keep threads for ever.
const WRITING: Duration = Duration::from_secs(300);

/// Serves a disk until it is dropped, which closes every connection.
pub struct NbdServer {
    shared: Arc<Shared>,
    listener: UnixListener,
}

struct Shared {
    export: Arc<dyn Export>,
    budget: Budget,
    closing: AtomicBool,
    /// Handles of the open connections.
    open: Mutex<Vec<Arc<Peer>>>,
}

/// One connection.
struct Peer {
    stream: UnixStream,
    gone: AtomicBool,
}

impl NbdServer {
    /// Serves `export` on a socket that listens.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(listener: UnixListener, export: Arc<dyn Export>) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            export,
            budget: Budget::default(),
            closing: AtomicBool::new(false),
            open: Mutex::default(),
        });
        let (accepting, socket) = (Arc::clone(&shared), listener.try_clone()?);
        std::thread::Builder::new().name("nbd-accept".into()).spawn(move || accept(&accepting, &socket))?;
        Ok(Self { shared, listener })
    }

    /// Whether a client is connected.
    #[cfg(test)]
    pub(super) fn is_connected(&self) -> bool {
        !self.shared.lock().is_empty()
    }
}

impl Drop for NbdServer {
    fn drop(&mut self) {
        self.shared.closing.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts.
        let _already_closed = rustix::net::shutdown(self.listener.as_fd(), rustix::net::Shutdown::Both);
        for peer in self.shared.lock().iter() {
            peer.leave();
        }
    }
}

impl Peer {
    /// Whether the client has left, seen also while nobody reads what it sent last.
    fn is_gone(&self) -> bool {
        if self.gone.load(Ordering::SeqCst) {
            return true;
        }
        let mut ends = [PollFd::new(&self.stream, PollFlags::RDHUP)];
        let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        let left = PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR;
        rustix::event::poll(&mut ends, Some(&now)).is_ok() && ends[0].revents().intersects(left)
    }

    fn leave(&self) {
        self.gone.store(true, Ordering::SeqCst);
        let _already_closed = self.stream.shutdown(Shutdown::Both);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Peer>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn accept(shared: &Arc<Shared>, listener: &UnixListener) {
    loop {
        let accepted = listener.accept();
        if shared.closing.load(Ordering::SeqCst) {
            return;
        }
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a connection to a disk was not accepted");
                // Too many open files, most likely: that may pass.
                std::thread::sleep(Duration::from_millis(200));
                continue;
            }
        };
        if shared.lock().len() >= MAX_CONNECTIONS {
            tracing::warn!("more connections to a disk than are served at a time: closing the newest");
            continue;
        }
        let peer = Arc::new(Peer { stream, gone: AtomicBool::new(false) });
        shared.lock().push(Arc::clone(&peer));
        // Dropped meanwhile, the server has not seen this one.
        if shared.closing.load(Ordering::SeqCst) {
            peer.leave();
        }
        let (serving, served) = (Arc::clone(shared), Arc::clone(&peer));
        let spawned = std::thread::Builder::new().name("nbd-serve".into()).spawn(move || {
            if let Err(error) = serve(&serving, &served) {
                tracing::debug!(%error, "a connection to a disk ended");
            }
            served.leave();
            serving.lock().retain(|other| !Arc::ptr_eq(other, &served));
        });
        if let Err(error) = spawned {
            tracing::warn!(%error, "a connection to a disk is not served");
            shared.lock().retain(|other| !Arc::ptr_eq(other, &peer));
        }
    }
}

fn serve(shared: &Shared, peer: &Peer) -> io::Result<()> {
    let export = &*shared.export;
    let stream = &peer.stream;
    stream.set_read_timeout(Some(NEGOTIATION))?;
    stream.set_write_timeout(Some(WRITING))?;
    let Some(agreed) = negotiate(&mut &*stream, export.size())? else { return Ok(()) };
    stream.set_read_timeout(None)?;
    let gone = || peer.is_gone();
    transmit(&mut &*stream, &mut &*stream, export, agreed, &shared.budget, &gone, &|| peer.leave())
}

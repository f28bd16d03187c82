//! A proxy before a registry: it notes what is asked, counts the bytes of blobs, and holds them back when a test says so.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use anyhow::{Result, bail};

use crate::host::PATIENCE;

/// What is passed on at once, in bytes.
const PIECE: usize = 16 << 10;

/// Passes connections on to a registry that is spoken to by plain HTTP. Host names in requests stay as they are, so a
/// registry takes the proxy's for its own.
pub struct Front {
    host: String,
    shared: Arc<Shared>,
}

struct Shared {
    to: String,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// Method and path of every request.
    requests: Vec<String>,
    /// Bytes of answers to GET of blobs, heads included.
    blobs: u64,
    /// How many of them may pass.
    budget: u64,
    /// Whether somebody waits for more.
    held: bool,
}

impl Front {
    /// Begins to pass on, everything at first.
    ///
    /// # Errors
    /// When no port can be had.
    pub fn before(host: &str) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?.to_string();
        let state = State { requests: Vec::new(), blobs: 0, budget: u64::MAX, held: false };
        let shared =
            Arc::new(Shared { to: host.to_owned(), state: Mutex::new(state), changed: Condvar::new() });
        let sharing = Arc::clone(&shared);
        // Ends with the process; a client that leaves is no news.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&sharing);
                std::thread::spawn(move || drop(connect(&shared, &stream)));
            }
        });
        Ok(Self { host: address, shared })
    }

    /// Host and port.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Method and path of every request so far.
    pub fn requests(&self) -> Vec<String> {
        self.shared.lock().requests.clone()
    }

    /// Forgets the requests and bytes so far.
    pub fn forget(&self) {
        let mut state = self.shared.lock();
        state.requests.clear();
        state.blobs = 0;
    }

    /// Bytes of blobs that were passed on, with the heads of their answers.
    pub fn blob_bytes(&self) -> u64 {
        self.shared.lock().blobs
    }

    /// Lets so many bytes of blobs pass in all, counted from the last [`Front::forget`].
    pub fn set_budget(&self, bytes: u64) {
        let mut state = self.shared.lock();
        (state.budget, state.held) = (bytes, false);
        self.shared.changed.notify_all();
    }

    /// Waits until somebody wants more bytes of blobs than the budget has.
    ///
    /// # Errors
    /// When nobody does for a long time.
    pub fn wait_until_held(&self) -> Result<()> {
        let state = self.shared.lock();
        let waited = self.shared.changed.wait_timeout_while(state, PATIENCE, |state| !state.held);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if !state.held {
            bail!(
                "nobody asked for more than {} bytes of blobs; asked was {:?}",
                state.budget,
                state.requests
            );
        }
        Ok(())
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `count` further bytes of blobs may pass.
    fn pass(&self, count: u64) {
        let mut state = self.lock();
        while state.blobs + count > state.budget {
            state.held = true;
            self.changed.notify_all();
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.blobs += count;
    }
}

fn connect(shared: &Arc<Shared>, client: &TcpStream) -> Result<()> {
    let server = TcpStream::connect(&shared.to)?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let counts = Arc::new(AtomicBool::new(false));
    let (back, to_client) = (server.try_clone()?, client.try_clone()?);
    let (sharing, counting) = (Arc::clone(shared), Arc::clone(&counts));
    let answers = std::thread::spawn(move || drop(answers(&sharing, &counting, &back, &to_client)));
    let ended = requests(shared, &counts, client, &server);
    let _ = server.shutdown(Shutdown::Both);
    let _ = answers.join();
    ended
}

/// Passes requests on, and notes their first lines. A client asks for one thing after another here, so what an answer is of
/// is known by the request before it.
fn requests(
    shared: &Shared,
    counts: &AtomicBool,
    mut client: &TcpStream,
    mut server: &TcpStream,
) -> Result<()> {
    let mut head = Vec::new();
    let mut body = 0usize;
    let mut buffer = vec![0; PIECE];
    loop {
        let count = client.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        let mut rest = &buffer[..count];
        while !rest.is_empty() {
            if body > 0 {
                let taken = body.min(rest.len());
                body -= taken;
                rest = &rest[taken..];
                continue;
            }
            head.push(rest[0]);
            rest = &rest[1..];
            if head.ends_with(b"\r\n\r\n") {
                let text = String::from_utf8_lossy(&head).into_owned();
                body = note(shared, counts, &text);
                head.clear();
            }
        }
        server.write_all(&buffer[..count])?;
    }
}

/// Notes a request; gives the length of its body.
fn note(shared: &Shared, counts: &AtomicBool, head: &str) -> usize {
    let line = head.lines().next().unwrap_or_default();
    let request = line.rsplit_once(' ').map_or(line, |(request, _)| request);
    counts.store(request.starts_with("GET ") && request.contains("/blobs/sha256:"), Ordering::SeqCst);
    shared.lock().requests.push(request.to_owned());
    let length = head.lines().filter_map(|line| line.split_once(':'));
    let length = length.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    length.filter_map(|(_, value)| value.trim().parse().ok()).next().unwrap_or(0)
}

fn answers(
    shared: &Shared,
    counts: &AtomicBool,
    mut server: &TcpStream,
    mut client: &TcpStream,
) -> Result<()> {
    let mut buffer = vec![0; PIECE];
    loop {
        let count = server.read(&mut buffer)?;
        if count == 0 {
            client.shutdown(Shutdown::Both)?;
            return Ok(());
        }
        if counts.load(Ordering::SeqCst) {
            shared.pass(count as u64);
        }
        client.write_all(&buffer[..count])?;
    }
}

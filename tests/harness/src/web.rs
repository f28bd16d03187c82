//! A small HTTP server for tests: one file, byte ranges, a line of a given speed, and all of it can go away and come back.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// What is sent at once, in bytes.
const PIECE: usize = 64 << 10;

/// Serves one file on loopback, at a port that the kernel chose and that stays the same over stops.
pub struct Web {
    shared: Arc<Shared>,
    address: SocketAddr,
    accepting: Option<JoinHandle<()>>,
}

struct Shared {
    file: PathBuf,
    ranges: bool,
    /// Bytes a second; 0: as fast as it goes.
    rate: AtomicU64,
    sent: AtomicU64,
    up: AtomicBool,
    open: Mutex<Vec<TcpStream>>,
}

impl Web {
    /// Serves `file`; without `ranges` requests for parts are answered with all of it.
    pub fn serve(file: &Path, ranges: bool) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            file: file.to_owned(),
            ranges,
            rate: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            up: AtomicBool::new(true),
            open: Mutex::default(),
        });
        let accepting = Some(accept(Arc::clone(&shared), listener));
        Ok(Self { shared, address, accepting })
    }

    /// The file's URL.
    pub fn url(&self) -> String {
        let name = self.shared.file.file_name().unwrap_or_default().to_string_lossy();
        format!("http://{}/{name}", self.address)
    }

    /// Bytes of bodies that were sent.
    pub fn sent(&self) -> u64 {
        self.shared.sent.load(Ordering::SeqCst)
    }

    /// How fast it sends from now on, in bytes a second over each connection; 0: as fast as it goes.
    pub fn set_rate(&self, rate: u64) {
        self.shared.rate.store(rate, Ordering::SeqCst);
    }

    /// Closes every connection and the port.
    pub fn stop(&mut self) {
        self.shared.up.store(false, Ordering::SeqCst);
        for stream in self.shared.open.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.address);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
    }

    /// Serves again, at the same port.
    pub fn start(&mut self) -> Result<()> {
        self.stop();
        let listener = TcpListener::bind(self.address).context("the port is taken by somebody else")?;
        self.shared.up.store(true, Ordering::SeqCst);
        self.accepting = Some(accept(Arc::clone(&self.shared), listener));
        Ok(())
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        self.stop();
    }
}

fn accept(shared: Arc<Shared>, listener: TcpListener) -> JoinHandle<()> {
    std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            if !shared.up.load(Ordering::SeqCst) {
                return;
            }
            if let Ok(copy) = stream.try_clone() {
                shared.open.lock().unwrap_or_else(PoisonError::into_inner).push(copy);
            }
            let shared = Arc::clone(&shared);
            // A client that leaves is no news.
            std::thread::spawn(move || drop(answer(&shared, stream)));
        }
    })
}

/// Answers the requests of a connection until it ends.
fn answer(shared: &Shared, stream: TcpStream) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    while shared.up.load(Ordering::SeqCst) {
        let Some(request) = lines.next().transpose()? else { return Ok(()) };
        let mut range = None;
        loop {
            let Some(line) = lines.next().transpose()? else { return Ok(()) };
            if line.is_empty() {
                break;
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("range")
            {
                range = value.trim().strip_prefix("bytes=").map(str::to_owned);
            }
        }
        let file = File::open(&shared.file)?;
        let size = file.metadata()?.len();
        let range = range.filter(|_| shared.ranges).and_then(|range| parse(&range, size));
        let (start, end) = range.unwrap_or((0, size));
        let status = match range {
            Some(_) => format!("206 Partial Content\r\nContent-Range: bytes {start}-{}/{size}", end - 1),
            None => "200 OK".to_owned(),
        };
        let accept = if shared.ranges { "Accept-Ranges: bytes\r\n" } else { "" };
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Length: {}\r\n{accept}ETag: \"one\"\r\nContent-Type: application/octet-stream\r\n\r\n",
            end - start
        );
        (&stream).write_all(head.as_bytes())?;
        if !request.starts_with("HEAD ") {
            send(shared, &stream, &file, start, end)?;
        }
    }
    Ok(())
}

/// "a-b" and "a-" as first byte and byte behind the last.
fn parse(range: &str, size: u64) -> Option<(u64, u64)> {
    let (first, last) = range.split_once('-')?;
    let first: u64 = first.parse().ok()?;
    let end = if last.is_empty() { size } else { last.parse::<u64>().ok()?.checked_add(1)?.min(size) };
    (first < end).then_some((first, end))
}

fn send(shared: &Shared, mut stream: &TcpStream, file: &File, start: u64, end: u64) -> Result<()> {
    let mut buffer = vec![0; PIECE];
    let began = Instant::now();
    let mut at = start;
    while at < end && shared.up.load(Ordering::SeqCst) {
        let piece = &mut buffer[..(end - at).min(PIECE as u64) as usize];
        file.read_exact_at(piece, at)?;
        stream.write_all(piece)?;
        at += piece.len() as u64;
        shared.sent.fetch_add(piece.len() as u64, Ordering::SeqCst);
        let rate = shared.rate.load(Ordering::SeqCst);
        if rate > 0 {
            let due = Duration::from_secs_f64((at - start) as f64 / rate as f64);
            std::thread::sleep(due.saturating_sub(began.elapsed()));
        }
    }
    Ok(())
}

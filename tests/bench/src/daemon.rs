//! The daemon: how soon it answers with all plugins, and what it weighs when idle.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use witvirt_harness::host::{Host, kill};

use crate::installed::{installed, others};
use crate::measure::{Memory, median, report};

/// Prints the medians of ten starts.
pub fn run() -> Result<()> {
    let host = Host::new(&others()?)?;
    host.daemon()?.terminate()?;
    let mut ready = Vec::new();
    for _ in 0..10 {
        ready.push(start(&host)?);
    }
    let plugins = installed()?.len();
    report(
        &format!("daemon answers, {plugins} plugins in the cache"),
        format!("{:.0?} (aim < 150ms)", median(ready)),
    );
    let daemon = host.daemon()?;
    host.run(&["ps"])?;
    std::thread::sleep(Duration::from_secs(2));
    let resident = daemon.resident()? as f64 / f64::from(1 << 20);
    let own = Memory::of(daemon.pid()).unwrap_or_default().own as f64 / 1024.0;
    report("daemon resident when idle", format!("{resident:.1} MiB (aim < 30), {own:.1} of them its own"));
    daemon.terminate()
}

/// Until the first answer: the socket is there before the plugins are.
fn start(host: &Host) -> Result<Duration> {
    let socket = host.path("run/witvirt.sock");
    let start = Instant::now();
    let mut child = host.command(&["daemon"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    while answer(&socket).is_err() {
        if let Some(status) = child.try_wait()? {
            bail!("the daemon ended: {status}");
        }
        std::thread::sleep(Duration::from_micros(200));
    }
    let time = start.elapsed();
    kill(child.id(), "TERM");
    child.wait()?;
    Ok(time)
}

/// Asks what cannot be told before every plugin serves.
fn answer(socket: &Path) -> Result<()> {
    let mut stream = UnixStream::connect(socket)?;
    stream.write_all(b"GET /v1/plugins HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    if !text.starts_with("HTTP/1.1 200 ") {
        bail!("the daemon answered: {text}");
    }
    Ok(())
}

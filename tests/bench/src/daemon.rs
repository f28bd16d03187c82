//! The daemon: how soon it serves with all plugins, and what it weighs when idle.

use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use witvirt_harness::host::{Host, kill};

use crate::measure::{median, report};

/// Prints the medians of ten starts.
pub fn run() -> Result<()> {
    let host = Host::new("")?;
    host.daemon()?.terminate()?;
    let mut ready = Vec::new();
    for _ in 0..10 {
        ready.push(start(&host)?);
    }
    report("daemon serves, four plugins in the cache", format!("{:.0?} (aim < 150ms)", median(ready)));
    let daemon = host.daemon()?;
    host.run(&["ps"])?;
    std::thread::sleep(Duration::from_secs(2));
    let resident = daemon.resident()? as f64 / f64::from(1 << 20);
    report("daemon resident when idle", format!("{resident:.1} MiB (aim < 30)"));
    daemon.terminate()
}

fn start(host: &Host) -> Result<Duration> {
    let socket = host.path("run/witvirt.sock");
    let start = Instant::now();
    let mut child = host.command(&["daemon"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    while UnixStream::connect(&socket).is_err() {
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

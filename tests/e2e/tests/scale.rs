//! Many machines from many clients at once, on the null driver: nothing leaks.
#![allow(missing_docs)]

use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Result, ensure};
use witvirt_harness::host::{Host, files_below, wait_for};

const CLIENTS: usize = 20;
const CYCLES: usize = 200;

fn cycle(host: &Host, number: usize) -> Result<()> {
    let name = format!("cycle{number}");
    let file = host.path("files").join(format!("{name}.toml"));
    std::fs::write(&file, format!("name = \"{name}\"\nmemory = \"64MiB\"\n"))?;
    host.run(&["create", &file.to_string_lossy()])?;
    host.run(&["start", &name])?;
    host.run(&["stop", &name])?;
    host.run(&["rm", &name])?;
    std::fs::remove_file(file)?;
    Ok(())
}

fn cycles(host: &Host, first: usize, count: usize) -> Result<()> {
    let next = AtomicUsize::new(first);
    std::thread::scope(|scope| {
        let work = || -> Result<()> {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= first + count {
                    return Ok(());
                }
                cycle(host, number)?;
            }
        };
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(work)).collect();
        clients.into_iter().try_for_each(|client| client.join().expect("a client panicked"))
    })
}

#[test]
fn two_hundred_cycles_from_twenty_clients_leave_nothing() -> Result<()> {
    let host = Host::null()?;
    let daemon = host.daemon()?;
    // Warm up: thread pools, caches and allocator arenas are no leaks.
    cycles(&host, 1000, CYCLES / 2)?;
    let settled = |daemon: &witvirt_harness::host::Daemon| {
        let mut last = 0;
        wait_for("the number of descriptors to settle", || {
            let now = daemon.descriptors()?;
            let settled = now == last;
            last = now;
            Ok(settled.then_some(now))
        })
    };
    let descriptors = settled(&daemon)?;
    let resident = daemon.resident()?;
    let files = files_below(&host.path("state"));
    cycles(&host, 0, CYCLES)?;
    ensure!(host.json(&["ps", "--all"])?.as_array().is_some_and(Vec::is_empty), "machines are left");
    let left = files_below(&host.path("state"));
    ensure!(left.len() <= files.len(), "files are left: {left:?}, before: {files:?}");
    let after = settled(&daemon)?;
    ensure!(after <= descriptors + 2, "{descriptors} descriptors before, {after} after");
    let grown = daemon.resident()?.saturating_sub(resident);
    ensure!(grown < 4 << 20, "{} KiB of memory more after {CYCLES} cycles", grown >> 10);
    Ok(())
}

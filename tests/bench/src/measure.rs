//! Medians of repeated runs.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

/// The middle one; of an even number, the lower of the two in the middle.
pub fn median<T: Ord + Copy>(mut values: Vec<T>) -> T {
    values.sort_unstable();
    values[(values.len() - 1) / 2]
}

/// How long something takes.
pub fn timed<T>(work: impl FnOnce() -> Result<T>) -> Result<(Duration, T)> {
    let start = Instant::now();
    let result = work()?;
    Ok((start.elapsed(), result))
}

/// Runs ours and the peer's by turns, `pairs` times, and returns both medians.
pub fn pairs(
    pairs: usize,
    mut ours: impl FnMut() -> Result<Duration>,
    mut theirs: impl FnMut() -> Result<Duration>,
) -> Result<(Duration, Duration)> {
    let mut times = (Vec::new(), Vec::new());
    for _ in 0..pairs {
        times.0.push(ours()?);
        times.1.push(theirs()?);
    }
    Ok((median(times.0), median(times.1)))
}

/// What a process took.
#[derive(Debug, Clone, Copy)]
pub struct Usage {
    /// From its start to its end.
    pub wall: Duration,
    /// Of all its threads, in user and kernel mode.
    pub processor: Duration,
    /// Most resident memory, in KiB.
    pub memory: u64,
}

impl Usage {
    /// The median of each.
    pub fn median(runs: &[Self]) -> Self {
        Self {
            wall: median(runs.iter().map(|run| run.wall).collect()),
            processor: median(runs.iter().map(|run| run.processor).collect()),
            memory: median(runs.iter().map(|run| run.memory).collect()),
        }
    }
}

/// Runs a program that has to succeed.
pub fn usage(command: &mut Command) -> Result<Usage> {
    let start = Instant::now();
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
    let child = child.with_context(|| format!("cannot run {command:?}"))?;
    let (status, used) = wait(child)?;
    let wall = start.elapsed();
    ensure!(status == 0, "{command:?} failed (status {status})");
    let time = |value: libc::timeval| {
        Duration::from_micros(value.tv_sec.unsigned_abs() * 1_000_000 + value.tv_usec.unsigned_abs())
    };
    Ok(Usage {
        wall,
        processor: time(used.ru_utime) + time(used.ru_stime),
        memory: used.ru_maxrss.unsigned_abs(),
    })
}

/// Waits for a process and takes its accounts (wait4(2)), which the standard library does not.
fn wait(child: Child) -> Result<(i32, libc::rusage)> {
    let pid = libc::pid_t::try_from(child.id())?;
    let mut status = 0;
    // SAFETY: a struct of numbers, for which zeros are values.
    let mut used: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to what lives here; `child` has not been waited for, so the id is its own.
    let waited = unsafe { libc::wait4(pid, &raw mut status, 0, &raw mut used) };
    ensure!(waited == pid, "cannot wait for a process: {}", std::io::Error::last_os_error());
    Ok((status, used))
}

/// A line of the report.
pub fn report(what: &str, value: impl std::fmt::Display) {
    println!("  {what:<58} {value}");
}
